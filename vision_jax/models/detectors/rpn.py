"""Region proposal networks: the first stage of Faster R-CNN (Ren et al. 2015, arXiv:1506.01497).

Parameters: `conv`, `conv2`, … (3x3), `cls_logits` and `bbox_pred` (1x1), shared by all levels.
Initialisation: N(0, 0.01), zero biases (section 3.1.3).
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vision_jax.config import UserError
from vision_jax.models.detectors.anchors import AnchorRounding, AnchorStride, Size, level_anchors
from vision_jax.models.detectors.detector import Outputs, Sizes, Valid
from vision_jax.models.detectors.matching import (
    RPN_STREAM,
    ground_truth,
    matched_gt_boxes,
    sample_matches,
)
from vision_jax.models.detectors.region_pool import Levels
from vision_jax.models.layers import Conv, Keys, Layers, at_least_float32, small_normal
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses
from vision_jax.ops.assign import IGNORED, match
from vision_jax.ops.nms import nms
from vision_jax.structs import Targets, Terms

LevelAnchors = tuple[Float[Array, "_ 4"], ...]  # of each level


class Proposals(NamedTuple):
    """Regions that may hold an object, by falling score, then padding."""

    boxes: Float[Array, "b p 4"]  # xyxy, pixels of the network's input
    scores: Float[Array, "b p"]  # in [0, 1], 0 on padding
    valid: Bool[Array, "b p"]

    def outputs(self) -> dict[str, Array]:
        """Returns the proposals as a detector's outputs have them."""
        return {
            "proposals": self.boxes,
            "proposal_scores": self.scores,
            "proposal_valid": self.valid,
        }

    @classmethod
    def of(cls, outputs: Outputs) -> "Proposals":
        """Returns the proposals in a detector's outputs."""
        return cls(outputs["proposals"], outputs["proposal_scores"], outputs["proposal_valid"])


