"""Non-maximum suppression with static shapes, exactly equal to the greedy loop.

Greedy NMS takes boxes by falling score (equal scores: lower index first) and keeps one unless its
IoU with a kept one exceeds a threshold. Here the sorted boxes go in tiles: a tile is tested against
the boxes kept so far (at most `count`), then resolved within itself; the loop ends as soon as
`count` boxes are kept. Whether box j of a tile stays depends on earlier boxes only, so iterating
"stays unless a staying earlier box overlaps it" reaches the greedy answer, in as many rounds as the
longest chain of suppressions. No step scatters to one place twice: the result is deterministic.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from vision_jax.ops import boxes as box_ops


class Selection(NamedTuple):
    """Kept boxes by falling score, then padding (index 0, score 0)."""

    index: Array  # (count,) int32, into the boxes given
    score: Array  # (count,)
    valid: Array  # (count,) bool


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
    tile: int = 128,
) -> Selection:
    """The first `count` boxes that greedy NMS keeps.

    Args:
      boxes: xyxy. Boxes without extent and NaN boxes neither suppress nor are suppressed.
      scores: -inf and NaN mean: not there.
      threshold: a box is suppressed by IoU > threshold.
      groups: class or pyramid level; boxes of different groups do not suppress each other. (No
        offsets are added to the boxes, so nothing is lost to rounding.)
      valid: False on padding.
      tile: boxes resolved at a time; changes speed only.
    """
    boxes, scores = lax.stop_gradient((boxes, scores))
    present = _present(scores, valid)
    scores = jnp.where(present, _plus_zero(scores), -jnp.inf)
    if boxes.shape[0] == 0 or count == 0:
        return Selection(
            jnp.zeros(count, jnp.int32), jnp.zeros(count, scores.dtype), jnp.zeros(count, bool)
        )
    order, kept = _greedy(boxes, scores, threshold, count, groups, tile)
    index = jnp.where(kept, order, 0)
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
    tile: int = 128,
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
    if candidates is None or candidates >= number:
        pair = jnp.arange(number * classes, dtype=jnp.int32)
        anchor, label, best = pair // classes, pair % classes, scores.reshape(-1)
    else:
        best, anchor = lax.top_k(scores.T, candidates)
        label = jnp.arange(classes, dtype=jnp.int32)[:, None]
        label = jnp.broadcast_to(label, anchor.shape).reshape(-1)
        anchor, best = anchor.reshape(-1), best.reshape(-1)
    corners = boxes[anchor] if boxes.ndim == 2 else boxes[anchor, label]
    groups = None if agnostic else label
    kept = nms(corners, best, threshold, count, groups, tile=tile)
    if corners.shape[0] == 0:
        return ClassSelection(kept.index, kept.index - 1, kept.score, kept.valid)
    return ClassSelection(
        index=jnp.where(kept.valid, anchor[kept.index], 0),
        label=jnp.where(kept.valid, label[kept.index], -1),
        score=kept.score,
        valid=kept.valid,
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


def _greedy(
    boxes: Array, scores: Array, threshold: float, count: int, groups: Array | None, tile: int
) -> tuple[Array, Array]:
    """Indices of the first `count` kept boxes and which of them hold."""
    number = boxes.shape[0]
    tile = min(tile, number)
    tiles = -(-number // tile)
    spare = tiles * tile - number
    scores, order = lax.top_k(scores, number)
    boxes = jnp.pad(boxes[order], ((0, spare), (0, 0)))
    scores = jnp.pad(scores, (0, spare), constant_values=-jnp.inf)
    order = jnp.pad(order, (0, spare))
    kinds = None if groups is None else jnp.pad(groups[order[:number]], (0, spare))
    earlier = jnp.arange(tile)[:, None] < jnp.arange(tile)[None]

    def overlapping(a: Array, b: Array, a_kinds: Array | None, b_kinds: Array | None) -> Array:
        over = box_ops.pairwise(box_ops.iou, a, b) > threshold
        if a_kinds is None or b_kinds is None:
            return over
        return over & (a_kinds[:, None] == b_kinds[None])

    def unfinished(state: tuple) -> Array:
        step, found, _, _ = state
        first = scores[jnp.minimum(step, tiles - 1) * tile]
        return (step < tiles) & (found < count) & (first > -jnp.inf)

    def resolve(state: tuple) -> tuple:
        step, found, kept, place = state
        here = step * tile + jnp.arange(tile, dtype=jnp.int32)
        mine = lax.dynamic_slice_in_dim(boxes, step * tile, tile)
        kind = None if kinds is None else lax.dynamic_slice_in_dim(kinds, step * tile, tile)
        past = None if kinds is None else kinds[place]
        hit = overlapping(kept, mine, past, kind) & (jnp.arange(count) < found)[:, None]
        alive = (scores[here] > -jnp.inf) & ~jnp.any(hit, 0)
        stays = _settle(alive, overlapping(mine, mine, kind, kind) & earlier)
        slot = jnp.where(stays, found + jnp.cumsum(stays, dtype=jnp.int32) - 1, count)
        kept = kept.at[slot].set(mine, mode="drop")
        place = place.at[slot].set(here, mode="drop")
        found = jnp.minimum(found + jnp.sum(stays, dtype=jnp.int32), count)
        return step + 1, found, kept, place

    start = (jnp.int32(0), jnp.int32(0), jnp.zeros((count, 4), boxes.dtype))
    start = (*start, jnp.zeros(count, jnp.int32))
    _, found, _, place = lax.while_loop(unfinished, resolve, start)
    return order[place], jnp.arange(count) < found


def _settle(alive: Int[Array, "t"] | Bool[Array, "t"], suppresses: Bool[Array, "t t"]) -> Array:
    """Greedy NMS within a tile; `suppresses[i, j]` only for i < j. Rounds until nothing changes."""

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        stays, _ = state
        new = alive & ~jnp.any(suppresses & stays[:, None], 0)
        return new, jnp.any(new != stays)

    return lax.while_loop(lambda state: state[1], again, (alive, jnp.any(alive)))[0]
