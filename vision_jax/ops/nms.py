"""Non-maximum suppression with static shapes, exactly equal to the greedy loop.

Greedy NMS takes boxes by falling score (equal scores: lower index first) and keeps one unless its
IoU with a kept one exceeds a threshold. Here the sorted boxes go in tiles: a tile is tested against
the boxes kept so far (at most `count`), then resolved within itself; the loop ends as soon as
`count` boxes are kept. Whether box j of a tile stays depends on earlier boxes only, so iterating
"stays unless a staying earlier box overlaps it" reaches the greedy answer, in as many rounds as the
longest chain of suppressions. Sorting is the dearest part, so only the best few candidates are
sorted at first, and all only where these do not suffice. No step scatters to one place twice: the
result is deterministic.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from vision_jax.ops import boxes as box_ops

# Rank this many candidates per requested box before falling back to a full sort.
FIRST_RANKED = 4
CPU_TILE = 32  # measured: 2.5 times as fast as 128
TILE = 256  # fewer, larger steps elsewhere


class Selection(NamedTuple):
    """Kept boxes by falling score, then padding (index 0, score 0)."""

    index: Array  # (count,) int32, row of the input boxes
    score: Array  # (count,)
    valid: Array  # (count,) bool, False on padding


class ClassSelection(NamedTuple):
    """Kept (box, class) pairs by falling score, then padding (index 0, label -1, score 0)."""

    index: Array  # (count,) int32, row of the input boxes
    label: Array  # (count,) int32
    score: Array  # (count,)
    valid: Array  # (count,) bool, False on padding


class _Ranked(NamedTuple):
    """Candidates by falling score (equal scores: lower index first)."""

    score: Array  # (n,), -inf at the end where there are fewer
    index: Array  # (n,) int32, number of the box (or pair)
    present: Array  # (n,) bool, False on those that take no part
    corners: Array  # (n, 4)
    groups: Array | None  # (n,) boxes of different groups do not suppress each other


class _Boxes(NamedTuple):
    """Boxes in the layout in which overlaps are computed."""

    corners: Array  # (4, n), so that each row is one coordinate
    groups: Array | None  # (n,)

    def part(self, start: Array, size: int) -> "_Boxes":
        """Returns `size` boxes from `start` on."""
        groups = None if self.groups is None else _part(self.groups, start, size)
        return _Boxes(_part(self.corners, start, size), groups)

    def put(self, boxes: "_Boxes", slots: Array) -> "_Boxes":
        """Writes boxes to slots, (n,); those whose slot does not exist are dropped."""
        corners = self.corners.at[:, slots].set(boxes.corners, mode="drop")
        if self.groups is None:
            return _Boxes(corners, None)
        return _Boxes(corners, self.groups.at[slots].set(boxes.groups, mode="drop"))


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    iou_threshold: float,
    count: int,
    groups: Num[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
    tile: int | None = None,
) -> Selection:
    """Selects the first `count` boxes that greedy NMS keeps.

    Args:
      boxes: xyxy. Boxes without extent and NaN boxes neither suppress nor are suppressed.
      scores: -inf and NaN mean: not there.
      iou_threshold: a box is suppressed by IoU > iou_threshold.
      count: slots of the result.
      groups: class or pyramid level; boxes of different groups do not suppress each other. (No
        offsets are added to the boxes, so nothing is lost to rounding.)
      valid: False on padding.
      tile: boxes resolved at a time; changes speed only (None: the device's best).
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    present = _present(scores, valid)
    scores = jnp.where(present, _plus_zero(scores), -jnp.inf)
    if boxes.shape[0] == 0 or count == 0:
        return Selection(
            jnp.zeros(count, jnp.int32), jnp.zeros(count, scores.dtype), jnp.zeros(count, bool)
        )

    def rank(scores: Array, size: int) -> _Ranked:
        score, index = _top_k(scores, size)
        ranked_groups = None if groups is None else groups[index]
        return _Ranked(score, index, score > -jnp.inf, boxes[index], ranked_groups)

    index, kept = _first_kept(rank, scores, boxes.shape[0], iou_threshold, count, tile)
    return Selection(index, jnp.where(kept, scores[index], 0), kept)


def nms_classes(
    boxes: Float[Array, "n 4"] | Float[Array, "n c 4"],
    scores: Float[Array, "n c"],
    iou_threshold: float,
    count: int,
    pre_nms_top_k: int | None = None,
    score_threshold: float = -jnp.inf,
    valid: Bool[Array, "n"] | None = None,
    agnostic: bool = False,
    tile: int | None = None,
) -> ClassSelection:
    """Suppresses boxes class by class, and selects the `count` best pairs of all classes together.

    One blocked NMS over all (box, class) pairs in which equal classes suppress each other: it stops
    when `count` pairs are kept, which a loop over classes cannot.

    Args:
      boxes: one per anchor, or one per anchor and class.
      pre_nms_top_k: per class, only so many of the best scores enter (SSD 400); None means all.
      score_threshold: only scores > score_threshold enter.
      agnostic: boxes suppress each other whatever their classes.
    """
    number, classes = scores.shape
    boxes, scores = lax.stop_gradient((boxes, scores))
    present = _present(scores, None if valid is None else valid[:, None])
    scores = jnp.where(present & (scores > score_threshold), _plus_zero(scores), -jnp.inf)
    if scores.size == 0 or count == 0:
        index, kept = jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)
        return ClassSelection(index, index - 1, jnp.zeros(count, scores.dtype), kept)
    top_k = number if pre_nms_top_k is None else min(pre_nms_top_k, number)

    def rank(scores: Array, size: int) -> _Ranked:
        return _rank_pairs(boxes, scores, size, top_k, agnostic)

    pair, kept = _first_kept(rank, scores, top_k * classes, iou_threshold, count, tile)
    index, label = pair // classes, pair % classes
    return ClassSelection(
        index=jnp.where(kept, index, 0),
        label=jnp.where(kept, label, -1),
        score=jnp.where(kept, scores[index, label], 0),
        valid=kept,
    )


