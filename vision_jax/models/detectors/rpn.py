"""Region proposal networks: the first stage of Faster R-CNN (Ren et al. 2015, arXiv:1506.01497).

Parameters: `conv` (3x3), `cls_logits` and `bbox_pred` (1x1), shared by all levels.
Initialisation: N(0, 0.01), zero biases (section 3.1.3).
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import SMALL_NORMAL
from vision_jax.models.layers.blocks import Conv
from vision_jax.ops import anchors as anchor_ops
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses
from vision_jax.ops.assign import IGNORED, match
from vision_jax.ops.nms import nms
from vision_jax.ops.sampling import Sample, sample_balanced
from vision_jax.structs import Targets

# Streams of an example's key, apart from the numbers of dropout layers.
RPN_STREAM, ROI_STREAM = 2000, 2001
_PLAIN = (1.0, 1.0, 1.0, 1.0)  # the RPN's regression targets are not scaled
Size = tuple[int, int]  # height, width


class Proposals(NamedTuple):
    """Regions that may hold an object, by falling score, then padding."""

    boxes: Array  # (b, p, 4) xyxy, pixels of the network's input
    scores: Array  # (b, p) in [0, 1], 0 on padding
    valid: Array  # (b, p) bool


class RPN(nn.Module):
    """Objectness and box offsets of every anchor, proposals made of them, and their loss.

    Defaults are torchvision's; `models.faster_rcnn` has the paper's.

    Fields:
      sizes: anchors' sides (square root of the area, in pixels), for each level.
      ratios: anchors' height / width, on all levels.
      cell: anchors' corners: 'rounded' to whole pixels or 'exact', around the corner of a cell;
        'original', the first implementation's inclusive pixels around the middle of a cell.
      spacing: pixels between anchors: 'image', image side // cells, as in torchvision; 'network',
        the level's stride.
      width: channels of the 3x3 convolution; None takes the level's.
      positive_iou, negative_iou: an anchor whose best overlap with an object is at least so much is
        positive, below so much background, else it does not count.
      low_quality: an object's best anchor is positive whatever the overlap.
      cross_boundary: whether anchors that leave the image count in the loss (the paper: no).
      samples: anchors per image that the loss counts, drawn at random.
      fraction: largest share of positives among them.
      train_before_nms, before_nms: best proposals of each level that enter NMS, where they are to
        be trained on, and to be detections.
      train_after_nms, after_nms: proposals per image that leave it.
      nms_iou: overlap above which the better proposal of a level suppresses the other.
      least_size: smallest side of a proposal, in pixels.
      least_score: smallest objectness of a proposal.
      beta: where the box loss turns from square to linear (see `losses.smooth_l1`).
      box_weight: the paper's lambda.
      per_cell: divide the box loss by the number of cells, as the paper does, in place of the
        number of samples.
      dtype: compute dtype.
    """

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    cell: Literal["rounded", "exact", "original"] = "rounded"
    spacing: Literal["image", "network"] = "image"
    width: int | None = None
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    low_quality: bool = True
    cross_boundary: bool = True
    samples: int = 256
    fraction: float = 0.5
    train_before_nms: int = 2000
    train_after_nms: int = 2000
    before_nms: int = 1000
    after_nms: int = 1000
    nms_iou: float = 0.7
    least_size: float = 1e-3
    least_score: float = 0.0
    beta: float = 1 / 9
    box_weight: float = 1.0
    per_cell: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, levels: tuple[Float[Array, "b _ _ c"], ...]
    ) -> tuple[Float[Array, "b a"], Float[Array, "b a 4"]]:
        """Objectness logits and offsets of the anchors of all levels, in the order of `anchors`.

        Raises:
          UserError: not as many levels as `sizes` are given for.
        """
        if len(levels) != len(self.sizes):
            raise UserError(
                f"rpn.sizes={self.sizes}: {len(self.sizes)} levels, but {len(levels)} maps"
            )
        per_cell = len(self.sizes[0]) * len(self.ratios)
        if any(len(sizes) != len(self.sizes[0]) for sizes in self.sizes):
            raise UserError(f"rpn.sizes={self.sizes}: give equally many sizes for every level")
        width = self.width or levels[0].shape[-1]

        def conv(features: int, kernel: int, name: str) -> Conv:
            padding = kernel // 2
            return Conv(
                features, kernel, 1, padding, dtype=self.dtype, kernel_init=SMALL_NORMAL, name=name
            )

        hidden, objectness = conv(width, 3, "conv"), conv(per_cell, 1, "cls_logits")
        offsets = conv(4 * per_cell, 1, "bbox_pred")
        logits, deltas = [], []
        for level in levels:
            x = nn.relu(hidden(level))
            logits.append(objectness(x).reshape(x.shape[0], -1))
            deltas.append(offsets(x).reshape(x.shape[0], -1, 4))
        return wide(jnp.concatenate(logits, 1)), wide(jnp.concatenate(deltas, 1))

    def anchors(
        self, image: Size, grids: Sequence[Size], strides: Sequence[int]
    ) -> tuple[Float[Array, "_ 4"], ...]:
        """Each level's anchors, row by row of its grid, then by ratio, then by size.

        Args:
          image: height and width of the input, in pixels.
          grids: cells of each level, down and across.
          strides: of each level.
        """
        found = []
        for sizes, grid, stride in zip(self.sizes, grids, strides, strict=True):
            apart = (stride, stride)
            if self.spacing == "image":
                apart = (image[0] // grid[0], image[1] // grid[1])
            if self.cell == "original":
                scales = tuple(size / stride for size in sizes)
                cell = anchor_ops.original_cell_anchors(stride, self.ratios, scales)
            else:
                cell = anchor_ops.cell_anchors(sizes, self.ratios, self.cell == "rounded")
            found.append(anchor_ops.grid_anchors(np.asarray(cell), grid, apart))
        return tuple(found)

    def propose(
        self,
        logits: Float[Array, "b a"],
        deltas: Float[Array, "b a 4"],
        anchors: tuple[Float[Array, "_ 4"], ...],
        sizes: Float[Array, "b 2"],
        train: bool = False,
    ) -> Proposals:
        """The best proposals of every image; they pass no gradient (section 3.2).

        Args:
          logits, deltas: what the network returned.
          anchors: of each level.
          sizes: height and width of the images' content, to which proposals are cut.
          train: as many as are to be trained on, else as many as are to be detections.
        """
        before = self.train_before_nms if train else self.before_nms
        after = self.train_after_nms if train else self.after_nms
        ends = np.cumsum([len(level) for level in anchors])[:-1].tolist()
        logits, deltas = lax.stop_gradient((logits, deltas))

        def image(logits: Array, deltas: Array, size: Array) -> tuple[Array, Array, Array]:
            boxes, scores, numbers = [], [], []
            parts = zip(jnp.split(logits, ends), jnp.split(deltas, ends), anchors, strict=True)
            for number, (logit, delta, anchor) in enumerate(parts):
                best, index = lax.top_k(logit, min(before, len(anchor)))
                start = anchor[index].astype(delta.dtype)
                boxes.append(box_ops.decode(delta[index], start, _PLAIN))
                scores.append(best)
                numbers.append(jnp.full(best.shape, number, jnp.int32))
            box = box_ops.clip(jnp.concatenate(boxes), size[0], size[1])
            score = jnp.concatenate(scores)
            good = box_ops.large_enough(box, self.least_size)
            good &= nn.sigmoid(score) >= self.least_score
            # By logits: where probabilities are so near 1 that they tie, logits still tell.
            kept = nms(
                box, score, self.nms_iou, min(after, len(box)), jnp.concatenate(numbers), good
            )
            box = jnp.where(kept.valid[:, None], box[kept.index], 0)
            return box, jnp.where(kept.valid, nn.sigmoid(kept.score), 0), kept.valid

        return Proposals(*jax.vmap(image)(logits, deltas, sizes.astype(deltas.dtype)))

    def matches(
        self, anchors: Float[Array, "a 4"], targets: Targets, sizes: Float[Array, "b 2"]
    ) -> Int[Array, "b a"]:
        """Each anchor's object, background or to be ignored, as `ops.assign` numbers them."""
        boxes, valid = objects(targets)

        def image(boxes: Array, valid: Array, size: Array) -> Array:
            places = anchors.astype(boxes.dtype)
            if self.cross_boundary:
                return self._match(boxes, valid, places)
            height, width = size
            inside = (places[:, :2] >= 0).all(1)
            inside &= (places[:, 2] <= width) & (places[:, 3] <= height)
            # An empty box overlaps nothing, so that it cannot be any object's best anchor.
            found = self._match(boxes, valid, jnp.where(inside[:, None], places, 0))
            return jnp.where(inside, found, IGNORED)

        return jax.vmap(image)(boxes, valid, sizes)

    def sample(
        self,
        anchors: Float[Array, "a 4"],
        targets: Targets,
        sizes: Float[Array, "b 2"],
        keys: Key[Array, "b"] | None,
    ) -> dict[str, Int[Array, "b s"]]:
        """The anchors that the loss counts: `rpn_index`, and `rpn_matches`, their objects."""
        matching = self.matches(anchors, targets, sizes)
        drawn = draw(keys, RPN_STREAM, matching, self.samples, self.fraction)
        return {"rpn_index": drawn.index, "rpn_matches": sampled_matches(matching, drawn)}

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """Sums and weights of `rpn_class` and `rpn_box` (equation 1).

        Args:
          outputs: `rpn_logits`, `rpn_deltas`, `anchors`, and what `sample` returned.
          targets: with boxes.
          valid: images that count.
        """
        index, matching = outputs["rpn_index"], outputs["rpn_matches"]
        counted = (matching != IGNORED) & valid[:, None]
        positive = (matching >= 0) & counted
        logits = jnp.take_along_axis(outputs["rpn_logits"], index, 1)
        deltas = jnp.take_along_axis(outputs["rpn_deltas"], index[..., None], 1)
        classes = losses.binary_cross_entropy(logits, positive.astype(logits.dtype), counted)
        anchors = outputs["anchors"][index].astype(deltas.dtype)
        wanted = box_ops.encode(owners(targets, matching).astype(deltas.dtype), anchors, _PLAIN)
        four = jnp.broadcast_to(positive[..., None], deltas.shape)
        boxes = self.box_weight * losses.smooth_l1(deltas, wanted, self.beta, four)
        count = counted.sum(dtype=logits.dtype)
        cells = outputs["rpn_logits"].shape[1] // (len(self.sizes[0]) * len(self.ratios))
        weight = valid.sum(dtype=logits.dtype) * cells if self.per_cell else count
        return {"rpn_class": (classes.sum(), count), "rpn_box": (boxes.sum(), weight)}

    def _match(self, boxes: Array, valid: Array, anchors: Array) -> Array:
        return match(boxes, valid, anchors, self.positive_iou, self.negative_iou, self.low_quality)


