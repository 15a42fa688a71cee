"""Which ground-truth box each anchor (or cell, or query) answers for.

A matching is one int32 per anchor: the number of its box, `BACKGROUND`, or `IGNORED`. Ground truth
is padded: `valid` is False on padding, which matches nothing. Nothing here passes a gradient.

Matchers walk over the valid boxes only, holding a few rows of overlaps at a time: no (boxes,
anchors) matrix, whose hundred padded rows would cost twenty times as much.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int
from optax.assignment import hungarian_algorithm

from vision_jax.ops import boxes
from vision_jax.ops.anchors import shape_iou

BACKGROUND = -1
IGNORED = -2
ROWS = 4  # held at a time; measured: 2.8 times as fast as one

Row = Callable[[Array], Array]  # number of a box -> its overlap with every anchor


def match(
    truth: Float[Array, "g 4"],
    valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    high: float,
    low: float,
    low_quality: bool = False,
) -> Int[Array, "a"]:
    """By IoU thresholds (Ren 2015, section 3.1.2).

    Args:
      high, low: an anchor's best IoU >= high makes it positive, < low background, else ignored.
      low_quality: also give each box the anchors with its greatest IoU (all of them on ties, and
        each then answers for its own best box, as Detectron does). A box that overlaps no anchor
        gets none.
    """
    truth, anchors = lax.stop_gradient((truth, anchors))
    row = _overlaps(truth, anchors)
    return _match(row, anchors.shape[0], valid, high, low, low_quality)


def match_quality(
    quality: Float[Array, "g a"],
    valid: Bool[Array, "g"],
    high: float,
    low: float,
    low_quality: bool = False,
) -> Int[Array, "a"]:
    """`match` for a given matrix of overlaps in [0, 1]."""
    quality = lax.stop_gradient(quality)
    return _match(lambda i: quality[i], quality.shape[1], valid, high, low, low_quality)


def match_ssd(
    truth: Float[Array, "g 4"],
    valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    threshold: float = 0.5,
) -> Int[Array, "a"]:
    """SSD's (Liu 2016, section 2.2): each box gets its best anchor, the rest goes by threshold.

    Where two boxes share their best anchor the later box has it, as in the reference. A box that
    overlaps no anchor gets none.
    """
    truth, anchors = lax.stop_gradient((truth, anchors))
    return _match_ssd(_overlaps(truth, anchors), anchors.shape[0], valid, threshold)


def match_ssd_quality(
    quality: Float[Array, "g a"], valid: Bool[Array, "g"], threshold: float = 0.5
) -> Int[Array, "a"]:
    """`match_ssd` for a given matrix of overlaps in [0, 1]."""
    quality = lax.stop_gradient(quality)
    return _match_ssd(lambda i: quality[i], quality.shape[1], valid, threshold)


def match_lecture(
    truth: Float[Array, "g 4"],
    valid: Bool[Array, "g"],
    anchors: Float[Array, "a 4"],
    threshold: float = 0.5,
) -> Int[Array, "a"]:
    """Greedy bipartite, then by threshold (Zhang, Dive into Deep Learning, 14.4.3).

    The greatest IoU of the whole matrix makes a pair, its row and column leave the matrix, and so
    on until every box has an anchor of its own; ties go to the lower box, then the lower anchor.
    """
    truth, anchors = lax.stop_gradient((truth, anchors))
    quality = jnp.where(valid[:, None], boxes.pairwise(boxes.iou, truth, anchors), -1)
    count, places = valid.shape[0], jnp.arange(anchors.shape[0])

    def step(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, owner = state
        place = jnp.argmax(left)
        box, anchor = jnp.divmod(place, left.shape[1])
        found = left[box, anchor] >= 0
        owner = jnp.where((places == anchor) & found, box.astype(jnp.int32), owner)
        taken = (jnp.arange(count) == box)[:, None] | (places == anchor)[None]
        return jnp.where(taken, -1, left), owner

    if count == 0 or anchors.shape[0] == 0:
        return jnp.full(anchors.shape[0], BACKGROUND, jnp.int32)
    first = _by_threshold(quality.max(0), quality.argmax(0), threshold, threshold)
    return lax.fori_loop(0, jnp.sum(valid), step, (quality, first))[1]


def match_cells(
    truth: Float[Array, "g 4"],
    valid: Bool[Array, "g"],
    grid: tuple[int, int],
    stride: float,
    first_wins: bool = True,
) -> Int[Array, "{grid[0]} {grid[1]}"]:
    """YOLO's owner: the cell that holds a box's centre answers for it (Redmon 2016, section 2).

    Args:
      grid: cells down and across.
      stride: pixels per cell.
      first_wins: whether the first or the last of several boxes in a cell has it (Darknet's
        version 1 keeps the first).
    """
    truth = lax.stop_gradient(truth)
    column, row = (
        jnp.floor((truth[:, i] + truth[:, i + 2]) / (2 * stride)).astype(jnp.int32) for i in (0, 1)
    )
    column, row = jnp.clip(column, 0, grid[1] - 1), jnp.clip(row, 0, grid[0] - 1)
    here = valid[:, None, None]
    here &= jnp.arange(grid[0])[None, :, None] == row[:, None, None]
    here &= jnp.arange(grid[1])[None, None, :] == column[:, None, None]
    number = jnp.arange(truth.shape[0], dtype=jnp.int32)[:, None, None]
    if truth.shape[0] == 0:
        return jnp.full(grid, BACKGROUND, jnp.int32)
    if first_wins:
        owner = jnp.where(here, number, truth.shape[0]).min(0)
        return jnp.where(owner < truth.shape[0], owner, BACKGROUND)
    return jnp.where(here, number, BACKGROUND).max(0)


def best_prior(sides: Float[Array, "g 2"], priors: Float[Array, "p 2"]) -> Int[Array, "g"]:
    """Each box's prior by shape alone (Redmon 2018, section 2.1); both width, height in pixels."""
    return jnp.argmax(shape_iou(lax.stop_gradient(sides), priors), 1).astype(jnp.int32)


