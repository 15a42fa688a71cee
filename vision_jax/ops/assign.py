"""Matchers: for each anchor (or cell, or query) the ground-truth box that it answers for.

The result is one int32 per anchor: the number of its box, `BACKGROUND`, or `IGNORED`. Ground truth
is padded: `gt_valid` is False on padding, which matches nothing. Nothing here passes a gradient.

Matchers walk over the valid boxes only, holding a few rows of overlaps at a time: no (boxes,
anchors) matrix, whose hundred padded rows would cost twenty times as much.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from vision_jax.ops import boxes
from vision_jax.ops.anchors import shape_iou
from vision_jax.ops.hungarian import cheapest_assignment

BACKGROUND = -1
IGNORED = -2
ROWS = 4  # boxes whose overlaps are held at a time; measured: 2.8 times as fast as one

Row = Callable[[Array], Array]  # number of a box -> its overlap with every anchor


def match(
    gt_boxes: Float[Array, "g 4"],
    gt_valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    positive_iou: float,
    negative_iou: float,
    allow_low_quality_matches: bool = False,
) -> Int[Array, "a"]:
    """Matches anchors to ground-truth boxes by IoU thresholds (Ren 2015, section 3.1.2).

    Args:
      gt_boxes: xyxy, as `anchors`.
      gt_valid: False on padding.
      positive_iou: an anchor whose best IoU is at least this is positive.
      negative_iou: one whose best IoU is below this is background; the others are ignored.
      allow_low_quality_matches: also give each box the anchors with its greatest IoU (all of them
        on ties, and each then answers for its own best box, as Detectron does). A box that overlaps
        no anchor gets none.
    """
    gt_boxes, anchors = lax.stop_gradient((gt_boxes, anchors))
    row = _overlaps(gt_boxes, anchors)
    return _match(
        row, anchors.shape[0], gt_valid, positive_iou, negative_iou, allow_low_quality_matches
    )


def match_quality(
    quality: Float[Array, "g a"],
    gt_valid: Bool[Array, "g"],
    positive_iou: float,
    negative_iou: float,
    allow_low_quality_matches: bool = False,
) -> Int[Array, "a"]:
    """Matches by IoU thresholds, as `match` does, for a given matrix of overlaps in [0, 1]."""
    quality = lax.stop_gradient(quality)
    return _match(
        lambda i: quality[i],
        quality.shape[1],
        gt_valid,
        positive_iou,
        negative_iou,
        allow_low_quality_matches,
    )


def match_ssd(
    gt_boxes: Float[Array, "g 4"],
    gt_valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    threshold: float = 0.5,
) -> Int[Array, "a"]:
    """Matches as SSD does: each box gets its best anchor, the rest goes by threshold.

    Liu 2016, section 2.2. Where two boxes share their best anchor the later box has it, as in the
    reference. A box that overlaps no anchor gets none.
    """
    gt_boxes, anchors = lax.stop_gradient((gt_boxes, anchors))
    return _match_ssd(_overlaps(gt_boxes, anchors), anchors.shape[0], gt_valid, threshold)


def match_ssd_quality(
    quality: Float[Array, "g a"], gt_valid: Bool[Array, "g"], threshold: float = 0.5
) -> Int[Array, "a"]:
    """Matches as `match_ssd` does, for a given matrix of overlaps in [0, 1]."""
    quality = lax.stop_gradient(quality)
    return _match_ssd(lambda i: quality[i], quality.shape[1], gt_valid, threshold)


def match_lecture(
    gt_boxes: Float[Array, "g 4"],
    gt_valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    threshold: float = 0.5,
) -> Int[Array, "a"]:
    """Matches greedily one to one, then by threshold (Zhang, Dive into Deep Learning, 14.4.3).

    The greatest IoU of the whole matrix makes a pair, its row and column leave the matrix, and so
    on until every box has an anchor of its own; ties go to the lower box, then the lower anchor.
    """
    gt_boxes, anchors = lax.stop_gradient((gt_boxes, anchors))
    quality = jnp.where(gt_valid[:, None], boxes.pairwise(boxes.iou, gt_boxes, anchors), -1)
    count, numbers = gt_valid.shape[0], jnp.arange(anchors.shape[0])

    def step(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, owner = state
        box, anchor = jnp.divmod(jnp.argmax(left), left.shape[1])
        is_left = left[box, anchor] >= 0
        owner = jnp.where((numbers == anchor) & is_left, box.astype(jnp.int32), owner)
        taken = (jnp.arange(count) == box)[:, None] | (numbers == anchor)[None]
        return jnp.where(taken, -1, left), owner

    if count == 0 or anchors.shape[0] == 0:
        return jnp.full(anchors.shape[0], BACKGROUND, jnp.int32)
    first = _by_threshold(quality.max(0), quality.argmax(0), threshold, threshold)
    return lax.fori_loop(0, jnp.sum(gt_valid), step, (quality, first))[1]


def match_cells(
    gt_boxes: Float[Array, "g 4"],
    gt_valid: Bool[Array, "g"],
    grid: tuple[int, int],
    stride: float,
    first_wins: bool = True,
) -> Int[Array, "{grid[0]} {grid[1]}"]:
    """Matches each YOLO cell to the box whose centre it holds (Redmon 2016, section 2).

    Args:
      grid: cells down and across.
      stride: pixels per cell.
      first_wins: whether a cell with several boxes answers for the first or for the last of them
        (Darknet's version 1 keeps the first).
    """
    gt_boxes = lax.stop_gradient(gt_boxes)
    column, row = (
        jnp.floor((gt_boxes[:, i] + gt_boxes[:, i + 2]) / (2 * stride)).astype(jnp.int32)
        for i in (0, 1)
    )
    column, row = jnp.clip(column, 0, grid[1] - 1), jnp.clip(row, 0, grid[0] - 1)
    here = gt_valid[:, None, None]
    here &= jnp.arange(grid[0])[None, :, None] == row[:, None, None]
    here &= jnp.arange(grid[1])[None, None, :] == column[:, None, None]
    number = jnp.arange(gt_boxes.shape[0], dtype=jnp.int32)[:, None, None]
    if gt_boxes.shape[0] == 0:
        return jnp.full(grid, BACKGROUND, jnp.int32)
    if first_wins:
        owner = jnp.where(here, number, gt_boxes.shape[0]).min(0)
        return jnp.where(owner < gt_boxes.shape[0], owner, BACKGROUND)
    return jnp.where(here, number, BACKGROUND).max(0)


def best_prior(sides: Float[Array, "g 2"], priors: Float[Array, "p 2"]) -> Int[Array, "g"]:
    """Finds each box's best prior by shape alone (Redmon 2018, section 2.1).

    Args:
      sides: width and height of the boxes, in pixels.
      priors: width and height, in pixels.
    """
    return jnp.argmax(shape_iou(lax.stop_gradient(sides), priors), 1).astype(jnp.int32)


def match_hungarian(
    cost: Float[Array, "q g"], gt_valid: Bool[Array, "g"], limit: float = 1e6
) -> Int[Array, "g"]:
    """Finds the cheapest one-to-one matching of boxes to queries (DETR, Carion 2020, eq. 1).

    Args:
      cost: of giving box g to query q; there must be as many queries as boxes, or more.
      limit: costs are cut to ±limit, NaN counts as limit.

    Returns:
      For each box its query; for a padded box `BACKGROUND`.

    Raises:
      ValueError: more boxes than queries.
    """
    queries, count = cost.shape
    if queries < count:
        raise ValueError(f"{count} boxes cannot be matched to only {queries} queries")
    cost = lax.stop_gradient(cost)
    cost = jnp.clip(jnp.where(jnp.isnan(cost), limit, cost), -limit, limit)
    query = cheapest_assignment(cost.T, gt_valid)
    return jnp.where(gt_valid, query, BACKGROUND)


def _overlaps(gt_boxes: Array, anchors: Array) -> Row:
    """Makes the function that computes `boxes.iou` of one box, by its number, with all anchors.

    It reads contiguous columns, which are made once for all rows.
    """
    ax0, ay0, ax1, ay1 = lax.optimization_barrier(tuple(anchors[:, i] for i in range(4)))
    anchor_area, box_area = (ax1 - ax0) * (ay1 - ay0), boxes.area(gt_boxes)

    def row(i: Array) -> Array:
        x0, y0, x1, y1 = gt_boxes[i]
        width = jnp.maximum(jnp.minimum(ax1, x1) - jnp.maximum(ax0, x0), 0)
        height = jnp.maximum(jnp.minimum(ay1, y1) - jnp.maximum(ay0, y0), 0)
        both = width * height
        union = box_area[i] + anchor_area - both
        return jnp.where(union > 0, both / union, 0)

    return row


def _match(
    row: Row,
    anchors: int,
    gt_valid: Array,
    positive_iou: float,
    negative_iou: float,
    allow_low_quality_matches: bool,
) -> Array:
    best, index, _, forced = _best(row, anchors, gt_valid, allow_low_quality_matches)
    matched_idxs = _by_threshold(best, index, positive_iou, negative_iou)
    return jnp.where(forced, index, matched_idxs) if allow_low_quality_matches else matched_idxs


def _match_ssd(row: Row, anchors: int, gt_valid: Array, threshold: float) -> Array:
    best, index, per_box, _ = _best(row, anchors, gt_valid)
    matched_idxs = _by_threshold(best, index, threshold, threshold)
    if gt_valid.shape[0] == 0 or anchors == 0:
        return matched_idxs
    numbers = jnp.arange(anchors)

    def force(i: Array, matched_idxs: Array) -> Array:
        chosen = (numbers == jnp.argmax(row(i))) & (per_box[i] > 0) & gt_valid[i]
        return jnp.where(chosen, i, matched_idxs)

    return lax.fori_loop(0, _rows(gt_valid), force, matched_idxs)


def _best(
    row: Row, anchors: int, gt_valid: Array, ties: bool = False
) -> tuple[Array, Array, Array, Array | None]:
    """Finds the greatest overlap of each anchor and of each box.

    Returns:
      Each anchor's greatest overlap and the number of its box; each box's greatest overlap (0:
      none); and with `ties`, whether an anchor overlaps some box as much as that box's best anchor
      does.
    """
    count = gt_valid.shape[0]
    kind = jax.eval_shape(row, jnp.int32(0)).dtype if count else jnp.float32
    room = -(-count // ROWS) * ROWS
    start = (jnp.full(anchors, -1, kind), jnp.zeros(anchors, jnp.int32), jnp.zeros(room, kind))
    start = (*start, jnp.zeros(anchors, bool) if ties else None)
    if count == 0:
        return start
    taken = jnp.pad(gt_valid, (0, room - count))

    def step(block: Array, state: tuple) -> tuple:
        best, index, per_box, tied = state
        numbers = block * ROWS + jnp.arange(ROWS, dtype=jnp.int32)
        overlaps = jnp.stack([jnp.where(taken[i], row(i), -1) for i in numbers])
        # Without the barrier each of its uses computes the rows anew.
        overlaps = lax.optimization_barrier(overlaps)
        greatest = jnp.max(overlaps, 1, initial=0)
        for i, overlap, most in zip(numbers, overlaps, greatest, strict=True):
            if ties:
                tied |= (overlap == most) & (most > 0)
            better = overlap > best
            best, index = jnp.where(better, overlap, best), jnp.where(better, i, index)
        per_box = lax.dynamic_update_slice_in_dim(per_box, greatest, block * ROWS, 0)
        return best, index, per_box, tied

    blocks = (_rows(gt_valid) + ROWS - 1) // ROWS
    best, index, per_box, tied = lax.fori_loop(0, blocks, step, start)
    return best, index, per_box[:count], tied


def _rows(gt_valid: Array) -> Array:
    """Counts the rows that a loop must visit: up to the last valid one."""
    return jnp.max(jnp.where(gt_valid, jnp.arange(1, gt_valid.shape[0] + 1), 0)).astype(jnp.int32)


def _by_threshold(best: Array, index: Array, positive_iou: float, negative_iou: float) -> Array:
    other = jnp.where(best < negative_iou, BACKGROUND, IGNORED)
    return jnp.where(best >= positive_iou, index.astype(jnp.int32), other).astype(jnp.int32)