def soft_nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    count: int,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
    iou_threshold: float | None = None,
    groups: Num[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
) -> Selection:
    """Selects boxes by Soft-NMS: overlaps lower a score instead of removing the box.

    Bodla 2017, section 3.

    Args:
      sigma: scores are multiplied by exp(-IoU² / sigma).
      score_threshold: ends when no score exceeds it.
      iou_threshold: if given, scores are instead multiplied by 1 - IoU where IoU > iou_threshold.

    Returns:
      Boxes by falling lowered score, with these scores.
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    number = jnp.arange(boxes.shape[0])
    left = jnp.where(_present(scores, valid), scores, -jnp.inf)
    empty = jnp.zeros(count, jnp.int32), jnp.zeros(count, scores.dtype), jnp.zeros(count, bool)
    if boxes.shape[0] == 0:
        return Selection(*empty)

    def step(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        left, index, score, filled = state
        best = jnp.argmax(left)
        going = left[best] > score_threshold
        overlap = box_ops.iou(boxes[best][None], boxes)
        if iou_threshold is None:
            factor = jnp.exp(-overlap * overlap / sigma)
        else:
            factor = jnp.where(overlap > iou_threshold, 1 - overlap, 1)
        if groups is not None:
            factor = jnp.where(groups == groups[best], factor, 1)
        here = (jnp.arange(count) == i) & going
        index = jnp.where(here, best.astype(jnp.int32), index)
        score = jnp.where(here, left[best], score)
        left = jnp.where(going & (number != best), left * factor, -jnp.inf)
        return left, index, score, filled | here

    return Selection(*lax.fori_loop(0, count, step, (left, *empty))[1:])


def _present(scores: Array, valid: Array | None) -> Array:
    present = scores > -jnp.inf  # False on NaN
    return present if valid is None else present & valid


def _plus_zero(scores: Array) -> Array:
    """Turns -0 into 0: top_k orders them, while the greedy loop's comparison does not."""
    return jnp.where(scores == 0, 0, scores)


