"""What YOLO v1, v2 and v3 share: objects in cells, terms of the loss, the final choice of boxes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Bool, Float, Int

from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import yolo_cells
from vision_jax.ops.nms import nms_classes
from vision_jax.structs import Detections, Targets

Terms = dict[str, tuple[Array, Array]]


class Placed(NamedTuple):
    """Which prediction answers for each object of an image; predictions are in (h, w, a) order."""

    index: Array  # (m,) int32, into the level's predictions
    present: Array  # (m,) bool: not padding, and this level's
    last: Array  # (m,) bool: present, and no later object has the same prediction


def place(
    truth: Float[Array, "m 4"],
    present: Bool[Array, "m"],
    prior: Int[Array, "m"],
    grid: tuple[int, int],
    stride: int,
    count: int,
) -> Placed:
    """Objects at the cell of their centre; where two meet, the last one rules, as in Darknet.

    Args:
      truth: xyxy in pixels.
      present: the level's objects.
      prior: which of the cell's priors each has.
      grid: cells down and across.
      stride: pixels per cell.
      count: priors per cell.
    """
    centre = (truth[:, :2] + truth[:, 2:]) / (2 * stride)
    cell = jnp.floor(centre).astype(jnp.int32)
    column = jnp.clip(cell[:, 0], 0, grid[1] - 1)
    row = jnp.clip(cell[:, 1], 0, grid[0] - 1)
    index = (row * grid[1] + column) * count + prior
    number = jnp.arange(truth.shape[0])
    later = (index[:, None] == index[None]) & (number[None] > number[:, None]) & present[None]
    return Placed(index, present, present & ~later.any(1))


def owned(placed: Placed, count: int) -> Bool[Array, "{count}"]:
    """Which of `count` predictions answer for an object."""
    index = jnp.where(placed.last, placed.index, count)
    return jnp.zeros(count, bool).at[index].set(True, mode="drop")


def owner(placed: Placed, count: int) -> Int[Array, "{count}"]:
    """The object that each of `count` predictions answers for, or `assign.BACKGROUND`."""
    index = jnp.where(placed.last, placed.index, count)
    number = jnp.arange(index.shape[0], dtype=jnp.int32)
    return jnp.full(count, assign.BACKGROUND, jnp.int32).at[index].set(number, mode="drop")


def best_overlap(
    boxes: Float[Array, "n 4"], truth: Float[Array, "m 4"], valid: Bool[Array, "m"]
) -> Float[Array, "n"]:
    """Each box's greatest IoU with a valid object; 0 without objects."""
    overlap = box_ops.iou(boxes[:, None], truth[None])
    return jnp.max(jnp.where(valid[None], overlap, 0), axis=1, initial=0)


def decode(
    raw: Float[Array, "b h w a k"], priors: Float[Array, "a 2"], stride: int
) -> Float[Array, "b h*w*a 4"]:
    """Boxes xyxy in pixels from (tx, ty, tw, th, …); see `ops.boxes.decode_yolo`."""
    b, h, w, a, _ = raw.shape
    cells = yolo_cells((h, w), a)
    tiled = jnp.tile(priors, (h * w, 1))
    flat = raw[..., :4].reshape(b, -1, 4)
    return jax.vmap(box_ops.decode_yolo, (0, None, None, None))(flat, cells, tiled, float(stride))


def anchors(priors: Float[Array, "a 2"], grid: tuple[int, int], stride: int) -> Float[Array, "n 4"]:
    """The priors (pixels) around the centres of a grid's cells, in the predictions' order."""
    centre = (yolo_cells(grid, len(priors)) + 0.5) * stride
    half = jnp.tile(priors, (grid[0] * grid[1], 1)) / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def box_loss(
    rows: Float[Array, "m 4"], target: Float[Array, "m 4"], mask: Bool[Array, "m"]
) -> Float[Array, "m"]:
    """Of raw (tx, ty, tw, th) against (sigmoid(tx), sigmoid(ty), tw, th).

    Darknet's gradients: sigmoid minus target for the centre, and the plain difference for the
    size.
    """
    wide = jnp.repeat(mask[:, None], 2, 1)
    centre = divergence(rows[:, :2], target[:, :2], wide)
    size = jnp.where(wide, rows[:, 2:] - target[:, 2:], 0)
    return centre.sum(1) + 0.5 * (size * size).sum(1)


def divergence(
    logits: Float[Array, "*n"], target: Float[Array, "*n"], mask: Bool[Array, "*n"]
) -> Float[Array, "*n"]:
    """Sigmoid cross-entropy without the targets' own: 0 where the target, in [0, 1], is met."""
    target = jnp.clip(target, 0, 1)
    own = -xlogy(target, target) - xlogy(1 - target, 1 - target)
    return losses.binary_cross_entropy(logits, target, mask) - jnp.where(mask, own, 0)


def total(terms: dict[str, Float[Array, "b"]], valid: Bool[Array, "b"]) -> Terms:
    """Sums over the valid images, each with their number as its weight."""
    count = valid.sum().astype(jnp.float32)
    return {name: (jnp.where(valid, value, 0).sum(), count) for name, value in terms.items()}


def objects(targets: Targets) -> tuple[Array, Array, Array]:
    """Boxes (b, m, 4), labels (b, m) and valid (b, m); padding is a unit box of class 0."""
    valid = targets.valid
    unit = jnp.array([0, 0, 1, 1], jnp.float32)
    boxes = jnp.where(valid[..., None], targets.boxes, unit[None, None])
    return boxes, jnp.where(valid, targets.labels, 0), valid


def select(
    boxes: Float[Array, "b n 4"],
    scores: Float[Array, "b n c"],
    sizes: Float[Array, "b 2"],
    least: float,
    threshold: float,
    candidates: int | None,
    count: int,
) -> Detections:
    """The `count` best of each image after non-maximum suppression within classes.

    Args:
      boxes: xyxy in pixels; cut at the image's content.
      scores: 0..1, of each class.
      sizes: height and width of the content.
      least: scores up to this are dropped.
      threshold: greatest IoU of two detections of one class.
      candidates: boxes per class that enter; None is all.
    """
    limit = sizes[:, None, ::-1]
    boxes = jnp.concatenate([jnp.clip(boxes[..., i : i + 2], 0, limit) for i in (0, 2)], -1)

    def one(boxes, scores):
        return nms_classes(boxes, scores, threshold, count, candidates, least)

    kept = jax.vmap(one)(boxes, scores)
    found = jnp.take_along_axis(boxes, kept.index[..., None], axis=1)
    found = jnp.where(kept.valid[..., None], found, 0)
    return Detections(found, kept.score, kept.label, kept.valid)