class RPN(nn.Module):
    """The network that scores and refines every anchor, and makes proposals of the best.

    Defaults are torchvision's; `models.faster_rcnn` has the paper's.

    Fields:
      anchor_sizes, anchor_ratios, anchor_rounding, anchor_stride: see `level_anchors`.
      width: channels of the 3x3 convolutions; None takes the level's.
      depth: how many of these there are (Li et al. 2021, arXiv:2111.11429: two).
      outputs_per_anchor: 1, the logit of an object; or 2, background's and an object's under a
        softmax, as released with the paper: all backgrounds, then all objects of a cell.
      positive_iou, negative_iou: an anchor whose best IoU with an object is at least so much is
        positive, below so much background, else it does not count.
      allow_low_quality_matches: an object's best anchor is positive whatever the IoU.
      allow_cross_boundary: whether anchors that leave the image count in the loss (the paper: no).
      batch_size_per_image: anchors per image that the loss counts, drawn at random.
      positive_fraction: largest share of positives among them.
      train_pre_nms_top_n, pre_nms_top_n: best proposals of each level that enter NMS, where they
        are to be trained on, and to be detections.
      train_post_nms_top_n, post_nms_top_n: proposals per image that leave it.
      nms_threshold: IoU above which the better proposal of a level suppresses the other.
      min_size: smallest side of a proposal, in pixels.
      score_threshold: smallest objectness of a proposal.
      box_weights: factors of the regression targets, see `boxes.encode`.
      beta: smooth L1's transition from square to linear, see `losses.smooth_l1`.
      released_boxes: take boxes as the released code, where an anchor's last pixel belongs to it
        ('original' anchors are a pixel longer) and decoded boxes end another pixel later.
      box_loss_weight: the paper's lambda.
      box_loss_normalizer: what the box loss is divided by: the number of 'samples', or of
        'locations', cells of the maps, as in the paper.
      layers: settings; the network has no norm.
    """

    anchor_sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    anchor_rounding: AnchorRounding = "rounded"
    anchor_stride: AnchorStride = "image"
    width: int | None = None
    depth: int = 1
    outputs_per_anchor: Literal[1, 2] = 1
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    allow_low_quality_matches: bool = True
    allow_cross_boundary: bool = True
    batch_size_per_image: int = 256
    positive_fraction: float = 0.5
    train_pre_nms_top_n: int = 2000
    train_post_nms_top_n: int = 2000
    pre_nms_top_n: int = 1000
    post_nms_top_n: int = 1000
    nms_threshold: float = 0.7
    min_size: float = 1e-3
    score_threshold: float = 0.0
    box_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    beta: float = 1 / 9
    released_boxes: bool = False
    box_loss_weight: float = 1.0
    box_loss_normalizer: Literal["samples", "locations"] = "samples"
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, levels: Levels) -> tuple[Float[Array, "b a"], Float[Array, "b a 4"]]:
        """Finds objectness logits and offsets of all levels' anchors, in the order of `anchors`.

        Raises:
          UserError: not as many levels as `anchor_sizes` are given for.
        """
        self._check_sizes(len(levels))
        width = self.width or levels[0].shape[-1]
        conv = functools.partial(Conv, kernel_init=small_normal, layers=self.layers)
        names = ["conv", *(f"conv{i}" for i in range(2, self.depth + 1))]
        hidden = [conv(width, 3, padding=1, name=name) for name in names]
        objectness = conv(self.outputs_per_anchor * self._anchors_per_cell, name="cls_logits")
        offsets = conv(4 * self._anchors_per_cell, name="bbox_pred")
        class_logits, box_deltas = [], []
        for level in levels:
            x = functools.reduce(lambda x, layer: nn.relu(layer(x)), hidden, level)
            logits = objectness(x)
            if self.outputs_per_anchor == 2:
                background, logits = jnp.split(logits, 2, -1)
                logits -= background
            class_logits.append(logits.reshape(x.shape[0], -1))
            box_deltas.append(offsets(x).reshape(x.shape[0], -1, 4))
        class_logits, box_deltas = (jnp.concatenate(x, 1) for x in (class_logits, box_deltas))
        return at_least_float32(class_logits), at_least_float32(box_deltas)

    def anchors(
        self, image_size: Size, grids: Sequence[Size], strides: Sequence[int]
    ) -> LevelAnchors:
        """Returns each level's anchors; see `level_anchors` for the arguments and the order."""
        form = self.anchor_sizes, self.anchor_ratios, self.anchor_rounding, self.anchor_stride
        anchors = level_anchors(image_size, grids, strides, *form)
        if self.released_boxes and self.anchor_rounding == "original":
            return tuple(box_ops.move_ends(level, 1) for level in anchors)
        return anchors

    def outputs(self, levels: Levels, anchors: LevelAnchors, sizes: Sizes) -> Outputs:
        """Returns what a detector in evaluation shows of its first stage.

        Args:
          levels: maps from fine to coarse.
          anchors: of each level.
          sizes: of the images' content, to which proposals are cut.

        Returns:
          anchors: (a, 4), of all levels; rpn_class_logits: (b, a); rpn_box_deltas: (b, a, 4).
          proposals: (b, p, 4); proposal_scores, proposal_valid: (b, p).
        """
        class_logits, box_deltas = self(levels)
        return {
            "anchors": jnp.concatenate(anchors),
            "rpn_class_logits": class_logits,
            "rpn_box_deltas": box_deltas,
            **self.propose(class_logits, box_deltas, anchors, sizes).outputs(),
        }

    def propose(
        self,
        class_logits: Float[Array, "b a"],
        box_deltas: Float[Array, "b a 4"],
        anchors: LevelAnchors,
        sizes: Sizes,
        *,
        train: bool = False,
    ) -> Proposals:
        """Finds the best proposals of every image; they pass no gradient (section 3.2).

        Args:
          class_logits, box_deltas: what the network returned.
          anchors: of each level.
          sizes: of the images' content, to which proposals are cut.
          train: as many as are to be trained on, else as many as are to be detections.
        """
        pre_nms_top_n = self.train_pre_nms_top_n if train else self.pre_nms_top_n
        post_nms_top_n = self.train_post_nms_top_n if train else self.post_nms_top_n
        ends = np.cumsum([len(level) for level in anchors])[:-1].tolist()
        class_logits, box_deltas = lax.stop_gradient((class_logits, box_deltas))

        def per_image(logits: Array, deltas: Array, size: Array) -> tuple[Array, Array, Array]:
            levels = zip(jnp.split(logits, ends), jnp.split(deltas, ends), anchors, strict=True)
            best = [
                self._best(*level, number, pre_nms_top_n) for number, level in enumerate(levels)
            ]
            boxes, scores, level_numbers = map(jnp.concatenate, zip(*best, strict=True))
            clip = box_ops.clip_released if self.released_boxes else box_ops.clip
            boxes = clip(boxes, size[0], size[1])
            usable = box_ops.large_enough(boxes, self.min_size)
            usable &= nn.sigmoid(scores) >= self.score_threshold
            # By logits: where probabilities are so near 1 that they tie, logits still tell.
            count = min(post_nms_top_n, len(boxes))
            selected = nms(boxes, scores, self.nms_threshold, count, level_numbers, usable)
            boxes = jnp.where(selected.valid[:, None], boxes[selected.index], 0)
            scores = jnp.where(selected.valid, nn.sigmoid(selected.score), 0)
            return boxes, scores, selected.valid

        sizes = sizes.astype(box_deltas.dtype)
        return Proposals(*jax.vmap(per_image)(class_logits, box_deltas, sizes))

    def matches(
        self, anchors: Float[Array, "a 4"], targets: Targets, sizes: Sizes
    ) -> Int[Array, "b a"]:
        """Returns each anchor's object, background or to be ignored, as `ops.assign` numbers them.

        Args:
          anchors: of all levels.
          targets: with boxes.
          sizes: of the images' content.
        """
        thresholds = self.positive_iou, self.negative_iou, self.allow_low_quality_matches

        def per_image(gt_boxes: Array, gt_valid: Array, size: Array) -> Array:
            boxes = anchors.astype(gt_boxes.dtype)
            if self.allow_cross_boundary:
                return match(gt_boxes, gt_valid, boxes, *thresholds)
            height, width = size
            inside = (boxes[:, :2] >= 0).all(1)
            inside &= (boxes[:, 2] <= width) & (boxes[:, 3] <= height)
            # An empty box overlaps nothing, so that it cannot be any object's best anchor.
            boxes = jnp.where(inside[:, None], boxes, 0)
            matched_idxs = match(gt_boxes, gt_valid, boxes, *thresholds)
            return jnp.where(inside, matched_idxs, IGNORED)

        return jax.vmap(per_image)(*ground_truth(targets), sizes)

    def sample(
        self, anchors: Float[Array, "a 4"], targets: Targets, sizes: Sizes, keys: Keys
    ) -> dict[str, Int[Array, "b s"]]:
        """Draws the anchors that the loss counts.

        Returns:
          rpn_sampled_idxs: which anchors they are; rpn_matched_idxs: their objects.
        """
        matched_idxs = self.matches(anchors, targets, sizes)
        counts = self.batch_size_per_image, self.positive_fraction
        index, sampled = sample_matches(keys, RPN_STREAM, matched_idxs, *counts)
        return {"rpn_sampled_idxs": index, "rpn_matched_idxs": sampled}

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sums and weights of `rpn_class` and `rpn_box` (equation 1).

        Args:
          outputs: `rpn_class_logits`, `rpn_box_deltas`, `anchors`, and what `sample` returned.
          targets: with boxes.
          valid: images that count.
        """
        index, matched_idxs = outputs["rpn_sampled_idxs"], outputs["rpn_matched_idxs"]
        counted = (matched_idxs != IGNORED) & valid[:, None]
        positive = (matched_idxs >= 0) & counted
        logits = jnp.take_along_axis(outputs["rpn_class_logits"], index, 1)
        deltas = jnp.take_along_axis(outputs["rpn_box_deltas"], index[..., None], 1)
        class_loss = losses.binary_cross_entropy(logits, positive.astype(logits.dtype), counted)
        gt_boxes = matched_gt_boxes(targets, matched_idxs).astype(deltas.dtype)
        anchors = outputs["anchors"][index].astype(deltas.dtype)
        box_targets = box_ops.encode(gt_boxes, anchors, self.box_weights)
        box_mask = jnp.broadcast_to(positive[..., None], deltas.shape)
        box_loss = losses.smooth_l1(deltas, box_targets, self.beta, box_mask)
        count = normalizer = counted.sum(dtype=logits.dtype)
        if self.box_loss_normalizer == "locations":
            cells = outputs["rpn_class_logits"].shape[1] // self._anchors_per_cell
            normalizer = valid.sum(dtype=logits.dtype) * cells
        box_loss = self.box_loss_weight * box_loss
        return {"rpn_class": (class_loss.sum(), count), "rpn_box": (box_loss.sum(), normalizer)}

    @property
    def _anchors_per_cell(self) -> int:
        return len(self.anchor_sizes[0]) * len(self.anchor_ratios)

    def _check_sizes(self, levels: int) -> None:
        text = f"rpn.anchor_sizes={self.anchor_sizes}"
        if len(self.anchor_sizes) != levels:
            raise UserError(f"{text}: {len(self.anchor_sizes)} levels, but {levels} maps")
        if any(len(sizes) != len(self.anchor_sizes[0]) for sizes in self.anchor_sizes):
            raise UserError(f"{text}: give equally many sizes for every level")

    def _best(
        self, logits: Array, deltas: Array, anchors: Array, level: int, count: int
    ) -> tuple[Array, Array, Array]:
        """Returns boxes and logits of a level's best proposals, and as often the level's number."""
        scores, index = lax.top_k(logits, min(count, len(anchors)))
        start = anchors[index].astype(deltas.dtype)
        boxes = box_ops.decode(deltas[index], start, self.box_weights)
        return boxes, scores, jnp.full(scores.shape, level, jnp.int32)
