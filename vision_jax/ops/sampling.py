"""Which anchors a loss counts: balanced random samples and hard negatives, with static shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.ops.assign import BACKGROUND


class Sample(NamedTuple):
    """Positives first, then negatives, then padding (index 0)."""

    index: Array  # (count,) int32, into the matching
    positive: Array  # (count,) bool
    valid: Array  # (count,) bool


def sample_balanced(
    key: Key[Array, ""], matching: Int[Array, "a"], count: int, fraction: float
) -> Sample:
    """A uniformly random sample of positives and negatives (Ren 2015, section 3.1.3).

    As many positives as there are, at most `fraction` of `count`; negatives fill up the rest.

    Args:
      matching: see `assign`; >= 0 positive, `BACKGROUND` negative, others are never drawn.
      count: slots; those that no anchor can fill are not `valid`.
    """
    members = jnp.stack([matching >= 0, matching == BACKGROUND])
    total = jnp.sum(members, 1, dtype=jnp.int32)
    positives = jnp.minimum(total[0], int(count * fraction))
    wanted = jnp.stack([positives, jnp.minimum(total[1], count - positives)])
    chosen = jax.vmap(_choose, (0, 0, 0, None))(jax.random.split(key), members, wanted, count)
    number = jnp.arange(count, dtype=jnp.int32)
    positive, valid = number < positives, number < jnp.sum(wanted)
    index = jnp.where(positive, chosen[0], jnp.roll(chosen[1], positives))
    return Sample(index=jnp.where(valid, index, 0), positive=positive, valid=valid)


def hard_negatives(
    loss: Float[Array, "a"],
    positive: Bool[Array, "a"],
    ratio: float = 3.0,
    valid: Bool[Array, "a"] | None = None,
    least: int = 0,
) -> Bool[Array, "a"]:
    """The background anchors with the greatest loss, `ratio` per positive (Liu 2016, section 2.2).

    Exactly min(floor(ratio * positives), negatives) anchors are chosen; among equal losses the
    lower index goes first. The k-th greatest loss is found by bisection on the bits of the floats:
    no sort, and the same cost on every data.

    Args:
      loss: >= 0 (negative counts as 0, NaN as the greatest).
      positive: not to be chosen.
      valid: which of the others may be chosen; None means all.
      least: choose at least so many even without positives.
    """
    loss = lax.stop_gradient(loss)
    negative = ~positive if valid is None else ~positive & valid
    wanted = jnp.floor(jnp.sum(positive, dtype=jnp.float32) * ratio).astype(jnp.int32)
    wanted = jnp.minimum(jnp.maximum(wanted, least), jnp.sum(negative, dtype=jnp.int32))
    bits = _ordered_bits(loss)
    bits = jnp.where(negative, bits, -1)
    limit = _kth_greatest(bits, wanted)
    tied = bits == limit
    spare = wanted - jnp.sum(bits > limit, dtype=jnp.int32)
    last = _kth_smallest_place(tied, spare)
    among = tied & (jnp.arange(loss.shape[0], dtype=jnp.int32) <= last)
    return ((bits > limit) | among) & negative & (wanted > 0)


def _choose(key: Array, member: Array, wanted: Array, slots: int) -> Array:
    """`wanted` random places of a mask, all different, in the first of `slots`; the rest is junk.

    Draws distinct ranks among the members (Floyd's algorithm: `slots` short steps), then finds
    them by two levels of counting. So only `slots` random numbers are drawn, however long the mask.
    """
    if slots == 0 or member.shape[0] == 0:
        return jnp.zeros(slots, jnp.int32)
    number = jnp.arange(slots, dtype=jnp.int32)
    # Step i draws from 0..top; a rank drawn before is replaced by top itself, which is new.
    top = jnp.maximum(jnp.sum(member, dtype=jnp.int32) - wanted + number, 0)
    draw = jax.random.randint(key, (slots,), 0, top + 1)

    def step(i: Array, ranks: Array) -> Array:
        rank = jnp.where(jnp.any(ranks == draw[i]), top[i], draw[i])
        return jnp.where(number == i, rank, ranks)

    ranks = lax.fori_loop(0, slots, step, jnp.full(slots, -1, jnp.int32))
    return _place_of_rank(member, ranks)


def _place_of_rank(member: Array, ranks: Array) -> Array:
    """Where the r-th True of a mask is, for each r, by counting in blocks at three levels."""
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
    """Which of some parts holds the r-th member, and the rank within that part."""
    ends = jnp.cumsum(counts, 1)
    before = ends <= ranks[:, None]
    part = jnp.minimum(jnp.sum(before, 1, dtype=jnp.int32), counts.shape[1] - 1)
    return part, ranks - jnp.max(jnp.where(before, ends, 0), 1, initial=0)


def _ordered_bits(values: Array) -> Array:
    """Non-negative floats as integers in the same order; negative values count as 0."""
    kind = {4: jnp.int32, 8: jnp.int64}[values.dtype.itemsize]
    return lax.bitcast_convert_type(jnp.where(values <= 0, 0, jnp.abs(values)), kind)


def _kth_greatest(bits: Array, k: Array) -> Array:
    """The k-th greatest of non-negative integers (0 where there are fewer): one pass per bit."""
    width = bits.dtype.itemsize * 8 - 1

    def step(i: Array, found: Array) -> Array:
        trial = found | lax.shift_left(jnp.ones((), bits.dtype), (width - 1 - i).astype(bits.dtype))
        return jnp.where(jnp.sum(bits >= trial, dtype=jnp.int32) >= k, trial, found)

    return lax.fori_loop(0, width, step, jnp.zeros((), bits.dtype))


def _kth_smallest_place(mask: Array, k: Array) -> Array:
    """The place of the k-th True of a mask; -1 for k = 0. By bisection, as above."""
    places = jnp.where(mask, jnp.arange(mask.shape[0], dtype=jnp.int32), mask.shape[0])
    width = mask.shape[0].bit_length()

    def step(i: Array, found: Array) -> Array:
        # The greatest number such that fewer than k places lie below it.
        trial = found | lax.shift_left(jnp.int32(1), (width - 1 - i).astype(jnp.int32))
        return jnp.where(jnp.sum(places < trial, dtype=jnp.int32) < k, trial, found)

    return jnp.where(k > 0, lax.fori_loop(0, width, step, jnp.int32(0)), -1)