def _top_k(scores: Array, size: int) -> tuple[Array, Array]:
    # On the CPU, XLA finds the few best without sorting all, but only where nothing is sliced from
    # the result: hence the barriers. One for both would crash the compilation for several devices.
    score, index = lax.top_k(scores, size)
    return lax.optimization_barrier(score), lax.optimization_barrier(index)


def _rank_pairs(boxes: Array, scores: Array, size: int, top_k: int, agnostic: bool) -> _Ranked:
    """Ranks the `size` best (box, class) pairs, of which at most `top_k` per class take part."""
    number, classes = scores.shape
    total = top_k * classes
    if size == total and top_k < number:
        score, anchor = _top_k(scores.T, top_k)
        pair = anchor * classes + jnp.arange(classes, dtype=jnp.int32)[:, None]
        score, pair = lax.sort((-score.reshape(-1), pair.reshape(-1)), num_keys=2)
        score = -score
    else:
        score, pair = _top_k(scores.reshape(-1), size)
    anchor, label = pair // classes, pair % classes
    present = score > -jnp.inf
    if top_k < size < total:
        before = jnp.arange(size)[:, None] < jnp.arange(size)[None]
        rivals = (label[:, None] == label[None]) & before
        present &= jnp.sum(rivals, 0, dtype=jnp.int32) < top_k
    corners = boxes[anchor] if boxes.ndim == 2 else boxes[anchor, label]
    return _Ranked(score, pair, present, corners, None if agnostic else label)


