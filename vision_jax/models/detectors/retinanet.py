"""Focal Loss for Dense Object Detection (Lin et al. 2017, arXiv:1708.02002): RetinaNet.

Parameters: `backbone`, `pyramid`, and the two subnets `class_subnet` and `box_subnet`, whose layers
serve all levels. Initialisation: N(0, 0.01), zero biases, and a last class bias such that every
anchor starts with probability `prior` (section 4.1).
"""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors.anchors import AnchorRounding, AnchorStride, level_anchors
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.selection import select_by_level
from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    ConvNorm,
    Images,
    Keys,
    Layers,
    small_normal,
)
from vision_jax.ops import assign, initializers, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Detections, Targets, Terms


def octave_sizes(
    smallest: int = 32, levels: int = 5, scales: int = 3
) -> tuple[tuple[float, ...], ...]:
    """Returns anchor sides per level: `scales` per octave, whole pixels, doubling every level."""
    return tuple(
        tuple(float(int(smallest * 2**level * 2 ** (k / scales))) for k in range(scales))
        for level in range(levels)
    )


class RetinaNet(DenseDetector):
    """A one-stage detector: every anchor of a feature pyramid is classified and refined.

    Fields:
      backbone: any backbone that has the pyramid's endpoints.
      pyramid: the paper's has P3 to P7, P6 made from C5.
      num_classes: without background, which is the absence of all.
      anchor_sizes: per level, sides of the anchors in pixels.
      anchor_ratios: height / width of the anchors, each with every size.
      anchor_rounding, anchor_stride: see `level_anchors`.
      depth: 3x3 convolutions of each subnet before its last.
      prior: every class's probability at the start.
      alpha, gamma: see `losses.sigmoid_focal`.
      box_loss: 'smooth_l1', or 'giou' of the decoded boxes (torchvision's second RetinaNet).
      beta: smooth L1's transition point; 0 is L1 (torchvision), Detectron has 0.11.
      positive_iou, negative_iou: an anchor whose best IoU with an object is at least the first is
        positive, below the second background, else it does not count.
      allow_low_quality_matches: an object's best anchor is positive whatever the IoU.
      box_weights: factors of the box coding, see `ops.boxes.encode`.
      score_threshold: detections have a greater score.
      pre_nms_top_k: (anchor, class) pairs per level that enter the suppression.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      max_detections: slots per image.
      layers: how the subnets normalise (the paper: not at all) and compute.
    """

    backbone: nn.Module
    pyramid: FPN
    num_classes: int = 80
    anchor_sizes: tuple[tuple[float, ...], ...] = octave_sizes()
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_rounding: AnchorRounding = "rounded"
    anchor_stride: AnchorStride = "image"
    depth: int = 4
    prior: float = 0.01
    alpha: float = 0.25
    gamma: float = 2.0
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    beta: float = 0.0
    positive_iou: float = 0.5
    negative_iou: float = 0.4
    allow_low_quality_matches: bool = True
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    score_threshold: float = 0.05
    pre_nms_top_k: int = 1000
    nms_threshold: float = 0.5
    max_detections: int = 100
    layers: Layers = NO_NORM

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the backbone's endpoints and the outputs of all levels, the finest first.

        pyramid: tuple of maps (b, h, w, c).
        class_logits: (b, a, num_classes) before the sigmoid.
        box_deltas: (b, a, 4), see `ops.boxes.decode`.
        anchors: (a, 4) xyxy in pixels.
        """
        endpoints = self.backbone(images, train=train, keys=keys)
        levels = self.pyramid(endpoints, train=train)
        subnet = functools.partial(Subnet, self.anchors_per_cell, depth=self.depth)
        bias = -math.log((1 - self.prior) / self.prior)
        classify = subnet(self.num_classes, bias=bias, layers=self.layers, name="class_subnet")
        regress = subnet(4, layers=self.layers, name="box_subnet")
        class_logits = jnp.concatenate([classify(level, train=train) for level in levels], 1)
        box_deltas = jnp.concatenate([regress(level, train=train) for level in levels], 1)
        anchors = self._anchors(images.shape[1:3], [level.shape[1:3] for level in levels])
        return {
            **endpoints,
            "pyramid": levels,
            "class_logits": class_logits.astype(images.dtype),
            "box_deltas": box_deltas.astype(images.dtype),
            "anchors": anchors.astype(images.dtype),
        }

    @property
    def anchors_per_cell(self) -> int:
        """Anchors of a cell, on every level."""
        return len(self.anchor_sizes[0]) * len(self.anchor_ratios)

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns all levels' anchors, xyxy, for images of this many pixels."""
        strides = self.pyramid.strides(self.backbone)
        grids = [(-(-height // stride), -(-width // stride)) for stride in strides]
        return self._anchors((height, width), grids)

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns each anchor's object, or `assign.BACKGROUND` or `assign.IGNORED`."""
        anchors = self.anchors(height, width)
        return jax.vmap(self._match, (0, 0, None))(targets.boxes, targets.valid, anchors)

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `class`, the focal loss, and `box`: means over images.

        Within an image both are divided by the number of anchors with an object (section 4.1).
        """
        per_image = jax.vmap(self._losses, (0, 0, None, 0, 0, 0))
        predictions = (outputs[name] for name in ("class_logits", "box_deltas", "anchors"))
        terms = per_image(*predictions, targets.boxes, targets.labels, targets.valid)
        weight = jnp.sum(valid, dtype=jnp.float32)
        return {name: (jnp.sum(jnp.where(valid, x, 0)), weight) for name, x in terms.items()}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best detections after per-class non-maximum suppression."""
        maps = (level.shape[1:3] for level in outputs["pyramid"])
        counts = [height * width * self.anchors_per_cell for height, width in maps]
        scores = jax.nn.sigmoid(outputs["class_logits"])
        decode = functools.partial(box_ops.decode, weights=self.box_weights)
        limits = self.score_threshold, self.nms_threshold, self.pre_nms_top_k, self.max_detections
        return select_by_level(scores, outputs, counts, sizes, decode, *limits)

    def _anchors(self, image_size, grids):
        strides = self.pyramid.strides(self.backbone)
        form = self.anchor_sizes, self.anchor_ratios, self.anchor_rounding, self.anchor_stride
        return jnp.concatenate(level_anchors(image_size, grids, strides, *form))

    def _match(self, gt_boxes, gt_valid, anchors):
        limits = self.positive_iou, self.negative_iou, self.allow_low_quality_matches
        return assign.match(gt_boxes, gt_valid, anchors, *limits)

    def _losses(self, class_logits, box_deltas, anchors, gt_boxes, gt_labels, gt_valid):
        """Computes one image's terms."""
        matched_idxs = self._match(gt_boxes, gt_valid, anchors)
        positive = matched_idxs >= 0
        index = jnp.maximum(matched_idxs, 0)
        matched_gt_boxes, labels = gt_boxes[index], jnp.where(positive, gt_labels[index], -1)
        class_targets = jax.nn.one_hot(labels, self.num_classes, dtype=class_logits.dtype)
        class_mask = (matched_idxs != assign.IGNORED)[:, None]
        class_mask = jnp.broadcast_to(class_mask, class_logits.shape)
        focal = self.alpha, self.gamma, class_mask
        class_loss = losses.sigmoid_focal(class_logits, class_targets, *focal)
        if self.box_loss == "giou":
            boxes = box_ops.decode(box_deltas, anchors, self.box_weights)
            box_loss = losses.giou_loss(boxes, matched_gt_boxes, positive)
        else:
            box_targets = box_ops.encode(matched_gt_boxes, anchors, self.box_weights)
            box_mask = jnp.broadcast_to(positive[:, None], box_deltas.shape)
            box_loss = losses.smooth_l1(box_deltas, box_targets, self.beta, box_mask)
        number = jnp.maximum(jnp.sum(positive), 1).astype(class_logits.dtype)
        return {"class": jnp.sum(class_loss) / number, "box": jnp.sum(box_loss) / number}


class Subnet(nn.Module):
    """Convolutions `conv1`, … and `out`, which has `outputs` numbers for each of a cell's anchors.

    It is as wide as the map that it reads.
    """

    anchors_per_cell: int
    outputs: int
    bias: float = 0.0
    depth: int = 4
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False
    ) -> Float[Array, "b h*w*{self.anchors_per_cell} {self.outputs}"]:
        settings = {"padding": 1, "kernel_init": small_normal, "layers": self.layers}
        for i in range(1, self.depth + 1):
            x = ConvNorm(x.shape[-1], 3, **settings, name=f"conv{i}")(x, train=train)
        bias = initializers.constant(self.bias)
        outputs = self.anchors_per_cell * self.outputs
        x = Conv(outputs, 3, **settings, bias_init=bias, name="out")(x)
        return x.reshape(x.shape[0], -1, self.outputs)


def retinanet_resnet_fpn(
    depth: int = 50,
    num_classes: int = 80,
    source: Literal["c5", "p5"] = "p5",
    beta: float = 0.0,
    layers: Layers = Layers(norm="frozen"),
) -> RetinaNet:
    """Makes RetinaNet on one of the ResNets of `DEPTHS`, with P3 to P7 of 256 channels.

    The defaults are torchvision's first form; the paper has `source='c5'`.

    Args:
      depth: of the ResNet.
      num_classes: without background.
      source: see `FPN`.
      beta: see `RetinaNet`.
      layers: of the backbone, and without its norm of the rest; torchvision's published weights
        need eps 0.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages, block=block, layers=layers)
    plain = layers.without_norm()
    endpoints = ("conv3_x", "conv4_x", "conv5_x")
    pyramid = FPN(endpoints, extra="p6p7", source=source, layers=plain)
    return RetinaNet(backbone, pyramid, num_classes, beta=beta, layers=plain)