def match_hungarian(
    cost: Float[Array, "q g"], valid: Bool[Array, "g"], limit: float = 1e6
) -> Int[Array, "g"]:
    """The cheapest one-to-one matching (DETR, Carion 2020, eq. 1): each box's query.

    Args:
      cost: of giving box g to query q; there must be as many queries as boxes, or more.
      limit: costs are cut to ±limit, NaN counts as limit.

    Returns:
      For each box its query; a padded box has `BACKGROUND`.

    Raises:
      ValueError: more boxes than queries.
    """
    queries, count = cost.shape
    if queries < count:
        raise ValueError(f"{count} boxes cannot be matched to only {queries} queries")
    cost = lax.stop_gradient(cost)
    cost = jnp.clip(jnp.where(jnp.isnan(cost), limit, cost), -limit, limit)
    # Padding costs every query the same, so that it cannot change who gets the real boxes.
    query, box = hungarian_algorithm(jnp.where(valid[None], cost, 0))
    order = jnp.argsort(box)
    return jnp.where(valid, query[order].astype(jnp.int32), BACKGROUND)


def _overlaps(truth: Array, anchors: Array) -> Row:
    """`boxes.iou` of one box with all anchors, from contiguous columns made once for all rows."""
    ax0, ay0, ax1, ay1 = lax.optimization_barrier(tuple(anchors[:, i] for i in range(4)))
    anchor_area, box_area = (ax1 - ax0) * (ay1 - ay0), boxes.area(truth)

    def row(i: Array) -> Array:
        x0, y0, x1, y1 = truth[i]
        width = jnp.maximum(jnp.minimum(ax1, x1) - jnp.maximum(ax0, x0), 0)
        height = jnp.maximum(jnp.minimum(ay1, y1) - jnp.maximum(ay0, y0), 0)
        both = width * height
        union = box_area[i] + anchor_area - both
        return jnp.where(union > 0, both / union, 0)

    return row


def _match(
    row: Row, anchors: int, valid: Array, high: float, low: float, low_quality: bool
) -> Array:
    best, index, _, forced = _best(row, anchors, valid, low_quality)
    matching = _by_threshold(best, index, high, low)
    return jnp.where(forced, index, matching) if low_quality else matching


def _match_ssd(row: Row, anchors: int, valid: Array, threshold: float) -> Array:
    best, index, per_box, _ = _best(row, anchors, valid)
    matching = _by_threshold(best, index, threshold, threshold)
    if valid.shape[0] == 0 or anchors == 0:
        return matching
    places = jnp.arange(anchors)

    def force(i: Array, matching: Array) -> Array:
        chosen = (places == jnp.argmax(row(i))) & (per_box[i] > 0) & valid[i]
        return jnp.where(chosen, i, matching)

    return lax.fori_loop(0, _rows(valid), force, matching)


def _best(
    row: Row, anchors: int, valid: Array, ties: bool = False
) -> tuple[Array, Array, Array, Array | None]:
    """Each anchor's greatest overlap and its box, and each box's greatest overlap (0: none).

    With `ties`, also whether an anchor overlaps some box as much as that box's best anchor does.
    """
    count = valid.shape[0]
    kind = jax.eval_shape(row, jnp.int32(0)).dtype if count else jnp.float32
    room = -(-count // ROWS) * ROWS
    start = (jnp.full(anchors, -1, kind), jnp.zeros(anchors, jnp.int32), jnp.zeros(room, kind))
    start = (*start, jnp.zeros(anchors, bool) if ties else None)
    if count == 0:
        return start
    taken = jnp.pad(valid, (0, room - count))

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

    blocks = (_rows(valid) + ROWS - 1) // ROWS
    best, index, per_box, tied = lax.fori_loop(0, blocks, step, start)
    return best, index, per_box[:count], tied


def _rows(valid: Array) -> Array:
    """How many rows a loop must visit: up to the last valid one."""
    return jnp.max(jnp.where(valid, jnp.arange(1, valid.shape[0] + 1), 0)).astype(jnp.int32)


def _by_threshold(best: Array, index: Array, high: float, low: float) -> Array:
    other = jnp.where(best < low, BACKGROUND, IGNORED)
    return jnp.where(best >= high, index.astype(jnp.int32), other).astype(jnp.int32)
