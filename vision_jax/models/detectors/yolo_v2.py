"""YOLO9000: Better, Faster, Stronger (Redmon & Farhadi 2016, arXiv:1612.08242): YOLO v2.

Each step of the paper's "path from YOLO" (table 2) is a field: batch norm (`layers`), the backbone,
the priors, how boxes are predicted from them (`location`), the passthrough. The loss is Darknet's.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.models.classifiers.darknet import TINY, TINY_POOLS, Darknet, conv_leaky
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.selection import select_detections
from vision_jax.models.detectors.yolo import Priors, Scale, check_twice
from vision_jax.models.layers import (
    Conv,
    Endpoints,
    Images,
    Keys,
    Layers,
    shards,
    small_normal,
)
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses as loss_ops
from vision_jax.structs import Detections, Targets, Terms

# Widths and heights in cells: Darknet's, from k-means on the boxes of VOC and COCO.
VOC_PRIORS: Priors = (
    (1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053),
    (11.2364, 10.0071),
)  # fmt: skip
COCO_PRIORS: Priors = (
    (0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778),
    (9.77052, 9.16828),
)  # fmt: skip
VOC_PRIORS_TINY: Priors = (
    (1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52)
)  # fmt: skip
# Chosen by hand, as before k-means: Faster R-CNN's three sizes in three shapes, in 32-pixel cells.
HAND_PRIORS: Priors = tuple(
    (size * wide, size / wide) for size in (4, 8, 16) for wide in (0.5**0.5, 1.0, 2**0.5)
)
# Of github.com/justadudewhohacks/face-api.js, for faces.
FACE_PRIORS: Priors = (
    (1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857),
    (9.041765, 10.66308),
)  # fmt: skip
_PRIOR_WEIGHT = 0.01  # Darknet's, of the loss that draws boxes to their priors
_UNWEIGHTED = (1.0, 1.0, 1.0, 1.0)


class YOLOv2(DenseDetector):
    """The detector: every cell of a grid refines and classifies a few priors.

    Fields:
      backbone: with the endpoints that are read.
      num_classes: without background.
      endpoint: what the detector reads.
      priors: widths and heights in cells; see `ops.anchors.kmeans_priors`.
      location: 'direct', the centre is within its cell (section 2); 'offset', it may lie anywhere,
        as in Faster R-CNN.
      convs: features of the 3×3 convolutions on the endpoint.
      passthrough: the finer endpoint that joins them, or '' for none; its resolution must be twice
        as high.
      reduced: features that a 1×1 convolution makes of it; 0 leaves it as it is.
      reorg: how it becomes coarse: 'space_to_depth', or 'darknet', whose reorg layer mixes places
        and channels up and which published weights need.
      merged: features of the 3×3 convolution after the join; 0 for none.
      ignore_iou: a prediction that overlaps an object by more than this need not be background.
      objectness_target: of an object: the 'iou' of its prediction, or 'one'.
      object_loss_weight, noobject_loss_weight, class_loss_weight, box_loss_weight: factors of the
        terms.
      warm_up: for so many training images, predictions without an object are drawn to their
        priors, with weight 0.01.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      pre_nms_top_k: boxes per class that enter the suppression; None is all.
      max_detections: slots per image.
      layers: how the layers beside the backbone normalise and compute.
    """

    backbone: nn.Module = Darknet()
    num_classes: int = 20
    endpoint: str = "stage6"
    priors: Priors = VOC_PRIORS
    location: Literal["direct", "offset"] = "direct"
    convs: tuple[int, ...] = (1024, 1024)
    passthrough: str = "stage5"
    reduced: int = 64
    reorg: Literal["space_to_depth", "darknet"] = "space_to_depth"
    merged: int = 1024
    ignore_iou: float = 0.6
    objectness_target: Literal["iou", "one"] = "iou"
    object_loss_weight: float = 5.0
    noobject_loss_weight: float = 1.0
    class_loss_weight: float = 1.0
    box_loss_weight: float = 1.0
    warm_up: int = 12800
    score_threshold: float = 0.005
    nms_threshold: float = 0.45
    pre_nms_top_k: int | None = 400
    max_detections: int = 100
    layers: Layers = Layers()

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the outputs.

        prediction_maps: one map (b, h, w, priors * (5 + classes)), before any activation.
        box_deltas (b, a, 4), objectness_logits (b, a), class_logits (b, a, classes): the same
          numbers; the deltas are tx, ty, tw, th.
        anchors (a, 4): the priors around the centres of their cells, xyxy in pixels.
        seen (b,): training images before this batch.
        """
        head = Head(
            len(self.priors) * (5 + self.num_classes),
            self.endpoint,
            self.convs,
            self.passthrough,
            self.reduced,
            self.reorg,
            self.merged,
            self.layers,
            name="head",
        )
        endpoints = self.backbone(images, train=train, keys=keys)
        return self.split(*head(endpoints, train=train))

    def split(self, prediction_map: Float[Array, "b h w o"], seen: Float[Array, ""]) -> Outputs:
        """Names the numbers of the head's map; see `dense_outputs`."""
        maps = (prediction_map,)
        return {
            "prediction_maps": maps,
            **yolo.split_maps(maps, (len(self.priors),)),
            "anchors": self._scale(prediction_map.shape[1:3]).anchors(),
            "seen": jnp.broadcast_to(seen, (prediction_map.shape[0],)),
        }

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes 'box', 'object', 'noobject', 'class' and, with a warm-up, 'prior'.

        Each is a sum over predictions, and a mean over images.
        """
        gt_boxes, gt_labels, gt_valid = yolo.objects(targets)
        scale = self._scale(outputs["prediction_maps"][0].shape[1:3])
        (predictions,) = yolo.predictions(outputs, [scale.count])
        prior_idxs = yolo.best_priors(gt_boxes, scale.priors)

        def per_image(predictions, gt_boxes, gt_labels, gt_valid, prior_idxs, seen):
            assignment = scale.assign(gt_boxes, gt_valid, prior_idxs)
            terms = self._losses(scale, predictions, assignment, gt_boxes, gt_labels)
            if self.warm_up:
                free = ~scale.positive_mask(assignment)
                prior_loss = self._prior_loss(scale, predictions.box_deltas, free)
                terms["prior"] = jnp.where(seen < self.warm_up, _PRIOR_WEIGHT * prior_loss, 0)
            return terms

        gt = gt_boxes, gt_labels, gt_valid, prior_idxs
        return yolo.sum_images(jax.vmap(per_image)(predictions, *gt, outputs["seen"]), valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best boxes; a score is objectness times class probability."""
        objectness = nn.sigmoid(outputs["objectness_logits"])
        scores = objectness[..., None] * nn.softmax(outputs["class_logits"])
        limits = self.score_threshold, self.nms_threshold, self.pre_nms_top_k, self.max_detections
        return select_detections(self.decode(outputs), scores, sizes, *limits)

    def decode(self, outputs: Outputs) -> Float[Array, "b a 4"]:
        """Returns the boxes, xyxy in pixels."""
        scale = self._scale(outputs["prediction_maps"][0].shape[1:3])
        return jax.vmap(lambda deltas: self._decode(scale, deltas))(outputs["box_deltas"])

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the priors around the centres of their cells, xyxy in pixels."""
        return self._scale((height // self.stride, width // self.stride)).anchors()

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns the object of each prior, or -1; those to ignore depend on predictions."""
        gt_boxes, _, gt_valid = yolo.objects(targets)
        scale = self._scale((height // self.stride, width // self.stride))

        def per_image(gt_boxes, gt_valid, prior_idxs):
            return scale.matched_idxs(scale.assign(gt_boxes, gt_valid, prior_idxs))

        return jax.vmap(per_image)(gt_boxes, gt_valid, yolo.best_priors(gt_boxes, scale.priors))

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.backbone.strides[self.endpoint]

    def _scale(self, grid: tuple[int, int]) -> Scale:
        priors = jnp.array(self.priors, jnp.float32) * self.stride
        return Scale(grid, self.stride, priors)

    def _decode(self, scale, box_deltas):
        if self.location == "direct":
            return scale.decode(box_deltas)
        return box_ops.decode(box_deltas, scale.anchors(), _UNWEIGHTED)

    def _box_loss(self, scale, box_deltas, index, boxes, mask):
        """Computes the loss of predictions `index` against boxes, (m,)."""
        if self.location == "direct":
            return yolo.box_loss(box_deltas, scale.encode(boxes, index), mask)
        box_targets = box_ops.encode(boxes, scale.anchors()[index], _UNWEIGHTED)
        difference = jnp.where(mask[:, None], box_deltas - box_targets, 0)
        return 0.5 * (difference * difference).sum(1)

    def _prior_loss(self, scale, box_deltas, mask):
        everywhere, anchors = jnp.arange(scale.count), scale.anchors()
        return self._box_loss(scale, box_deltas, everywhere, anchors, mask).sum()

    def _losses(self, scale, predictions, assignment, gt_boxes, gt_labels):
        """Computes one image's terms."""
        index, positive = assignment.index, assignment.last
        boxes = lax.stop_gradient(self._decode(scale, predictions.box_deltas))
        background = ~scale.positive_mask(assignment)
        background &= yolo.max_iou(boxes, gt_boxes, assignment.valid) <= self.ignore_iou

        matched = predictions.at(index)
        size_weight = 2 - box_ops.area(gt_boxes) / scale.area
        box_loss = self._box_loss(scale, matched.box_deltas, index, gt_boxes, positive)
        target = jnp.ones_like(size_weight)
        if self.objectness_target == "iou":
            target = box_ops.iou(boxes[index], gt_boxes)
        objectness = predictions.objectness_logits
        noobject_loss = loss_ops.binary_cross_entropy(
            objectness, jnp.zeros_like(objectness), background
        )
        class_loss = loss_ops.cross_entropy(matched.class_logits, gt_labels, 0.0, positive)
        object_loss = yolo.divergence(matched.objectness_logits, target, positive)
        return {
            "box": self.box_loss_weight * (size_weight * box_loss).sum(),
            "object": self.object_loss_weight * object_loss.sum(),
            "noobject": self.noobject_loss_weight * noobject_loss.sum(),
            "class": self.class_loss_weight * class_loss.sum(),
        }


class Head(nn.Module):
    """The convolutions beside the backbone; see `YOLOv2` for the fields.

    Submodules `conv1`, …, `passthrough`, `merged`, `predict`. Returns predictions (b, h, w,
    outputs), and the number of images seen in training before these, which is counted here.
    """

    outputs: int
    endpoint: str
    convs: tuple[int, ...]
    passthrough: str
    reduced: int
    reorg: Literal["space_to_depth", "darknet"]
    merged: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False
    ) -> tuple[Float[Array, "b h w o"], Float[Array, ""]]:
        def unit(x, features, kernel, name):
            return conv_leaky(features, kernel, layers=self.layers, name=name)(x, train=train)

        x = endpoints[self.endpoint]
        for i, features in enumerate(self.convs, start=1):
            x = unit(x, features, 3, f"conv{i}")
        if self.passthrough:
            fine = endpoints[self.passthrough]
            check_twice(fine, x)
            fine = unit(fine, self.reduced, 1, "passthrough") if self.reduced else fine
            coarse = darknet_reorg(fine) if self.reorg == "darknet" else space_to_depth(fine)
            x = jnp.concatenate([coarse.astype(x.dtype), x], -1)
        if self.merged:
            x = unit(x, self.merged, 3, "merged")
        predict = Conv(self.outputs, kernel_init=small_normal, layers=self.layers, name="predict")
        seen = self.variable("counters", "seen", jnp.zeros, (), jnp.float32)
        before = seen.value
        if train and not self.is_initializing():
            seen.value = before + x.shape[0] * shards()
        return predict(x), before


def space_to_depth(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """Makes each 2×2 square of pixels one, its pixels in row-major order, channels innermost."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def darknet_reorg(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """Computes Darknet's reorg layer.

    It takes the memory of (c, h, w) for one of (c / 4, 2h, 2w), gathers each 2×2 square of that
    into channels, and takes the result for one of (4c, h / 2, w / 2).
    """
    b, h, w, c = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(b, c // 4, h, 2, w, 2)
    x = x.transpose(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
    return x.transpose(0, 2, 3, 1)


def YOLOv2Tiny(
    num_classes: int = 20, priors: Priors = VOC_PRIORS_TINY, layers: Layers = Layers()
) -> YOLOv2:
    """Makes Darknet's yolov2-tiny-voc: a plain backbone, one convolution, no passthrough."""
    return YOLOv2(
        Darknet(TINY, TINY_POOLS, layers=layers),
        num_classes,
        "stage7",
        priors,
        convs=(1024,),
        passthrough="",
        merged=0,
        layers=layers,
    )


def YOLOv2TinySeparable(
    num_classes: int = 1, priors: Priors = FACE_PRIORS, layers: Layers = Layers()
) -> YOLOv2:
    """Makes face-api's tiny detector: six convolutions, all but the first separable, and the head.

    Its published weights, which have norms in their biases, need `layers=NO_NORM`, and images in
    0..1 less (117.001, 114.697, 97.404) / 255.
    """
    return YOLOv2(
        Darknet((*TINY[:6], ()), TINY_POOLS, separable=True, layers=layers),
        num_classes,
        "stage7",
        priors,
        convs=(),
        passthrough="",
        merged=0,
        nms_threshold=0.4,
        layers=layers,
    )
