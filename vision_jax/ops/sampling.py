"""The anchors that a loss counts: balanced random samples, hard negatives; of static shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.ops.assign import BACKGROUND


class Sample(NamedTuple):
    """A sample of anchors: positives first, then negatives, then padding (index 0)."""

    index: Array  # (count,) int32, number of the anchor
    positive: Array  # (count,) bool
    valid: Array  # (count,) bool


def sample_balanced(
    key: Key[Array, ""], matched_idxs: Int[Array, "a"], count: int, positive_fraction: float
) -> Sample:
    """Draws a uniformly random sample of positives and negatives (Ren 2015, section 3.1.3).

    As many positives as there are, at most `positive_fraction` of `count`; negatives fill up the
    rest.

    Args:
      matched_idxs: see `assign`; >= 0 positive, `BACKGROUND` negative, others are never drawn.
      count: slots; those that no anchor can fill are not `valid`.
    """
    members = jnp.stack([matched_idxs >= 0, matched_idxs == BACKGROUND])
    total = jnp.sum(members, 1, dtype=jnp.int32)
    positives = jnp.minimum(total[0], int(count * positive_fraction))
    counts = jnp.stack([positives, jnp.minimum(total[1], count - positives)])
    chosen = jax.vmap(_choose, (0, 0, 0, None))(jax.random.split(key), members, counts, count)
    number = jnp.arange(count, dtype=jnp.int32)
    positive, valid = number < positives, number < jnp.sum(counts)
    index = jnp.where(positive, chosen[0], jnp.roll(chosen[1], positives))
    return Sample(index=jnp.where(valid, index, 0), positive=positive, valid=valid)


def hard_negatives(
    loss: Float[Array, "a"],
    positive: Bool[Array, "a"],
    negative_ratio: float = 3.0,
    valid: Bool[Array, "a"] | None = None,
    min_negatives: int = 0,
) -> Bool[Array, "a"]:
    """Selects the background anchors with the greatest loss (Liu 2016, section 2.2).

    Exactly min(floor(negative_ratio * positives), negatives) anchors are chosen; among equal losses
    the lower index goes first. The k-th greatest loss is found by bisection on the bits of the
    floats: no sort, and the same cost on every data.

    Args:
      loss: >= 0 (negative counts as 0, NaN as the greatest).
      positive: anchors that are not background.
      negative_ratio: background anchors per positive one.
      valid: which of the others may be chosen; None means all.
      min_negatives: choose at least so many even without positives.
    """
    loss = lax.stop_gradient(loss)
    negative = ~positive if valid is None else ~positive & valid
    count = jnp.floor(jnp.sum(positive, dtype=jnp.float32) * negative_ratio).astype(jnp.int32)
    count = jnp.minimum(jnp.maximum(count, min_negatives), jnp.sum(negative, dtype=jnp.int32))
    bits = _ordered_bits(loss)
    bits = jnp.where(negative, bits, -1)
    limit = _kth_greatest(bits, count)
    tied = bits == limit
    spare = count - jnp.sum(bits > limit, dtype=jnp.int32)
    last = _kth_smallest_place(tied, spare)
    among = tied & (jnp.arange(loss.shape[0], dtype=jnp.int32) <= last)
    return ((bits > limit) | among) & negative & (count > 0)


def _choose(key: Array, member: Array, count: Array, slots: int) -> Array:
    """Draws `count` different random places of a mask, in the first of `slots`; the rest is junk.

    Draws distinct ranks among the members by Floyd's algorithm, then finds them by two levels of
    counting. So only `slots` random numbers are drawn, however long the mask.
    """
    if slots == 0 or member.shape[0] == 0:
        return jnp.zeros(slots, jnp.int32)
    number = jnp.arange(slots, dtype=jnp.int32)
    # Draw i is from 0..top; a rank drawn before is replaced by top itself, which is new.
    top = jnp.maximum(jnp.sum(member, dtype=jnp.int32) - count + number, 0)
    draw = jax.random.randint(key, (slots,), 0, top + 1)
    is_before = number[None] < number[:, None]

    def again(state: tuple[Array, Array]) -> tuple[Array, Array]:
        ranks, _ = state
        taken = jnp.any(is_before & (draw[:, None] == ranks[None]), 1)
        better = jnp.where(taken, top, draw)
        return better, jnp.any(better != ranks)

    # All draws at once, and again until none changes: after k rounds the first k are settled, and
    # mostly all are after three, where one draw after the other would be `slots` tiny programs.
    ranks, _ = lax.while_loop(lambda state: state[1], again, (draw, jnp.bool_(True)))
    return _place_of_rank(member, ranks)


def _place_of_rank(member: Array, ranks: Array) -> Array:
    """Finds the place of the r-th True of a mask, for each r, by counting in three levels."""
    side = 1
    while side**3 < member.shape[0]:
        side += 1
    cube = jnp.pad(member, (0, side**3 - member.shape[0])).reshape(side, side, side)
    # The barrier keeps the one pass over the mask from being fused, and repeated, below.
    rows = lax.optimization_barrier(jnp.sum(cube, 2, dtype=jnp.int32))
    blocks = jnp.broadcast_to(jnp.sum(rows, 1)[None], (ranks.shape[0], side))
    block, ranks = _descend(blocks, ranks)
    row, ranks = _descend(rows[block], ranks)
    start = (block * side + row) * side
    # Read from the mask itself, unpadded: a few clipped repeats past its end are never reached.
    places = start[:, None] + jnp.arange(side, dtype=jnp.int32)[None]
    column, _ = _descend(member.at[places].get(mode="clip").astype(jnp.int32), ranks)
    return start + column


def _descend(counts: Array, ranks: Array) -> tuple[Array, Array]:
    """Finds the part that holds the r-th member, for each r, and the rank within that part."""
    ends = jnp.cumsum(counts, 1)
    before = ends <= ranks[:, None]
    part = jnp.minimum(jnp.sum(before, 1, dtype=jnp.int32), counts.shape[1] - 1)
    return part, ranks - jnp.max(jnp.where(before, ends, 0), 1, initial=0)


def _ordered_bits(values: Array) -> Array:
    """Returns non-negative floats as integers in the same order; negative values count as 0."""
    dtype = {4: jnp.int32, 8: jnp.int64}[values.dtype.itemsize]
    return lax.bitcast_convert_type(jnp.where(values <= 0, 0, jnp.abs(values)), dtype)


def _kth_greatest(bits: Array, k: Array) -> Array:
    """Finds the k-th greatest of non-negative integers, one pass per bit; 0 if there are fewer."""
    width = bits.dtype.itemsize * 8 - 1

    def step(i: Array, limit: Array) -> Array:
        trial = limit | lax.shift_left(jnp.ones((), bits.dtype), (width - 1 - i).astype(bits.dtype))
        return jnp.where(jnp.sum(bits >= trial, dtype=jnp.int32) >= k, trial, limit)

    return lax.fori_loop(0, width, step, jnp.zeros((), bits.dtype))


def _kth_smallest_place(mask: Array, k: Array) -> Array:
    """Finds the place of the k-th True of a mask, by bisection as above; -1 for k = 0."""
    places = jnp.where(mask, jnp.arange(mask.shape[0], dtype=jnp.int32), mask.shape[0])
    width = mask.shape[0].bit_length()

    def step(i: Array, place: Array) -> Array:
        # The greatest number such that fewer than k places lie below it.
        trial = place | lax.shift_left(jnp.int32(1), (width - 1 - i).astype(jnp.int32))
        return jnp.where(jnp.sum(places < trial, dtype=jnp.int32) < k, trial, place)

    return jnp.where(k > 0, lax.fori_loop(0, width, step, jnp.int32(0)), -1)
