"""The parts that YOLO v1, v2 and v3 share: objects in cells, and terms of the loss."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float, Int

from vision_jax.config import UserError
from vision_jax.models.detectors.detector import Outputs, Valid
from vision_jax.models.layers import at_least_float32
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import yolo_cells
from vision_jax.structs import Targets, Terms

Number = int | float
Priors = tuple[tuple[Number, Number], ...]  # widths and heights


class Predictions(NamedTuple):
    """The predictions of one image, or of a batch with a leading axis, before any activation."""

    class_logits: Array  # (a, classes)
    objectness_logits: Array  # (a,)
    box_deltas: Array  # (a, 4): tx, ty, tw, th

    def at(self, index: Int[Array, "m"]) -> "Predictions":
        """Returns some of an image's predictions."""
        return Predictions(*(x[index] for x in self))


def check_twice(fine: Float[Array, "b h w c"], coarse: Float[Array, "b h2 w2 d"]) -> None:
    """Checks that one map is twice as large as the other, which is to be joined with it.

    Raises:
      UserError: it is not, as with images whose sides no stride divides.
    """
    (height, width), (rows, columns) = fine.shape[1:3], coarse.shape[1:3]
    if (height, width) != (2 * rows, 2 * columns):
        raise UserError(
            f"maps of {height}×{width} and {rows}×{columns} cells do not fit together: give images "
            "whose sides are multiples of the coarsest map's stride"
        )


class Assignment(NamedTuple):
    """The prediction that answers for each object of an image."""

    index: Array  # (m,) int32, into the scale's predictions
    valid: Array  # (m,) bool: an object, not padding, and this scale's
    last: Array  # (m,) bool: valid, and no later object has the same prediction


@dataclasses.dataclass(frozen=True)
class Scale:
    """A grid of cells, each of which predicts a box from each of a few priors.

    Predictions are in (row, column, prior) order.

    Attributes:
      grid: cells down and across.
      stride: pixels per cell.
      priors: widths and heights in pixels.
    """

    grid: tuple[int, int]
    stride: int
    priors: Float[Array, "p 2"]

    @property
    def count(self) -> int:
        """Predictions of an image."""
        return self.grid[0] * self.grid[1] * len(self.priors)

    @property
    def area(self) -> int:
        """Pixels of the image."""
        return self.grid[0] * self.grid[1] * self.stride**2

    def anchors(self) -> Float[Array, "a 4"]:
        """Returns the priors around the centres of their cells, xyxy in pixels."""
        centre = (self._cells() + 0.5) * self.stride
        half = self._tiled_priors() / 2
        return jnp.concatenate([centre - half, centre + half], -1)

    def decode(self, box_deltas: Float[Array, "a 4"]) -> Float[Array, "a 4"]:
        """Returns the boxes, xyxy in pixels, of (tx, ty, tw, th); see `ops.boxes.decode_yolo`."""
        priors, stride = self._tiled_priors(), float(self.stride)
        return box_ops.decode_yolo(box_deltas, self._cells(), priors, stride)

    def encode(self, boxes: Float[Array, "m 4"], index: Int[Array, "m"]) -> Float[Array, "m 4"]:
        """Returns what predictions `index` should say: (sigmoid(tx), sigmoid(ty), tw, th)."""
        priors, stride = self.priors[index % len(self.priors)], float(self.stride)
        return box_ops.encode_yolo(boxes, self._cells()[index], priors, stride)

    def assign(
        self,
        gt_boxes: Float[Array, "m 4"],
        gt_valid: Bool[Array, "m"],
        prior_idxs: Int[Array, "m"],
    ) -> Assignment:
        """Assigns objects to the cells of their centres; the last one there rules, as in Darknet.

        Args:
          gt_boxes: xyxy in pixels.
          gt_valid: the scale's objects.
          prior_idxs: which of the cell's priors each has.
        """
        centre = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / (2 * self.stride)
        cell = jnp.floor(centre).astype(jnp.int32)
        column = jnp.clip(cell[:, 0], 0, self.grid[1] - 1)
        row = jnp.clip(cell[:, 1], 0, self.grid[0] - 1)
        index = (row * self.grid[1] + column) * len(self.priors) + prior_idxs
        number = jnp.arange(gt_boxes.shape[0])
        is_later = (number[None] > number[:, None]) & gt_valid[None]
        replaced = ((index[:, None] == index[None]) & is_later).any(1)
        return Assignment(index, gt_valid, gt_valid & ~replaced)

    def positive_mask(self, assignment: Assignment) -> Bool[Array, "a"]:
        """Returns which predictions answer for an object."""
        index = jnp.where(assignment.last, assignment.index, self.count)
        return jnp.zeros(self.count, bool).at[index].set(True, mode="drop")

    def matched_idxs(self, assignment: Assignment) -> Int[Array, "a"]:
        """Returns the object that each prediction answers for, or `assign.BACKGROUND`."""
        index = jnp.where(assignment.last, assignment.index, self.count)
        number = jnp.arange(index.shape[0], dtype=jnp.int32)
        background = jnp.full(self.count, assign.BACKGROUND, jnp.int32)
        return background.at[index].set(number, mode="drop")

    def _cells(self):
        return yolo_cells(self.grid, len(self.priors))

    def _tiled_priors(self):
        return jnp.tile(self.priors, (self.grid[0] * self.grid[1], 1))


