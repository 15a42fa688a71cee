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

HEAD = 4  # candidates tried first, per box wanted
CPU_TILE = 32  # measured: 2.5 times as fast as 128
TILE = 256  # fewer, larger steps elsewhere


class Selection(NamedTuple):
    """Kept boxes by falling score, then padding (index 0, score 0)."""

    index: Array  # (count,) int32, into the boxes given
    score: Array  # (count,)
    valid: Array  # (count,) bool


class _Ranked(NamedTuple):
    """Candidates by falling score (equal scores: lower index first)."""

    score: Array  # (n,), -inf at the end where there are fewer
    index: Array  # (n,) int32, into the boxes (or pairs) given
    present: Array  # (n,) bool, False on what takes no part
    corners: Array  # (n, 4)
    kind: Array | None  # (n,) boxes of different kinds do not suppress each other


class ClassSelection(NamedTuple):
    """Kept (box, class) pairs by falling score, then padding (index 0, label -1, score 0)."""

    index: Array  # (count,) int32, into the boxes given
    label: Array  # (count,) int32
    score: Array  # (count,)
    valid: Array  # (count,) bool


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, "n"],
    threshold: float,
    count: int,
    groups: Num[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
    tile: int | None = None,
) -> Selection:
    """The first `count` boxes that greedy NMS keeps.

    Args:
      boxes: xyxy. Boxes without extent and NaN boxes neither suppress nor are suppressed.
      scores: -inf and NaN mean: not there.
      threshold: a box is suppressed by IoU > threshold.
      groups: class or pyramid level; boxes of different groups do not suppress each other. (No
        offsets are added to the boxes, so nothing is lost to rounding.)
      valid: False on padding.
      tile: boxes resolved at a time; changes speed only (None: what suits the device).
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
        kind = None if groups is None else groups[index]
        return _Ranked(score, index, score > -jnp.inf, boxes[index], kind)

    index, kept = _first_kept(rank, scores, boxes.shape[0], threshold, count, tile)
    return Selection(index, jnp.where(kept, scores[index], 0), kept)


def nms_classes(
    boxes: Float[Array, "n 4"] | Float[Array, "n c 4"],
    scores: Float[Array, "n c"],
    threshold: float,
    count: int,
    candidates: int | None = None,
    least: float = -jnp.inf,
    valid: Bool[Array, "n"] | None = None,
    agnostic: bool = False,
    tile: int | None = None,
) -> ClassSelection:
    """NMS of every class, and the `count` best of all classes together.

    One blocked NMS over all pairs with equal classes suppressing each other: it stops when `count`
    pairs are kept, which a loop over classes cannot.

    Args:
      boxes: one per anchor, or one per anchor and class.
      candidates: per class, only so many of the best scores enter (SSD 400); None means all.
      least: only scores > least enter.
      agnostic: boxes suppress each other whatever their classes.
    """
    number, classes = scores.shape
    boxes, scores = lax.stop_gradient((boxes, scores))
    present = _present(scores, None if valid is None else valid[:, None]) & (scores > least)
    scores = jnp.where(present, _plus_zero(scores), -jnp.inf)
    if scores.size == 0 or count == 0:
        index, kept = jnp.zeros(count, jnp.int32), jnp.zeros(count, bool)
        return ClassSelection(index, index - 1, jnp.zeros(count, scores.dtype), kept)
    candidates = number if candidates is None else min(candidates, number)
    total = candidates * classes

    def rank(scores: Array, size: int) -> _Ranked:
        if size == total and candidates < number:
            score, anchor = _top_k(scores.T, candidates)
            pair = anchor * classes + jnp.arange(classes, dtype=jnp.int32)[:, None]
            score, pair = lax.sort((-score.reshape(-1), pair.reshape(-1)), num_keys=2)
            score = -score
        else:
            score, pair = _top_k(scores.reshape(-1), size)
        anchor, label = pair // classes, pair % classes
        present = score > -jnp.inf
        if candidates < size < total:
            before = jnp.arange(size)[:, None] < jnp.arange(size)[None]
            rivals = (label[:, None] == label[None]) & before
            present &= jnp.sum(rivals, 0, dtype=jnp.int32) < candidates
        corners = boxes[anchor] if boxes.ndim == 2 else boxes[anchor, label]
        return _Ranked(score, pair, present, corners, None if agnostic else label)

    pair, kept = _first_kept(rank, scores, total, threshold, count, tile)
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
    least: float = 0.001,
    threshold: float | None = None,
    groups: Num[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
) -> Selection:
    """Soft-NMS (Bodla 2017, section 3): overlaps lower a score instead of removing the box.

    Args:
      sigma: scores are multiplied by exp(-IoU² / sigma).
      least: ends when no score exceeds it.
      threshold: if given, scores are instead multiplied by 1 - IoU where IoU > threshold.

    Returns:
      With the lowered scores, by falling score.
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    number = jnp.arange(boxes.shape[0])
    left = jnp.where(_present(scores, valid), scores, -jnp.inf)
    empty = jnp.zeros(count, jnp.int32), jnp.zeros(count, scores.dtype), jnp.zeros(count, bool)
    if boxes.shape[0] == 0:
        return Selection(*empty)

    def step(i: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        left, index, score, found = state
        best = jnp.argmax(left)
        going = left[best] > least
        overlap = box_ops.iou(boxes[best][None], boxes)
        if threshold is None:
            factor = jnp.exp(-overlap * overlap / sigma)
        else:
            factor = jnp.where(overlap > threshold, 1 - overlap, 1)
        if groups is not None:
            factor = jnp.where(groups == groups[best], factor, 1)
        here = (jnp.arange(count) == i) & going
        index = jnp.where(here, best.astype(jnp.int32), index)
        score = jnp.where(here, left[best], score)
        left = jnp.where(going & (number != best), left * factor, -jnp.inf)
        return left, index, score, found | here

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


def _first_kept(
    rank: Callable[[Array, int], _Ranked],
    scores: Array,
    total: int,
    threshold: float,
    count: int,
    tile: int | None,
) -> tuple[Array, Array]:
    """Indices of the first `count` kept boxes, then padding with 0, and which of them hold.

    Args:
      rank: the best `n` candidates by these scores. To sort all `total` of them would cost more
        than all the rest, so the first few are tried alone; where they do not suffice, all are
        ranked.
    """
    if tile is None:
        tile = CPU_TILE if jax.default_backend() == "cpu" else TILE
    head = min(total, -(-HEAD * max(count, tile) // tile) * tile)
    ranked = rank(scores, head)
    index, found = _greedy(ranked, threshold, count, tile)
    if head < total:
        enough = (found == count) | (ranked.score[-1] == -jnp.inf)

        def again(state: tuple) -> tuple:
            _, found, _ = state
            # Depends on the state, else the compiler would sort before the loop, needed or not.
            ranked = rank(jnp.where(found >= 0, scores, -jnp.inf), total)
            return *_greedy(ranked, threshold, count, tile), True

        # A loop of one round or none: under vmap, a `cond` would always do both.
        index, found, _ = lax.while_loop(lambda s: ~s[2], again, (index, found, enough))
    return index, jnp.arange(count) < found


def _greedy(
    ranked: _Ranked, threshold: float, count: int, tile: int
) -> tuple[Int[Array, "{count}"], Int[Array, ""]]:
    """Indices of the first `count` kept boxes (then 0), and how many there are."""
    number = ranked.score.shape[0]
    tile = min(tile, number)
    tiles = -(-number // tile)
    spare = tiles * tile - number
    present = jnp.pad(ranked.present, (0, spare))
    corners = jnp.pad(ranked.corners, ((0, spare), (0, 0))).T  # rows of one coordinate each
    kinds = None if ranked.kind is None else jnp.pad(ranked.kind, (0, spare))
    index = jnp.pad(ranked.index, (0, spare))
    earlier = jnp.arange(tile)[:, None] < jnp.arange(tile)[None]
    room = -(-count // tile) * tile

    def part(x: Array | None, start: Array) -> Array | None:
        return None if x is None else lax.dynamic_slice_in_dim(x, start, tile, axis=-1)

    def overlapping(a: Array, b: Array, a_kinds: Array | None, b_kinds: Array | None) -> Array:
        over = _iou(a[:, :, None], b[:, None]) > threshold
        if a_kinds is None or b_kinds is None:
            return over
        return over & (a_kinds[:, None] == b_kinds[None])

    def unfinished(state: tuple) -> Array:
        step, found, *_ = state
        first = ranked.score[jnp.minimum(step, tiles - 1) * tile]
        return (step < tiles) & (found < count) & (first > -jnp.inf)

    def resolve(state: tuple) -> tuple:
        step, found, kept, kept_kinds, place = state
        mine, kind = part(corners, step * tile), part(kinds, step * tile)

        def against(block: Array, alive: Array) -> Array:
            past = part(kept, block * tile)
            hit = overlapping(past, mine, part(kept_kinds, block * tile), kind)
            known = block * tile + jnp.arange(tile) < found
            return alive & ~jnp.any(hit & known[:, None], 0)

        blocks = (found + tile - 1) // tile
        alive = lax.fori_loop(0, blocks, against, part(present, step * tile))
        stays = _settle(alive, overlapping(mine, mine, kind, kind) & earlier)
        slot = found + jnp.cumsum(stays, dtype=jnp.int32) - 1
        slot = jnp.where(stays & (slot < count), slot, room)
        kept = kept.at[:, slot].set(mine, mode="drop")
        if kind is not None:
            kept_kinds = kept_kinds.at[slot].set(kind, mode="drop")
        place = place.at[slot].set(part(index, step * tile), mode="drop")
        found = jnp.minimum(found + jnp.sum(stays, dtype=jnp.int32), count)
        return step + 1, found, kept, kept_kinds, place

    start = (
        jnp.int32(0),
        jnp.int32(0),
        jnp.zeros((4, room), corners.dtype),
        None if kinds is None else jnp.zeros(room, kinds.dtype),
        jnp.zeros(room, jnp.int32),
    )
    _, found, _, _, place = lax.while_loop(unfinished, resolve, start)
    return place[:count], found


def _iou(a: Float[Array, "4 n 1"], b: Float[Array, "4 1 m"]) -> Float[Array, "n m"]:
    """`boxes.iou` of coordinates that lie apart, which the CPU takes several at a time."""
    width = jnp.maximum(jnp.minimum(a[2], b[2]) - jnp.maximum(a[0], b[0]), 0)
    height = jnp.maximum(jnp.minimum(a[3], b[3]) - jnp.maximum(a[1], b[1]), 0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return jnp.where(union > 0, both / jnp.where(union > 0, union, 1), 0)


def _settle(alive: Int[Array, "t"] | Bool[Array, "t"], suppresses: Bool[Array, "t t"]) -> Array:
    """Greedy NMS within a tile; `suppresses[i, j]` only for i < j. Rounds until nothing changes."""

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        stays, _ = state
        new = alive & ~jnp.any(suppresses & stays[:, None], 0)
        return new, jnp.any(new != stays)

    return lax.while_loop(lambda state: state[1], again, (alive, jnp.any(alive)))[0]