def draw(
    keys: Key[Array, "b"] | None,
    stream: int,
    matching: Int[Array, "b a"],
    count: int,
    fraction: float,
) -> Sample:
    """A balanced sample of every image's matching; all of it where that is few enough.

    Raises:
      ValueError: no keys where something is to be drawn.
    """
    if takes_all(matching.shape[1], count, fraction):
        index = jnp.broadcast_to(jnp.arange(matching.shape[1], dtype=jnp.int32), matching.shape)
        return Sample(index, matching >= 0, matching != IGNORED)
    if keys is None:
        raise ValueError("sampling needs keys: one random key per example, shape (b,)")
    own = jax.vmap(jax.random.fold_in, (0, None))(keys, stream)
    return jax.vmap(sample_balanced, (0, 0, None, None))(own, matching, count, fraction)


def takes_all(candidates: int, count: int, fraction: float) -> bool:
    """Whether a sample of `count`, at most `fraction` positive, surely holds all candidates."""
    return candidates <= int(count * fraction)


def sampled_matches(matching: Int[Array, "b a"], drawn: Sample) -> Int[Array, "b s"]:
    """The matching of the anchors drawn; empty slots are `IGNORED`."""
    return jnp.where(drawn.valid, jnp.take_along_axis(matching, drawn.index, 1), IGNORED)


def objects(targets: Targets) -> tuple[Float[Array, "b m 4"], Bool[Array, "b m"]]:
    """Boxes and which of them are objects; at least one slot."""
    boxes, valid = jnp.asarray(targets.boxes), jnp.asarray(targets.valid)
    if boxes.shape[1]:
        return boxes, valid
    return jnp.zeros((boxes.shape[0], 1, 4), boxes.dtype), jnp.zeros((boxes.shape[0], 1), bool)


def owners(targets: Targets, matching: Int[Array, "b s"]) -> Float[Array, "b s 4"]:
    """The box of each slot's object; any box where there is none."""
    boxes, _ = objects(targets)
    return jnp.take_along_axis(boxes, jnp.maximum(matching, 0)[..., None], 1)


def wide(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """As float32, or wider if it is: boxes and losses are no matter for half precision."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
