"""Transformers: masks, both places of the norms, decoding by a cache, dropout by example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from vision_jax.models import Decoder, Encoder, TransformerSettings
from vision_jax.models.layers import (
    DecoderLayer,
    EncoderLayer,
    LearnedGrid,
    LearnedPositions,
    causal,
)
from vision_jax.ops.initial import init

SMALL = TransformerSettings(features=8, heads=2, hidden=16, dropout=0.0, attention_dropout=0.0)
FIRST = TransformerSettings(
    features=8, heads=2, hidden=16, dropout=0.0, attention_dropout=0.0, norm_first=True
)
BOTH = pytest.mark.parametrize("settings", [SMALL, FIRST], ids=["post-norm", "pre-norm"])


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * np.asarray(p["scale"]) + np.asarray(p["bias"])


def dense(x, p):
    return x @ np.asarray(p["kernel"]) + np.asarray(p["bias"])


def attend(query, key, value, p, heads=2):
    """Attention of one example, head by head."""
    q, k, v = (dense(x, p[n]) for x, n in ((query, "query"), (key, "key"), (value, "value")))
    sums = []
    for part in np.split(np.arange(q.shape[-1]), heads):
        scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(len(part)))
        sums.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
    return dense(np.concatenate(sums, -1), p["output"])


@BOTH
def test_an_encoder_layer_is_its_formula(settings):
    layer, x, positions = EncoderLayer(settings), drawn(2, 5, 8), drawn(2, 5, 8, seed=1)
    variables = init(layer, jax.random.key(0), x)
    params = jax.tree.map(lambda a: a + 0.1 * drawn(*a.shape, seed=2), variables["params"])
    got, weights = layer.apply({"params": params}, x, positions)
    np.testing.assert_allclose(weights.sum(-1), np.ones((2, 5)), rtol=1e-5)
    p = params
    for row in range(2):
        want, place = np.asarray(x[row]), np.asarray(positions[row])
        if settings.norm_first:
            y = norm(want, p["norm1"])
            want = want + attend(y + place, y + place, y, p["self_attention"])
            y = norm(want, p["norm2"])
            want = want + dense(np.maximum(dense(y, p["fc1"]), 0), p["fc2"])
        else:
            y = attend(want + place, want + place, want, p["self_attention"])
            want = norm(want + y, p["norm1"])
            y = dense(np.maximum(dense(want, p["fc1"]), 0), p["fc2"])
            want = norm(want + y, p["norm2"])
        np.testing.assert_allclose(got[row], want, atol=2e-5)


@BOTH
def test_padding_is_not_seen(settings):
    encoder, decoder = Encoder(2, settings), Decoder(2, settings)
    x, start = drawn(1, 6, 8), drawn(1, 3, 8, seed=1)
    seen = jnp.arange(6)[None, None] < 4
    encoding = init(encoder, jax.random.key(0), x)
    decoding = init(decoder, jax.random.key(1), start, x)

    def run(x, mask):
        memory, _ = encoder.apply(encoding, x, None, mask)
        answers, weights = decoder.apply(decoding, start, memory, None, None, None, mask)
        return answers[-1], weights

    changed = x.at[:, 4:].set(9.0)
    whole, weights = run(x, seen)
    np.testing.assert_array_equal(whole, run(changed, seen)[0])
    np.testing.assert_allclose(whole, run(x[:, :4], None)[0], atol=1e-5)
    assert not np.asarray(weights[:, :, 4:]).any()


@BOTH
def test_a_cache_decodes_what_the_whole_sequence_gives(settings):
    decoder, length = Decoder(3, settings), 7
    x, memory = drawn(2, length, 8), drawn(2, 5, 8, seed=1)
    places = drawn(1, 5, 8, seed=2)
    seen = jnp.asarray([[[True] * 5], [[True] * 3 + [False] * 2]])
    variables = init(decoder, jax.random.key(0), x, memory)
    whole, _ = decoder.apply(variables, x, memory, None, places, causal(length), seen)

    @jax.jit
    def one_by_one(variables):
        caches = decoder.apply(variables, memory, places, length, method="start")

        def step(caches, numbered):
            index, place = numbered
            y, caches = decoder.apply(variables, place[:, None], caches, index, seen, method="step")
            return caches, y[:, 0]

        steps = jnp.arange(length), x.swapaxes(0, 1)
        return lax.scan(step, caches, steps)[1].swapaxes(0, 1)

    np.testing.assert_allclose(one_by_one(variables), whole[-1], atol=1e-5)


def test_every_layer_answers():
    decoder, x, memory = Decoder(3, SMALL), drawn(1, 4, 8), drawn(1, 5, 8, seed=1)
    variables = init(decoder, jax.random.key(0), x, memory)
    answers, _ = decoder.apply(variables, x, memory)
    params = {
        name: value for name, value in variables["params"].items() if name not in ("layer_2",)
    }
    shorter, _ = Decoder(2, SMALL).apply({"params": params}, x, memory)
    np.testing.assert_allclose(answers[1], shorter[1], atol=1e-6)
    layer = DecoderLayer(SMALL).apply({"params": params["layer_0"]}, x, memory)[0]
    np.testing.assert_allclose(answers[0], norm(np.asarray(layer), params["norm"]), atol=1e-5)


def test_dropout_is_drawn_for_each_example():
    settings = TransformerSettings(features=8, heads=2, hidden=16, dropout=0.3, drop_path=0.2)
    layer, x = EncoderLayer(settings), drawn(4, 5, 8)
    variables, keys = init(layer, jax.random.key(0), x), jax.random.split(jax.random.key(1), 4)
    whole, _ = layer.apply(variables, x, train=True, keys=keys)
    parts = [
        layer.apply(variables, x[i : i + 2], train=True, keys=keys[i : i + 2])[0] for i in (0, 2)
    ]
    np.testing.assert_allclose(whole, jnp.concatenate(parts), atol=1e-6)
    still, _ = layer.apply(variables, x)
    assert np.abs(whole - still).max() > 0.1
    with pytest.raises(ValueError, match="needs keys"):
        layer.apply(variables, x, train=True)


def test_half_precision_stays_near():
    half = TransformerSettings(
        features=8, heads=2, hidden=16, layers=SMALL.layers.replace(dtype="bfloat16")
    )
    x = drawn(2, 5, 8)
    variables = init(Encoder(2, SMALL), jax.random.key(0), x)
    assert all(a.dtype == jnp.float32 for a in jax.tree.leaves(variables))
    narrow, _ = Encoder(2, half).apply(variables, x)
    assert narrow.dtype == jnp.bfloat16
    wide, _ = Encoder(2, SMALL).apply(variables, x)
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.1)


def test_learned_positions():
    grid = LearnedGrid(6, side=4)
    variables = init(grid, jax.random.key(0), 2, 3)
    places = grid.apply(variables, 2, 3)
    columns, rows = (np.asarray(variables["params"][n]) for n in ("columns", "rows"))
    for y in range(2):
        for x in range(3):
            np.testing.assert_array_equal(places[y, x], np.concatenate([columns[x], rows[y]]))
    with pytest.raises(ValueError, match="larger than 4 positions"):
        init(grid, jax.random.key(0), 5, 3)
    sequence = LearnedPositions(7, 5)
    assert sequence.apply(init(sequence, jax.random.key(0))).shape == (7, 5)
