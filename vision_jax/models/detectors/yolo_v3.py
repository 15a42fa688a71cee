"""YOLOv3: An Incremental Improvement (Redmon & Farhadi 2018, arXiv:1804.02767).

Three scales predict from one backbone, each with three priors of its own; classes are logistic.
The loss is Darknet's: an object belongs to the one prior, of all nine, whose shape is nearest; its
objectness is 1, that of other predictions 0, unless they overlap an object by more than 0.7.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.models.classifiers.darknet import (
    TINY,
    TINY_POOLS,
    Darknet,
    ResidualDarknet,
    conv_leaky,
)
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.selection import select_detections
from vision_jax.models.detectors.yolo import Priors, Scale, check_twice
from vision_jax.models.layers import Conv, Endpoints, Images, Keys, Layers, small_normal
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses as loss_ops
from vision_jax.structs import Detections, Targets, Terms

COCO_PRIORS: Priors = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)
)  # fmt: skip
COCO_PRIORS_TINY: Priors = (
    (10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)
)  # fmt: skip


class YOLOv3(DenseDetector):
    """The detector: every cell of three scales' grids refines and classifies its scale's priors.

    Fields:
      backbone: with an endpoint per scale.
      num_classes: without background.
      endpoints: what each scale reads, the coarsest first.
      priors: widths and heights, in pixels of the network's input.
      masks: the numbers of each scale's priors.
      neck: features of each scale's convolutions, 1×1 and 3×3 by turns; the last one also leads,
        by a 1×1 convolution to `lateral` features and up to twice the resolution, to the next.
      out: features of the 3×3 convolution before each scale's predictions.
      lateral: see `neck`; one less than scales.
      ignore_iou: a prediction that overlaps an object by more than this need not be background.
      smoothing: share of a class target that is spread evenly (Zhang et al. 2019, section 3.3).
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      pre_nms_top_k: boxes per class that enter the suppression; None is all.
      max_detections: slots per image.
      layers: how the layers beside the backbone normalise and compute.
    """

    backbone: nn.Module = ResidualDarknet()
    num_classes: int = 80
    endpoints: tuple[str, ...] = ("stage5", "stage4", "stage3")
    priors: Priors = COCO_PRIORS
    masks: tuple[tuple[int, ...], ...] = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
    neck: tuple[tuple[int, ...], ...] = (
        (512, 1024, 512, 1024, 512),
        (256, 512, 256, 512, 256),
        (128, 256, 128, 256, 128),
    )
    out: tuple[int, ...] = (1024, 512, 256)
    lateral: tuple[int, ...] = (256, 128)
    ignore_iou: float = 0.7
    smoothing: float = 0.0
    score_threshold: float = 0.005
    nms_threshold: float = 0.45
    pre_nms_top_k: int | None = 400
    max_detections: int = 100
    layers: Layers = Layers()

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the outputs of all scales, the coarsest first.

        prediction_maps: per scale (b, h, w, priors * (5 + classes)), before any activation.
        box_deltas (b, a, 4), objectness_logits (b, a), class_logits (b, a, classes): the same
          numbers, all scales in one; the deltas are tx, ty, tw, th.
        anchors (a, 4): the priors around the centres of their cells, xyxy in pixels.
        """
        endpoints = self.backbone(images, train=train, keys=keys)
        head = Head(
            self.endpoints,
            tuple(len(mask) * (5 + self.num_classes) for mask in self.masks),
            self.neck,
            self.out,
            self.lateral,
            self.layers,
            name="head",
        )
        return self.split(head(endpoints, train=train))

    def split(self, prediction_maps: tuple[Float[Array, "b _ _ _"], ...]) -> Outputs:
        """Names the numbers of the scales' maps; see `dense_outputs`."""
        scales = self._scales([x.shape[1:3] for x in prediction_maps])
        return {
            "prediction_maps": prediction_maps,
            **yolo.split_maps(prediction_maps, tuple(len(mask) for mask in self.masks)),
            "anchors": jnp.concatenate([scale.anchors() for scale in scales]),
        }

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes 'box', 'object', 'noobject' and 'class'.

        Each is a sum over predictions, and a mean over images.
        """
        gt_boxes, gt_labels, gt_valid = yolo.objects(targets)
        scales = self._scales([x.shape[1:3] for x in outputs["prediction_maps"]])
        predictions = yolo.predictions(outputs, [scale.count for scale in scales])
        prior_idxs = self._best_priors(gt_boxes)
        terms: dict[str, Array] = {}
        for scale, mask, scale_predictions in zip(scales, self.masks, predictions, strict=True):
            per_image = functools.partial(self._losses, scale, mask)
            gt = gt_boxes, gt_labels, gt_valid, prior_idxs
            losses = jax.vmap(per_image)(scale_predictions, *gt)
            terms = {name: terms.get(name, 0) + value for name, value in losses.items()}
        return yolo.sum_images(terms, valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best boxes; a score is objectness times class probability."""
        objectness = nn.sigmoid(outputs["objectness_logits"])
        scores = objectness[..., None] * nn.sigmoid(outputs["class_logits"])
        limits = self.score_threshold, self.nms_threshold, self.pre_nms_top_k, self.max_detections
        return select_detections(self.decode(outputs), scores, sizes, *limits)

    def decode(self, outputs: Outputs) -> Float[Array, "b a 4"]:
        """Returns the boxes, xyxy in pixels."""
        scales = self._scales([x.shape[1:3] for x in outputs["prediction_maps"]])
        predictions = yolo.predictions(outputs, [scale.count for scale in scales])
        pairs = zip(scales, predictions, strict=True)
        return jnp.concatenate([jax.vmap(scale.decode)(x.box_deltas) for scale, x in pairs], 1)

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the priors around the centres of their cells, xyxy in pixels."""
        scales = self._scales([(height // stride, width // stride) for stride in self.strides])
        return jnp.concatenate([scale.anchors() for scale in scales])

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns the object of each prior, or -1; those to ignore depend on predictions."""
        gt_boxes, _, gt_valid = yolo.objects(targets)
        scales = self._scales([(height // stride, width // stride) for stride in self.strides])

        def per_image(gt_boxes, gt_valid, prior_idxs):
            matched_idxs = []
            for scale, mask in zip(scales, self.masks, strict=True):
                assignment = _assign(scale, mask, gt_boxes, gt_valid, prior_idxs)
                matched_idxs.append(scale.matched_idxs(assignment))
            return jnp.concatenate(matched_idxs)

        return jax.vmap(per_image)(gt_boxes, gt_valid, self._best_priors(gt_boxes))

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each scale."""
        return tuple(self.backbone.strides[name] for name in self.endpoints)

    def _scales(self, grids: list[tuple[int, int]]) -> list[Scale]:
        priors = [jnp.array([self.priors[i] for i in mask], jnp.float32) for mask in self.masks]
        return [Scale(*scale) for scale in zip(grids, self.strides, priors, strict=True)]

    def _best_priors(self, gt_boxes):
        return yolo.best_priors(gt_boxes, jnp.array(self.priors, jnp.float32))

    def _losses(self, scale, mask, predictions, gt_boxes, gt_labels, gt_valid, prior_idxs):
        """Computes one image's terms at one scale, whose priors are the numbers `mask`."""
        assignment = _assign(scale, mask, gt_boxes, gt_valid, prior_idxs)
        index, positive = assignment.index, assignment.last
        boxes = lax.stop_gradient(scale.decode(predictions.box_deltas))
        background = ~scale.positive_mask(assignment)
        background &= yolo.max_iou(boxes, gt_boxes, gt_valid) <= self.ignore_iou

        matched = predictions.at(index)
        size_weight = 2 - box_ops.area(gt_boxes) / scale.area
        box_loss = yolo.box_loss(matched.box_deltas, scale.encode(gt_boxes, index), positive)
        # An object of another class at the same place is one too.
        is_together = (index[:, None] == index[None]) & assignment.valid[None]
        class_targets = jax.nn.one_hot(gt_labels, self.num_classes)
        class_targets = jnp.where(is_together[..., None], class_targets[None], 0).max(1, initial=0)
        class_targets = (1 - self.smoothing) * class_targets + self.smoothing / self.num_classes
        class_mask = jnp.broadcast_to(positive[:, None], class_targets.shape)
        objectness, entropy = predictions.objectness_logits, loss_ops.binary_cross_entropy
        matched_objectness = matched.objectness_logits
        return {
            "box": (size_weight * box_loss).sum(),
            "object": entropy(matched_objectness, jnp.ones_like(size_weight), positive).sum(),
            "noobject": entropy(objectness, jnp.zeros_like(objectness), background).sum(),
            "class": entropy(matched.class_logits, class_targets, class_mask).sum(),
        }


class Head(nn.Module):
    """The convolutions beside the backbone: predictions (b, h, w, outputs) of each scale.

    Submodules `scale1_conv1`, …, `scale1_out`, `scale1_predict`, and `scale2_lateral` before
    the second scale's. See `YOLOv3` for the fields.
    """

    endpoints: tuple[str, ...]
    outputs: tuple[int, ...]
    neck: tuple[tuple[int, ...], ...]
    out: tuple[int, ...]
    lateral: tuple[int, ...]
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        def unit(x, features, kernel, name):
            return conv_leaky(features, kernel, layers=self.layers, name=name)(x, train=train)

        x, prediction_maps = None, []
        for scale, endpoint in enumerate(self.endpoints, start=1):
            y = endpoints[endpoint]
            if x is not None:
                check_twice(y, x)
                x = unit(x, self.lateral[scale - 2], 1, f"scale{scale}_lateral")
                x = x.repeat(2, 1).repeat(2, 2)
                y = jnp.concatenate([x, y.astype(x.dtype)], -1)
            for i, features in enumerate(self.neck[scale - 1], start=1):
                y = unit(y, features, 1 if i % 2 else 3, f"scale{scale}_conv{i}")
            x = y
            y = unit(y, self.out[scale - 1], 3, f"scale{scale}_out")
            outputs, name = self.outputs[scale - 1], f"scale{scale}_predict"
            predict = Conv(outputs, kernel_init=small_normal, layers=self.layers, name=name)
            prediction_maps.append(predict(y))
        return tuple(prediction_maps)


def YOLOv3Tiny(
    num_classes: int = 80, priors: Priors = COCO_PRIORS_TINY, layers: Layers = Layers()
) -> YOLOv3:
    """Makes Darknet's yolov3-tiny: two scales on a plain backbone.

    Darknet gives its second scale priors 0, 1, 2, its first 3, 4, 5.
    """
    return YOLOv3(
        Darknet(TINY, TINY_POOLS, layers=layers),
        num_classes,
        endpoints=("stage7", "stage5"),
        priors=priors,
        masks=((3, 4, 5), (0, 1, 2)),
        neck=((256,), ()),
        out=(512, 256),
        lateral=(128,),
        layers=layers,
    )


def _assign(scale, mask, gt_boxes, gt_valid, prior_idxs):
    """Assigns the objects whose prior is one of the scale's, the numbers `mask`."""
    is_of_scale = prior_idxs[:, None] == jnp.array(mask)[None]
    return scale.assign(gt_boxes, gt_valid & is_of_scale.any(1), is_of_scale.argmax(1))
