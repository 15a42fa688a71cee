"""FCOS: Fully Convolutional One-Stage Object Detection (Tian et al. 2019, arXiv:1904.01355).

It is the form of the authors' second paper (Tian et al. 2020, arXiv:2006.09214) that torchvision
publishes weights for: centre-ness beside the boxes, objects sampled around their centres, the GIoU
loss. Offsets come out of a ReLU, in units of the level's stride, and are not scaled by learned
factors; points lie at the top left corner of their cells, where the paper has their middles.

Parameters: `backbone`, `pyramid`; `class_tower` and `box_tower`, each of `conv1`, …; `cls_logits`,
`bbox_pred` and `centerness` (3x3). All but the first two serve every level. Initialisation:
N(0, 0.01), zero biases, and a class bias such that every class starts with probability `prior`.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vision_jax.config import UserError
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors.anchors import AnchorStride, level_anchors
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.selection import select_by_level
from vision_jax.models.layers import (
    DEVICE_AXIS,
    Conv,
    ConvNorm,
    Images,
    Keys,
    Layers,
    shards,
    small_normal,
    variant,
)
from vision_jax.ops import assign, initializers, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Detections, Targets, Terms


class FCOS(DenseDetector):
    """A one-stage detector without anchors: a point of a map finds the sides of its object.

    What the other detectors call anchors are squares around the points here.

    Fields:
      backbone: any backbone that has the pyramid's endpoints.
      pyramid: P3 to P7.
      num_classes: without background, which is the absence of all.
      anchor_sizes: of each level, the side in pixels of the square around a point, in which
        offsets and the radius are measured: the level's stride.
      anchor_stride: see `level_anchors`.
      size_limits: of neighbouring levels, in pixels: a point can answer for an object if the
        farthest of its sides is farther away than the limit before its level, and nearer than the
        one after it.
      center_radius: a point can answer for an object if it is nearer to its centre, across and
        down, than so many squares' sides.
      depth: 3x3 convolutions of each tower.
      prior: every class's probability at the start.
      alpha, gamma: see `losses.sigmoid_focal`.
      score_threshold: detections have a greater score, the root of class probability times
        centre-ness.
      pre_nms_top_k: (point, class) pairs per level that enter the suppression.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      max_detections: slots per image.
      layers: how the towers normalise (the paper: by groups) and compute; their convolutions have
        biases whatever it is.
    """

    backbone: nn.Module
    pyramid: FPN
    num_classes: int = 80
    anchor_sizes: tuple[tuple[float], ...] = ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    anchor_stride: AnchorStride = "image"
    size_limits: tuple[float, ...] = (64.0, 128.0, 256.0, 512.0)
    center_radius: float = 1.5
    depth: int = 4
    prior: float = 0.01
    alpha: float = 0.25
    gamma: float = 2.0
    score_threshold: float = 0.2
    pre_nms_top_k: int = 1000
    nms_threshold: float = 0.6
    max_detections: int = 100
    layers: Layers = Layers(norm="group")

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the backbone's endpoints and the outputs of all levels, the finest first.

        pyramid: tuple of maps (b, h, w, c).
        class_logits: (b, a, num_classes) before the sigmoid.
        box_deltas: (b, a, 4), at least 0: left, top, right and bottom, see `decode_sides`.
        centerness_logits: (b, a) before the sigmoid.
        anchors: (a, 4) xyxy in pixels, the squares around the points.

        Raises:
          UserError: not as many levels as sizes or limits are given for.
        """
        endpoints = self.backbone(images, train=train, keys=keys)
        levels = self.pyramid(endpoints, train=train)
        self._check_levels(len(levels))
        bias = initializers.constant(-math.log((1 - self.prior) / self.prior))
        tower = functools.partial(Tower, self.depth, self.layers)
        conv = functools.partial(
            Conv, kernel=3, padding=1, kernel_init=small_normal, layers=self.layers
        )
        class_tower, box_tower = tower(name="class_tower"), tower(name="box_tower")
        classify = conv(self.num_classes, bias_init=bias, name="cls_logits")
        regress, center = conv(4, name="bbox_pred"), conv(1, name="centerness")
        of_levels = []
        for level in levels:
            x, y = class_tower(level, train=train), box_tower(level, train=train)
            answers = classify(x), nn.relu(regress(y)), center(y)
            of_levels.append([a.reshape(len(a), -1, a.shape[-1]) for a in answers])
        answers = (jnp.concatenate(parts, 1) for parts in zip(*of_levels, strict=True))
        class_logits, box_deltas, centerness = (a.astype(images.dtype) for a in answers)
        anchors = self._anchors(images.shape[1:3], [level.shape[1:3] for level in levels])
        return {
            **endpoints,
            "pyramid": levels,
            "class_logits": class_logits,
            "box_deltas": box_deltas,
            "centerness_logits": centerness[..., 0],
            "anchors": anchors.astype(images.dtype),
        }

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the squares around all levels' points, xyxy, for images of this many pixels."""
        return self._anchors((height, width), self._grids(height, width))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns each point's object, or `assign.BACKGROUND`."""
        counts = [h * w for h, w in self._grids(height, width)]
        boxes, _, valid = _truth(targets)
        match = jax.vmap(lambda *truth: self._match(*truth, self.anchors(height, width), counts))
        return match(boxes, valid)

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `class`, `box` and `centerness`, each over the batch's points with an object.

        A batch without any counts as one with one point.
        """
        counts = _counts(outputs)
        boxes, labels, gt_valid = _truth(targets)
        truth = boxes, labels, gt_valid & valid[:, None]
        names = ("class_logits", "box_deltas", "centerness_logits", "anchors")
        per_image = jax.vmap(functools.partial(self._losses, counts), (0, 0, 0, None, 0, 0, 0))
        terms = per_image(*(outputs[name] for name in names), *truth)
        positive = jnp.sum(jnp.where(valid, terms.pop("positive"), 0), dtype=jnp.float32)
        everywhere = lax.psum(positive, DEVICE_AXIS) if shards() > 1 else positive
        weight = jnp.where(everywhere > 0, positive, 1 / shards())
        return {name: (jnp.sum(jnp.where(valid, x, 0)), weight) for name, x in terms.items()}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best detections after per-class non-maximum suppression."""
        centerness = jax.nn.sigmoid(outputs["centerness_logits"])
        scores = jnp.sqrt(jax.nn.sigmoid(outputs["class_logits"]) * centerness[..., None])
        limits = self.score_threshold, self.nms_threshold, self.pre_nms_top_k, self.max_detections
        return select_by_level(scores, outputs, _counts(outputs), sizes, decode_sides, *limits)

    def _grids(self, height, width):
        strides = self.pyramid.strides(self.backbone)
        return [(-(-height // stride), -(-width // stride)) for stride in strides]

    def _anchors(self, image_size, grids):
        form = self.anchor_sizes, (1.0,), "rounded", self.anchor_stride
        strides = self.pyramid.strides(self.backbone)
        return jnp.concatenate(level_anchors(image_size, grids, strides, *form))

    def _match(self, gt_boxes, gt_valid, anchors, counts):
        """Matches one image's points."""
        limits = (0.0, *self.size_limits, np.inf)
        low, high = (np.repeat(limits[i : len(limits) - 1 + i], counts) for i in (0, 1))
        return match_points(gt_boxes, gt_valid, anchors, low, high, self.center_radius)

    def _losses(
        self, counts, class_logits, box_deltas, centerness, anchors, gt_boxes, labels, gt_valid
    ):
        """Computes one image's sums, and how many of its points have an object."""
        matched_idxs = self._match(gt_boxes, gt_valid, anchors, counts)
        positive = matched_idxs >= 0
        index = jnp.maximum(matched_idxs, 0)
        labels = jnp.where(positive, labels[index], -1)
        class_targets = jax.nn.one_hot(labels, self.num_classes, dtype=class_logits.dtype)
        focal = losses.sigmoid_focal(class_logits, class_targets, self.alpha, self.gamma)
        boxes, gt_boxes = decode_sides(box_deltas, anchors), gt_boxes[index]
        gt_centerness = jnp.where(positive, centerness_of(gt_boxes, anchors), 0)
        center = losses.binary_cross_entropy(centerness, gt_centerness, positive)
        return {
            "class": jnp.sum(focal),
            "box": jnp.sum(losses.giou_loss(boxes, gt_boxes, positive)),
            "centerness": jnp.sum(center),
            "positive": jnp.sum(positive),
        }

    def _check_levels(self, levels):
        for name, value, count in (
            ("anchor_sizes", self.anchor_sizes, levels),
            ("size_limits", self.size_limits, levels - 1),
        ):
            if len(value) != count:
                raise UserError(f"{name}={value}: give {count} for the pyramid's {levels} levels")


class Tower(nn.Module):
    """3x3 convolutions `conv1`, … as wide as the map that they read, each with norm and ReLU."""

    depth: int = 4
    layers: Layers = Layers(norm="group")

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Images:
        settings = {"padding": 1, "kernel_init": small_normal, "layers": self.layers}
        for i in range(1, self.depth + 1):
            x = ConvNorm(x.shape[-1], 3, use_bias=True, **settings, name=f"conv{i}")(x, train=train)
        return x


def match_points(
    gt_boxes: Float[Array, "g 4"],
    gt_valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    low: Float[np.ndarray, "a"],
    high: Float[np.ndarray, "a"],
    radius: float,
) -> Int[Array, "a"]:
    """Matches points to objects (section 3.2; Tian et al. 2020, section 3.1): the smallest that is
    near enough and of the level's size.

    Args:
      gt_boxes: xyxy, as `anchors`.
      gt_valid: False on padding, which matches nothing.
      anchors: squares around the points.
      low, high: of each point, between which the distance to the farthest side must lie, in pixels.
      radius: a point is nearer to the object's centre than so many squares' sides, and within it.
    """
    gt_boxes, anchors = lax.stop_gradient((gt_boxes, anchors))
    point, side = _points(anchors)
    center = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2
    is_near = jnp.abs(point[:, None] - center[None]).max(-1) < radius * side
    distances = _distances(gt_boxes[None], point[:, None])
    farthest = distances.max(-1)
    of_size = (farthest > low[:, None]) & (farthest < high[:, None])
    can = is_near & of_size & (distances.min(-1) > 0) & gt_valid[None]
    area = jnp.where(can, box_ops.area(gt_boxes)[None], jnp.inf)
    return jnp.where(can.any(1), jnp.argmin(area, 1), assign.BACKGROUND).astype(jnp.int32)


def decode_sides(
    deltas: Float[Array, "*n 4"], anchors: Float[Array, "*n 4"]
) -> Float[Array, "*n 4"]:
    """Computes boxes, xyxy, from left, top, right and bottom: distances in sides of `anchors`."""
    point, side = _points(anchors)
    return jnp.concatenate([point - deltas[..., :2] * side, point + deltas[..., 2:] * side], -1)


def centerness_of(boxes: Float[Array, "*n 4"], anchors: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Computes how near the points are to their boxes' centres (equation 3): 1 there, 0 at a side.

    Args:
      boxes: xyxy; points outside have no number.
      anchors: squares around the points.
    """
    left, top, right, bottom = jnp.moveaxis(_distances(boxes, _points(anchors)[0]), -1, 0)
    across = jnp.minimum(left, right) / jnp.maximum(left, right)
    return jnp.sqrt(across * jnp.minimum(top, bottom) / jnp.maximum(top, bottom))


def _points(anchors):
    """Returns the squares' middles (…, 2) and sides (…, 1)."""
    return (anchors[..., :2] + anchors[..., 2:]) / 2, anchors[..., 2:3] - anchors[..., :1]


def _distances(boxes, points):
    """Computes the distances of points to the left, top, right and bottom of boxes."""
    return jnp.concatenate([points - boxes[..., :2], boxes[..., 2:] - points], -1)


def _truth(targets):
    """Returns boxes, labels and which are valid, with a slot more, so that there is one at all."""
    boxes, labels, valid = (jnp.asarray(a) for a in (targets.boxes, targets.labels, targets.valid))
    return (
        jnp.pad(boxes, ((0, 0), (0, 1), (0, 0))),
        jnp.pad(labels, ((0, 0), (0, 1)), constant_values=-1),
        jnp.pad(valid, ((0, 0), (0, 1))),
    )


def _counts(outputs):
    """Returns the points of each level."""
    return [level.shape[1] * level.shape[2] for level in outputs["pyramid"]]


def fcos_resnet_fpn(
    depth: int = 50, num_classes: int = 80, layers: Layers = Layers(norm="frozen")
) -> FCOS:
    """Makes FCOS on one of the ResNets of `DEPTHS`, with P3 to P7 of 256 channels, as torchvision.

    Args:
      depth: of the ResNet.
      num_classes: without background.
      layers: of the backbone, and without its norm of the pyramid; the towers normalise by groups
        in the same precision.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages, block=block, layers=layers)
    endpoints = ("conv3_x", "conv4_x", "conv5_x")
    pyramid = FPN(endpoints, extra="p6p7", layers=layers.without_norm())
    towers = Layers(norm="group", dtype=layers.dtype)
    return FCOS(backbone, pyramid, num_classes, layers=towers)


FCOSResNet50FPN = variant(
    "FCOSResNet50FPN",
    fcos_resnet_fpn,
    "Makes FCOS on ResNet-50 with a feature pyramid; see `fcos_resnet_fpn`.",
    depth=50,
)
