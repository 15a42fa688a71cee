"""The second stage of the R-CNNs: regions are classified, and their boxes refined.

Fast R-CNN (Girshick 2015, arXiv:1504.08083) in the forms of the papers since. Parameters: `conv1`
…, `fc6`, `fc7` …, or those of `body`; `cls_score`, `bbox_pred`. Initialisation: N(0, 0.01) for the
classes, N(0, 0.001) for the boxes (section 2.3), He normal over fan-out for convolutions, torch's
uniform for hidden layers.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.detectors.detector import Outputs, Sizes, Valid
from vision_jax.models.detectors.matching import (
    ROI_STREAM,
    class_targets,
    ground_truth,
    matched_gt_boxes,
    sample_matches,
    takes_all,
)
from vision_jax.models.detectors.region_pool import Levels, RegionPool
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.models.layers import (
    HEAD_LAYER,
    ConvNorm,
    Dense,
    Dropout,
    Keys,
    Layers,
    at_least_float32,
    small_normal,
)
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses
from vision_jax.ops.assign import BACKGROUND, IGNORED, match
from vision_jax.ops.nms import nms_classes
from vision_jax.ops.pool import global_avg_pool
from vision_jax.structs import Detections, Targets, Terms


class BoxHead(nn.Module):
    """The head that tells the class of each region and refines its box, with sampling and loss.

    Defaults are torchvision's; `models.faster_rcnn` and `models.fast_rcnn` have the papers'.

    Fields:
      pool: how regions are pooled.
      body: module that pooled features go through first, averaged afterwards; None: none. Other
        heads can share its maps.
      convs: widths of 3x3 convolutions, with the norm of `layers`, that the fully connected layers
        read (Wu & He 2018, arXiv:1803.08494, section 4.2: four); () with a body.
      hidden: widths of the fully connected layers fc6, fc7 …
      dropout: probability, of each hidden layer's outputs.
      class_specific: offsets for every class, or (False) one for all.
      batch_size_per_image: regions per image that the loss counts, drawn at random.
      positive_fraction: largest share of positives among them.
      positive_iou: a region that overlaps an object so much is positive.
      negative_iou: below so much it is background, in between it does not count.
      min_negative_iou: below so little it does not count either (Fast R-CNN: 0.1).
      append_gt_boxes: the objects' own boxes are candidates too.
      box_weights: factors of the regression targets, see `boxes.encode`.
      beta: smooth L1's transition from square to linear, see `losses.smooth_l1`.
      box_loss_weight: factor of the box loss.
      score_threshold: smallest probability of a detection.
      nms_threshold: IoU above which the better box of a class suppresses the other.
      max_detections: number per image.
      min_size: smallest side of a box, in pixels.
      layers: settings; batch statistics count slots without a region, too.
    """

    pool: RegionPool = RegionPool(levels=4)
    body: nn.Module | None = None
    convs: tuple[int, ...] = ()
    hidden: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.0
    class_specific: bool = True
    batch_size_per_image: int = 512
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    negative_iou: float = 0.5
    min_negative_iou: float = 0.0
    append_gt_boxes: bool = True
    box_weights: tuple[float, float, float, float] = box_ops.RCNN_WEIGHTS
    beta: float = 1 / 9
    box_loss_weight: float = 1.0
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100
    min_size: float = 1e-2
    layers: Layers = Layers()

    def regions(
        self,
        levels: Levels,
        strides: Sequence[int],
        boxes: Float[Array, "b r 4"],
        *,
        train: bool = False,
    ) -> Float[Array, "b r s s d"]:
        """Finds the maps of regions: pooled (see `RegionPool`) and through the body."""
        x = self.pool(levels, strides, boxes)
        if self.body is None:
            return x
        y = self.body(x.reshape(-1, *x.shape[2:]), train=train)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r s s d"],
        num_classes: int,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> dict[str, Array]:
        """Classifies regions and refines their boxes.

        Args:
          x: what `regions` returned.
          num_classes: without background.
          train, keys: for norms and dropout.

        Returns:
          features: (b, r, d), what the last layers read.
          class_logits: (b, r, num_classes + 1), background first.
          box_deltas: (b, r, num_classes + 1 or 1, 4).
        """
        images, regions = x.shape[:2]
        x = x.reshape(images * regions, *x.shape[2:])
        if self.body is not None:
            x = global_avg_pool(x)
        for i, width in enumerate(self.convs, start=1):
            conv = ConvNorm(width, 3, padding=1, layers=self.layers, name=f"conv{i}")
            x = conv(x, train=train)
        x = x.reshape(images * regions, -1)
        for i, width in enumerate(self.hidden):
            fc = Dense(width, layers=self.layers, name=f"fc{i + 6}")
            x = nn.relu(fc(x)).reshape(images, regions, width)
            x = Dropout(self.dropout, layer=HEAD_LAYER + i)(x, train=train, keys=keys)
            x = x.reshape(images * regions, width)
        rows = num_classes + 1 if self.class_specific else 1
        tiny_normal = nn.initializers.normal(0.001)
        score = Dense(num_classes + 1, True, small_normal, layers=self.layers, name="cls_score")
        offsets = Dense(4 * rows, True, tiny_normal, layers=self.layers, name="bbox_pred")
        class_logits, box_deltas = at_least_float32(score(x)), at_least_float32(offsets(x))
        return {
            "features": x.reshape(images, regions, -1),
            "class_logits": class_logits.reshape(images, regions, -1),
            "box_deltas": box_deltas.reshape(images, regions, rows, 4),
        }

    def sample(self, proposals: Proposals, targets: Targets, keys: Keys) -> dict[str, Array]:
        """Draws the regions that the loss counts.

        Returns:
          rois: (b, s, 4); roi_matched_idxs: (b, s), their objects.
        """
        gt_boxes, gt_valid = ground_truth(targets)
        boxes, valid = proposals.boxes, proposals.valid
        if self.append_gt_boxes:
            boxes = jnp.concatenate([boxes, gt_boxes.astype(boxes.dtype)], 1)
            valid = jnp.concatenate([valid, gt_valid], 1)

        def per_image(gt_boxes: Array, gt_valid: Array, boxes: Array, valid: Array) -> Array:
            gt_boxes = gt_boxes.astype(boxes.dtype)
            idxs = match(gt_boxes, gt_valid, boxes, self.positive_iou, self.negative_iou)
            if self.min_negative_iou > 0:
                limits = self.min_negative_iou, self.min_negative_iou
                is_near = match(gt_boxes, gt_valid, boxes, *limits) >= 0
                idxs = jnp.where((idxs == BACKGROUND) & ~is_near, IGNORED, idxs)
            return jnp.where(valid, idxs, IGNORED)

        matched_idxs = jax.vmap(per_image)(gt_boxes, gt_valid, boxes, valid)
        counts = self.batch_size_per_image, self.positive_fraction
        index, sampled_idxs = sample_matches(keys, ROI_STREAM, matched_idxs, *counts)
        rois = jnp.take_along_axis(boxes, index[..., None], 1)
        return {"rois": rois, "roi_matched_idxs": sampled_idxs}

    def positives(self, outputs: Outputs) -> tuple[Array, Array]:
        """Returns those of the sampled regions that can be positive, and their objects.

        Samples hold positives first, so that heads for positives alone need not see the rest:
        boxes are (b, q, 4), objects (b, q).
        """
        rois, matched_idxs = outputs["rois"], outputs["roi_matched_idxs"]
        count = rois.shape[1]
        if not takes_all(count, self.batch_size_per_image, self.positive_fraction):
            count = min(count, int(self.batch_size_per_image * self.positive_fraction))
        return rois[:, :count], matched_idxs[:, :count]

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sums and weights of `roi_class` and `roi_box` (Fast R-CNN, eq. 1).

        Args:
          outputs: `roi_class_logits`, `roi_box_deltas`, and what `sample` returned.
          targets: with boxes and labels.
          valid: images that count.
        """
        logits, deltas = outputs["roi_class_logits"], outputs["roi_box_deltas"]
        matched_idxs = outputs["roi_matched_idxs"]
        counted = (matched_idxs != IGNORED) & valid[:, None]
        positive = (matched_idxs >= 0) & counted
        labels = class_targets(targets, matched_idxs)
        class_loss = losses.cross_entropy(logits, labels, mask=counted)
        row = labels if self.class_specific else jnp.zeros_like(labels)
        deltas = jnp.take_along_axis(deltas, row[..., None, None], 2)[:, :, 0]
        gt_boxes = matched_gt_boxes(targets, matched_idxs).astype(deltas.dtype)
        rois = outputs["rois"].astype(deltas.dtype)
        box_targets = box_ops.encode(gt_boxes, rois, self.box_weights)
        box_mask = jnp.broadcast_to(positive[..., None], deltas.shape)
        box_loss = losses.smooth_l1(deltas, box_targets, self.beta, box_mask)
        box_loss = self.box_loss_weight * box_loss
        count = counted.sum(dtype=logits.dtype)
        return {"roi_class": (class_loss.sum(), count), "roi_box": (box_loss.sum(), count)}

    def detect(self, outputs: Outputs, proposals: Proposals, sizes: Sizes) -> Detections:
        """Decodes boxes per class, applies per-class NMS and keeps the top `max_detections`.

        Args:
          outputs: `class_logits` and `box_deltas` of the proposals.
          proposals: the regions.
          sizes: of the images' content, to which boxes are cut.
        """

        def per_image(logits: Array, deltas: Array, rois: Array, valid: Array, size: Array):
            scores = nn.softmax(logits)[:, 1:]
            deltas = deltas[:, 1:] if self.class_specific else deltas
            rois = jnp.broadcast_to(rois[:, None], deltas.shape).astype(deltas.dtype)
            boxes = box_ops.decode(deltas, rois, self.box_weights)
            boxes = box_ops.clip(boxes, size[0], size[1])
            scores = jnp.where(box_ops.large_enough(boxes, self.min_size), scores, -jnp.inf)
            boxes = jnp.broadcast_to(boxes, (*scores.shape, 4))
            limits = self.nms_threshold, self.max_detections, None, self.score_threshold
            selected = nms_classes(boxes, scores, *limits, valid)
            boxes = boxes[selected.index, jnp.maximum(selected.label, 0)]
            boxes = jnp.where(selected.valid[:, None], boxes, 0)
            return boxes, selected.score, selected.label, selected.valid

        logits, deltas = jax.lax.stop_gradient((outputs["class_logits"], outputs["box_deltas"]))
        sizes = sizes.astype(deltas.dtype)
        return Detections(
            *jax.vmap(per_image)(logits, deltas, proposals.boxes, proposals.valid, sizes)
        )