def _first_kept(
    rank: Callable[[Array, int], _Ranked],
    scores: Array,
    total: int,
    iou_threshold: float,
    count: int,
    tile: int | None,
) -> tuple[Array, Array]:
    """Finds the first `count` kept boxes.

    To sort all candidates would cost more than all the rest, so the first few are tried alone;
    where they do not suffice, all are ranked.

    Args:
      rank: ranks the best `size` candidates by the scores that it is given.
      total: number of candidates.

    Returns:
      Indices of the kept boxes, then zeros, and which of them are kept boxes.
    """
    if tile is None:
        tile = CPU_TILE if jax.default_backend() == "cpu" else TILE
    first = min(total, -(-FIRST_RANKED * max(count, tile) // tile) * tile)
    ranked = rank(scores, first)
    index, kept_count = _greedy(ranked, iou_threshold, count, tile)
    if first < total:
        enough = (kept_count == count) | (ranked.score[-1] == -jnp.inf)

        def again(state: tuple) -> tuple:
            _, kept_count, _ = state
            # Depends on the state, else the compiler would sort before the loop, needed or not.
            ranked = rank(jnp.where(kept_count >= 0, scores, -jnp.inf), total)
            return *_greedy(ranked, iou_threshold, count, tile), True

        # A loop of one round or none: under vmap, a `cond` would always do both.
        start = index, kept_count, enough
        index, kept_count, _ = lax.while_loop(lambda s: ~s[2], again, start)
    return index, jnp.arange(count) < kept_count


def _greedy(
    ranked: _Ranked, iou_threshold: float, count: int, tile: int
) -> tuple[Int[Array, "{count}"], Int[Array, ""]]:
    """Finds the indices of the first `count` kept boxes (then 0), and how many there are."""
    number = ranked.score.shape[0]
    tile = min(tile, number)
    tiles = -(-number // tile)
    spare = tiles * tile - number
    room = -(-count // tile) * tile
    present = jnp.pad(ranked.present, (0, spare))
    corners = jnp.pad(ranked.corners, ((0, spare), (0, 0))).T
    groups = None if ranked.groups is None else jnp.pad(ranked.groups, (0, spare))
    candidates = _Boxes(corners, groups)
    index = jnp.pad(ranked.index, (0, spare))
    earlier = jnp.arange(tile)[:, None] < jnp.arange(tile)[None]

    def unfinished(state: tuple) -> Array:
        step, kept_count, *_ = state
        first = ranked.score[jnp.minimum(step, tiles - 1) * tile]
        return (step < tiles) & (kept_count < count) & (first > -jnp.inf)

    def resolve(state: tuple) -> tuple:
        step, kept_count, kept, kept_index = state
        boxes = candidates.part(step * tile, tile)
        alive = _clear_of(kept, kept_count, boxes, _part(present, step * tile, tile), iou_threshold)
        stays = settle(alive, _suppresses(boxes, boxes, iou_threshold) & earlier)
        slot = kept_count + jnp.cumsum(stays, dtype=jnp.int32) - 1
        slot = jnp.where(stays & (slot < count), slot, room)
        kept = kept.put(boxes, slot)
        kept_index = kept_index.at[slot].set(_part(index, step * tile, tile), mode="drop")
        kept_count = jnp.minimum(kept_count + jnp.sum(stays, dtype=jnp.int32), count)
        return step + 1, kept_count, kept, kept_index

    kept_groups = None if groups is None else jnp.zeros(room, groups.dtype)
    kept = _Boxes(jnp.zeros((4, room), corners.dtype), kept_groups)
    start = (jnp.int32(0), jnp.int32(0), kept, jnp.zeros(room, jnp.int32))
    _, kept_count, _, kept_index = lax.while_loop(unfinished, resolve, start)
    return kept_index[:count], kept_count


def _part(x: Array, start: Array, size: int) -> Array:
    return lax.dynamic_slice_in_dim(x, start, size, axis=-1)


def _clear_of(
    kept: _Boxes, kept_count: Array, boxes: _Boxes, alive: Array, iou_threshold: float
) -> Array:
    """Says which boxes of a tile are alive and not suppressed by the first kept ones."""
    tile = alive.shape[0]

    def against(block: Array, alive: Array) -> Array:
        hit = _suppresses(kept.part(block * tile, tile), boxes, iou_threshold)
        known = block * tile + jnp.arange(tile) < kept_count
        return alive & ~jnp.any(hit & known[:, None], 0)

    return lax.fori_loop(0, (kept_count + tile - 1) // tile, against, alive)


def _suppresses(a: _Boxes, b: _Boxes, iou_threshold: float) -> Array:
    """Says whether box i of `a` suppresses box j of `b`, if it is the better one, (n, m)."""
    over = _iou(a.corners[:, :, None], b.corners[:, None]) > iou_threshold
    if a.groups is None or b.groups is None:
        return over
    return over & (a.groups[:, None] == b.groups[None])


def _iou(a: Float[Array, "4 n 1"], b: Float[Array, "4 1 m"]) -> Float[Array, "n m"]:
    """Computes `boxes.iou` of coordinates that lie apart, which the CPU takes several at a time."""
    width = jnp.maximum(jnp.minimum(a[2], b[2]) - jnp.maximum(a[0], b[0]), 0)
    height = jnp.maximum(jnp.minimum(a[3], b[3]) - jnp.maximum(a[1], b[1]), 0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return jnp.where(union > 0, both / jnp.where(union > 0, union, 1), 0)


def settle(alive: Int[Array, "t"] | Bool[Array, "t"], suppresses: Bool[Array, "t t"]) -> Array:
    """Resolves greedy NMS within a tile, in rounds until nothing changes.

    Args:
      alive: which boxes take part.
      suppresses: True at [i, j] only for i < j.
    """

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        stays, _ = state
        new = alive & ~jnp.any(suppresses & stays[:, None], 0)
        return new, jnp.any(new != stays)

    return lax.while_loop(lambda state: state[1], again, (alive, jnp.any(alive)))[0]