def split_maps(
    prediction_maps: tuple[Float[Array, "b _ _ _"], ...], priors: tuple[int, ...]
) -> Outputs:
    """Names the numbers of each scale's map, and concatenates the scales in order.

    Args:
      prediction_maps: per scale, (b, h, w, priors * (5 + classes)).
      priors: per scale, the number of a cell's priors.

    Returns:
      `box_deltas` (b, a, 4): tx, ty, tw, th; `objectness_logits` (b, a); `class_logits`
      (b, a, classes); all before any activation and at least float32.
    """
    scales = []
    for x, count in zip(prediction_maps, priors, strict=True):
        rows = at_least_float32(x).reshape(x.shape[0], -1, x.shape[-1] // count)
        deltas, objectness, classes = jnp.split(rows, (4, 5), axis=-1)
        scales.append((deltas, objectness[..., 0], classes))
    names = ("box_deltas", "objectness_logits", "class_logits")
    parts = zip(*scales, strict=True)
    return {name: jnp.concatenate(part, 1) for name, part in zip(names, parts, strict=True)}


def predictions(outputs: Outputs, counts: list[int]) -> list[Predictions]:
    """Takes a batch's outputs apart again: the predictions of each scale, which has `counts`."""
    ends = [sum(counts[: i + 1]) for i in range(len(counts) - 1)]
    parts = (jnp.split(outputs[name], ends, axis=1) for name in Predictions._fields)
    return [Predictions(*scale) for scale in zip(*parts, strict=True)]


def max_iou(
    boxes: Float[Array, "n 4"], gt_boxes: Float[Array, "m 4"], gt_valid: Bool[Array, "m"]
) -> Float[Array, "n"]:
    """Computes each box's greatest IoU with a valid object; 0 without objects."""
    iou = box_ops.iou(boxes[:, None], gt_boxes[None])
    return jnp.max(jnp.where(gt_valid[None], iou, 0), axis=1, initial=0)


def box_loss(
    box_deltas: Float[Array, "m 4"], box_targets: Float[Array, "m 4"], mask: Bool[Array, "m"]
) -> Float[Array, "m"]:
    """Computes the loss of raw (tx, ty, tw, th) against (sigmoid(tx), sigmoid(ty), tw, th).

    Its gradients are Darknet's: sigmoid minus target for the centre, and the plain difference for
    the size.
    """
    mask = jnp.repeat(mask[:, None], 2, 1)
    centre_loss = divergence(box_deltas[:, :2], box_targets[:, :2], mask)
    difference = jnp.where(mask, box_deltas[:, 2:] - box_targets[:, 2:], 0)
    return centre_loss.sum(1) + 0.5 * (difference * difference).sum(1)


def divergence(
    logits: Float[Array, "*n"], targets: Float[Array, "*n"], mask: Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    """Computes sigmoid cross-entropy less the targets' entropy: 0 where a target in [0, 1] is met.

    Its gradient is sigmoid minus target, as that of cross-entropy.
    """
    targets = jnp.clip(targets, 0, 1)
    entropy = -xlogy(targets, targets) - xlogy(1 - targets, 1 - targets)
    return losses.binary_cross_entropy(logits, targets, mask) - jnp.where(mask, entropy, 0)


def sum_images(terms: dict[str, Float[Array, "b"]], valid: Valid) -> Terms:
    """Sums terms over the valid images, each with their number as its weight."""
    count = valid.sum().astype(jnp.float32)
    return {name: (jnp.where(valid, value, 0).sum(), count) for name, value in terms.items()}


def objects(targets: Targets) -> tuple[Array, Array, Array]:
    """Returns boxes (b, m, 4), labels (b, m) and valid (b, m), with at least one slot.

    Padding is a unit box of class 0, so that nothing divides by zero.
    """
    boxes, labels, valid = (jnp.asarray(x) for x in (targets.boxes, targets.labels, targets.valid))
    if not valid.shape[1]:
        boxes, labels, valid = (
            jnp.pad(x, ((0, 0), (0, 1), (0, 0))[: x.ndim]) for x in (boxes, labels, valid)
        )
    unit = jnp.array([0, 0, 1, 1], jnp.float32)
    boxes = jnp.where(valid[..., None], boxes, unit[None, None])
    return boxes, jnp.where(valid, labels, 0), valid


def best_priors(gt_boxes: Float[Array, "b m 4"], priors: Float[Array, "p 2"]) -> Int[Array, "b m"]:
    """Returns the prior whose shape is each object's nearest."""
    sides = gt_boxes[..., 2:] - gt_boxes[..., :2]
    return jax.vmap(assign.best_prior, (0, None))(sides, priors)
