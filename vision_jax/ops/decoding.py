"""Writing sequences token by token: greedily, by sampling, or by beam search, with static shapes.

A network is a pure function `step`, called with its state and the tokens that were written last.
Leaves of the state have the rows in front, so a search may put rows aside or write them twice.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.ops.dtypes import at_least_float32

State = Any  # a tree of arrays, rows in front
Step = Callable[[State, Array], tuple[State, Array]]  # (state, tokens (n,)) -> (state, logits)


class Sequences(NamedTuple):
    """What a search found, the best sequence of each row first."""

    tokens: Int[Array, "b k t"]  # the start's token, others, the end's where it came, then padding
    scores: Float[Array, "b k"]  # what they are ordered by; -inf where there is none
    log_probs: Float[Array, "b k"]  # the sum of the tokens' log-probabilities
    finished: Bool[Array, "b k"]  # whether the end came


class _Beams(NamedTuple):
    """The search after some steps: unfinished sequences and their states, and finished ones."""

    state: State  # rows b · k
    partial: Sequences
    complete: Sequences
    written: Int[Array, ""]  # tokens of the unfinished ones


def choose_greedily(logits: Float[Array, "n v"], written: Int[Array, ""]) -> Int[Array, "n"]:
    """Takes the most probable token; see `generate`."""
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def sampled(
    keys: Key[Array, "n"], temperature: float | Array = 1.0
) -> Callable[[Array, Array], Int[Array, "n"]]:
    """Makes a choice for `generate` that draws from softmax(logits / temperature).

    Args:
      keys: one per row; the number of tokens written so far is folded in.
      temperature: above 0; below 1 likely tokens become likelier.
    """

    def choose(logits: Array, written: Array) -> Array:
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, written)
        drawn = jax.vmap(jax.random.categorical)(folded, logits / temperature)
        return drawn.astype(jnp.int32)

    return choose


def generate(
    step: Step,
    state: State,
    start: Int[Array, "n"],
    length: int,
    end: int,
    pad: int = 0,
    choose: Callable[[Array, Array], Array] = choose_greedily,
) -> tuple[Int[Array, "n t"], Float[Array, "n"]]:
    """Writes one sequence per row, up to its end.

    Args:
      step: see `Step`.
      state: of n rows.
      start: the token that each row begins with.
      length: tokens that are written at most, the end's among them.
      end: the token after which a row is padded.
      pad: the padding's token.
      choose: called with logits (n, v) and the number of tokens written so far.

    Returns:
      The tokens (n, length) after the start, and the sum of their log-probabilities.
    """

    def body(carry: tuple, written: Array) -> tuple:
        state, token, total, over = carry
        state, logits = step(state, token)
        logits = at_least_float32(logits)
        token = jnp.where(over, pad, choose(logits, written))
        log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
        total = total + jnp.where(over, 0, log_prob)
        return (state, token, total, over | (token == end)), token

    logits = jax.eval_shape(step, state, start)[1]
    total = jnp.zeros(start.shape, jnp.promote_types(logits.dtype, jnp.float32))
    first = (state, start, total, jnp.zeros(start.shape, bool))
    (_, _, total, _), tokens = lax.scan(body, first, jnp.arange(length))
    return tokens.T, total


def beam_search(
    step: Step,
    state: State,
    start: Int[Array, "b"],
    length: int,
    end: int,
    beams: int,
    power: float = 0.0,
    pad: int = 0,
) -> Sequences:
    """Finds likely sequences, as Vinyals et al. 2015 search for captions (section 3.1).

    At each step every unfinished sequence offers its `beams` most likely tokens; those that end
    compete in a list of their own, by log-probability / length ** `power`, and the most likely
    `beams` of the others go on. Where no sequence of a row ends in time, its unfinished ones are
    the answer, by log-probability.

    Args:
      step: see `Step`.
      state: of b rows.
      start: the token that each row begins with.
      length: tokens of a sequence at most, start and end included; at least 2.
      end, pad: tokens of the end and of padding.
      beams: k, how many sequences are followed.
      power: 0 prefers short sequences, 1 the mean log-probability of a token; start and end count.
    """
    rows = start.shape[0]
    logits = jax.eval_shape(step, state, start)[1]
    search = _Beams(
        jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), state),
        _only_starts(start, length, beams, pad, jnp.promote_types(logits.dtype, jnp.float32)),
        _only_starts(start, length, beams, pad, jnp.promote_types(logits.dtype, jnp.float32), 0),
        jnp.int32(1),
    )

    def goes_on(search: _Beams) -> Array:
        return (search.written < length) & jnp.isfinite(search.partial.scores).any()

    def body(search: _Beams) -> _Beams:
        return _one_more(step, search, rows, end, power)

    search = lax.while_loop(goes_on, body, search)
    none = ~search.complete.finished.any(axis=1)
    return jax.tree.map(
        lambda p, c: jnp.where(none.reshape(-1, *[1] * (c.ndim - 1)), p, c),
        search.partial,
        search.complete,
    )


def _only_starts(
    start: Array, length: int, beams: int, pad: int, dtype: Any, filled: int = 1
) -> Sequences:
    """Makes lists of which the first `filled` hold the start, and the others nothing."""
    tokens = jnp.full((*start.shape, beams, length), pad, jnp.int32).at[:, :, 0].set(start[:, None])
    there = jnp.broadcast_to(jnp.arange(beams) < filled, tokens.shape[:2])
    scores = jnp.where(there, 0, -jnp.inf).astype(dtype)
    return Sequences(tokens, scores, scores, jnp.zeros(there.shape, bool))


def _one_more(step: Step, search: _Beams, rows: int, end: int, power: float) -> _Beams:
    """Writes one more token."""
    beams = search.partial.scores.shape[1]
    before = search.partial.tokens
    last = lax.dynamic_index_in_dim(before, search.written - 1, axis=2, keepdims=False)
    state, logits = step(search.state, last.reshape(-1))
    log_probs = jax.nn.log_softmax(at_least_float32(logits)).reshape(rows, beams, -1)
    offered = min(beams, log_probs.shape[-1])
    best, words = lax.top_k(log_probs, offered)
    # Every candidate, beam by beam: the sequence that it continues, its token, its probability.
    totals = (search.partial.log_probs[..., None] + best).reshape(rows, -1)
    words = words.reshape(rows, -1).astype(jnp.int32)
    parent = jnp.repeat(jnp.arange(beams), offered)
    sequences = before[:, parent]
    sequences = lax.dynamic_update_index_in_dim(sequences, words[..., None], search.written, axis=2)
    ends = words == end
    count = (search.written + 1).astype(totals.dtype)
    minus = jnp.asarray(-jnp.inf, totals.dtype)
    over = Sequences(sequences, jnp.where(ends, totals / count**power, minus), totals, ends)
    over = over._replace(finished=ends & jnp.isfinite(over.scores))
    joined = jax.tree.map(lambda *both: jnp.concatenate(both, axis=1), search.complete, over)
    going = Sequences(sequences, jnp.where(ends, minus, totals), totals, jnp.zeros_like(ends))
    partial, chosen = _first(going, beams)
    row = jnp.arange(rows)[:, None] * beams + parent[chosen]
    state = jax.tree.map(lambda x: x[row.reshape(-1)], state)
    return _Beams(state, partial, _first(joined, beams)[0], search.written + 1)


def _first(sequences: Sequences, count: int) -> tuple[Sequences, Array]:
    """Keeps the `count` best of each row; returns them and which they were, (b, count)."""
    scores, chosen = lax.top_k(sequences.scores, count)
    kept = jax.tree.map(
        lambda x: jnp.take_along_axis(x, chosen.reshape(*chosen.shape, *[1] * (x.ndim - 2)), 1),
        sequences,
    )
    return kept._replace(log_probs=jnp.where(jnp.isfinite(scores), kept.log_probs, scores)), chosen
