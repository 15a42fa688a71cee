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
    class_targets,
    matched_gt_boxes,
    sample_regions,
    takes_all,
)
from vision_jax.models.detectors.region_pool import Levels, RegionPool
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.models.detectors.selection import select_regions
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
from vision_jax.ops import initializers, losses
from vision_jax.ops.assign import IGNORED
from vision_jax.ops.pool import global_avg_pool
from vision_jax.ops.rfcn import hardest
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
      hard_examples: online hard example mining (Shrivastava et al. 2016, arXiv:1604.03540, as
        R-FCN has it): in place of a random sample the loss counts each image's
        `batch_size_per_image` regions of the greatest loss; then the box loss is divided by that
        number whatever is there.
      box_weights: factors of the regression targets, see `boxes.encode`.
      beta: smooth L1's transition from square to linear, see `losses.smooth_l1`.
      box_loss_weight: factor of the box loss.
      released_boxes: decode as the R-CNNs' released code, whose boxes end a pixel later.
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
    hard_examples: bool = False
    box_weights: tuple[float, float, float, float] = box_ops.RCNN_WEIGHTS
    beta: float = 1 / 9
    box_loss_weight: float = 1.0
    released_boxes: bool = False
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
        tiny_normal = initializers.normal(0.001)
        score = Dense(num_classes + 1, True, small_normal, layers=self.layers, name="cls_score")
        offsets = Dense(4 * rows, True, tiny_normal, layers=self.layers, name="bbox_pred")
        class_logits, box_deltas = at_least_float32(score(x)), at_least_float32(offsets(x))
        return {
            "features": x.reshape(images, regions, -1),
            "class_logits": class_logits.reshape(images, regions, -1),
            "box_deltas": box_deltas.reshape(images, regions, rows, 4),
        }

    def sample(self, proposals: Proposals, targets: Targets, keys: Keys) -> dict[str, Array]:
        """Draws the regions that the loss counts; with `hard_examples` all, to choose from.

        Returns:
          rois: (b, s, 4); roi_matched_idxs: (b, s), their objects.
        """
        return sample_regions(
            proposals.boxes,
            proposals.valid,
            targets,
            keys,
            count=None if self.hard_examples else self.batch_size_per_image,
            positive_fraction=self.positive_fraction,
            positive_iou=self.positive_iou,
            negative_iou=self.negative_iou,
            min_negative_iou=self.min_negative_iou,
            append_gt_boxes=self.append_gt_boxes,
        )

    def positives(self, outputs: Outputs) -> tuple[Array, Array]:
        """Returns those of the sampled regions that can be positive, and their objects.

        Samples hold positives first, so that heads for positives alone need not see the rest:
        boxes are (b, q, 4), objects (b, q).
        """
        rois, matched_idxs = outputs["rois"], outputs["roi_matched_idxs"]
        count = rois.shape[1]
        takes_every = takes_all(count, self.batch_size_per_image, self.positive_fraction)
        if not takes_every and not self.hard_examples:
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
        count = normalizer = counted.sum(dtype=logits.dtype)
        if self.hard_examples:
            total, most = class_loss + box_loss.sum(-1), self.batch_size_per_image
            chosen = hardest(total, counted, most)
            class_loss, box_loss = class_loss * chosen, box_loss * chosen[..., None]
            count, normalizer = chosen.sum(dtype=logits.dtype), most * valid.sum(dtype=logits.dtype)
        return {"roi_class": (class_loss.sum(), count), "roi_box": (box_loss.sum(), normalizer)}

    def detect(self, outputs: Outputs, proposals: Proposals, sizes: Sizes) -> Detections:
        """Decodes boxes per class, applies per-class NMS and keeps the top `max_detections`.

        Args:
          outputs: `class_logits` and `box_deltas` of the proposals.
          proposals: the regions.
          sizes: of the images' content, to which boxes are cut.
        """

        logits, deltas = jax.lax.stop_gradient((outputs["class_logits"], outputs["box_deltas"]))
        deltas = deltas[:, :, 1:] if self.class_specific else deltas
        rois = jnp.broadcast_to(proposals.boxes[:, :, None], deltas.shape)
        boxes = box_ops.decode(deltas, rois.astype(deltas.dtype), self.box_weights)
        if self.released_boxes:
            clip = jax.vmap(lambda boxes, size: box_ops.clip_released(boxes, size[0], size[1]))
            boxes = clip(boxes, sizes.astype(boxes.dtype))
        limits = self.score_threshold, self.nms_threshold, self.max_detections, self.min_size
        scores = nn.softmax(logits)[:, :, 1:]
        return select_regions(boxes, scores, proposals.valid, sizes, *limits)
