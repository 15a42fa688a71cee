"""Writing sequences: greedy, sampled, and by beam search, against slow loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.decoding import beam_search, generate, sampled

PAD, START, END = 0, 1, 2


def chain(rows, words, seed):
    """Returns a step whose logits follow from the row, the last token and how many came before."""
    table = np.random.default_rng(seed).normal(size=(rows, 4, words, words)).astype(np.float32) * 2
    table = jnp.asarray(table)

    def step(state, tokens):
        row, count = state
        return (row, count + 1), table[row, count % 4, tokens]

    return step, (jnp.arange(rows), jnp.zeros(rows, jnp.int32)), np.asarray(table, np.float64)


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def slow_beam(table, length, k, power):
    """Finds one row's sequences as (score, log-probability, tokens), the best first."""
    partial, complete = [(0.0, [START])], []
    for written in range(1, length):
        candidates = []
        for total, tokens in partial:
            log_probs = log_softmax(table[(written - 1) % 4, tokens[-1]])
            for word in np.argsort(-log_probs, kind="stable")[:k]:
                candidates.append((total + log_probs[word], [*tokens, int(word)]))
        ended = [c for c in candidates if c[1][-1] == END]
        complete += [(p / len(t) ** power, p, t) for p, t in ended]
        complete = sorted(complete, key=lambda c: -c[0])[:k]
        going = [c for c in candidates if c[1][-1] != END]
        partial = sorted(going, key=lambda c: -c[0])[:k]
    return complete or [(p, p, t) for p, t in partial]


@pytest.mark.parametrize(
    ("k", "length", "power"), [(1, 6, 0.0), (3, 6, 0.0), (3, 9, 0.7), (5, 2, 1.0), (9, 4, 1.0)]
)
def test_beam_search_equals_a_slow_loop(k, length, power):
    rows, words = 3, 7
    step, state, table = chain(rows, words, seed=k)
    search = functools.partial(beam_search, step, end=END, beams=k, length=length, power=power)
    found = jax.jit(search)(state, start=jnp.full(rows, START, jnp.int32))
    assert found.tokens.shape == (rows, k, length) and found.tokens.dtype == jnp.int32
    for row in range(rows):
        wanted = slow_beam(table[row], length, k, power)
        there = np.isfinite(found.scores[row])
        assert there.tolist() == [i < len(wanted) for i in range(k)]
        for i, (score, log_prob, tokens) in enumerate(wanted):
            padded = tokens + [PAD] * (length - len(tokens))
            assert found.tokens[row, i].tolist() == padded
            np.testing.assert_allclose(found.scores[row, i], score, rtol=1e-5)
            np.testing.assert_allclose(found.log_probs[row, i], log_prob, rtol=1e-5)
            assert bool(found.finished[row, i]) == (tokens[-1] == END)


def test_a_beam_as_wide_as_all_sequences_finds_the_best_of_them():
    step, state, table = chain(1, 4, seed=0)
    start = jnp.full(1, START, jnp.int32)
    found = beam_search(step, state, start, 5, END, beams=64, power=1.0)
    best = -np.inf
    for middle in (m for n in range(4) for m in itertools.product((0, 1, 3), repeat=n)):
        tokens = [START, *middle, END]
        pairs = enumerate(itertools.pairwise(tokens))
        total = sum(log_softmax(table[0, i % 4, a])[b] for i, (a, b) in pairs)
        best = max(best, total / len(tokens))
    np.testing.assert_allclose(found.scores[0, 0], best, rtol=1e-5)


def test_greedy_takes_the_likeliest_token_up_to_the_end():
    step, state, table = chain(5, 6, seed=3)
    tokens, total = generate(step, state, jnp.full(5, START, jnp.int32), 8, END)
    for row in range(5):
        last, wanted, log_prob = START, [], 0.0
        for i in range(8):
            log_probs = log_softmax(table[row, i % 4, last])
            last = int(log_probs.argmax())
            wanted.append(last)
            log_prob += log_probs[last]
            if last == END:
                break
        assert tokens[row].tolist() == wanted + [PAD] * (8 - len(wanted))
        np.testing.assert_allclose(total[row], log_prob, rtol=1e-5)


def test_samples_have_the_frequencies_of_the_softmax():
    logits = jnp.asarray([0.0, 1.0, -1.0, 2.0])
    rows = 4000

    def step(state, tokens):
        return state, jnp.broadcast_to(logits, (rows, 4))

    keys = jax.random.split(jax.random.key(0), rows)
    start = jnp.full(rows, START, jnp.int32)
    tokens, _ = generate(step, jnp.zeros(rows), start, 1, end=-1, choose=sampled(keys, 0.5))
    frequencies = np.bincount(tokens[:, 0], minlength=4) / rows
    np.testing.assert_allclose(frequencies, jax.nn.softmax(logits / 0.5), atol=0.03)
    again, _ = generate(step, jnp.zeros(rows), start, 1, end=-1, choose=sampled(keys, 0.5))
    np.testing.assert_array_equal(tokens, again)
