"""Captioners and their task: what they write, what they are taught, where they look."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from vision_jax.config import UserError
from vision_jax.models import ShowAndTell, ShowAttendTell
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Captioning
from vision_jax.tasks.descriptions import words_of
from vision_jax.words import END, PAD, SPECIAL

WORDS = (*SPECIAL, "red", "blue", "small", "large")
KINDS = {
    "input": lambda **f: ShowAndTell(Tiny(), 8, embed=16, hidden=24, **f),
    "state": lambda **f: ShowAndTell(Tiny(), 8, embed=16, hidden=24, image="state", **f),
    "gru": lambda **f: ShowAndTell(Tiny(), 8, embed=16, hidden=24, cell="gru", **f),
    "attention": lambda **f: ShowAttendTell(Tiny(), 8, embed=16, hidden=24, look=16, **f),
}


class Tiny(nn.Module):
    """A backbone of one convolution, whose map has 2x2 places."""

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        return {"map": nn.relu(nn.Conv(12, (4, 4), strides=4, padding="VALID")(images))}


def batch_of(count=4):
    """Makes pictures of a red or a blue bar, small or large, with the captions that say so."""
    images = np.full((count, 8, 8, 3), 100, np.uint8)
    tokens = np.zeros((count, 6), np.int32)
    for i in range(count):
        color, size = i % 2, i // 2 % 2
        images[i, 2:6, : 4 + 4 * size, 2 * color] = 250
        tokens[i, :5] = 1, 4 + color, 6 + size, 6 + size, 2
    return Batch(
        jnp.asarray(images),
        jnp.ones(count, bool),
        jnp.arange(count),
        Targets(tokens=jnp.asarray(tokens)),
    )


@functools.cache
def started(kind, dropout=0.0):
    """Makes a model and its variables, once for all tests."""
    model, batch = KINDS[kind](dropout=dropout), batch_of()
    return model, Captioning(model).init(jax.random.key(0), batch)


HEART = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("input", "state")]


@pytest.mark.parametrize("kind", ["gru", "attention", *HEART])
def test_captions_are_learned_by_heart(kind):
    model, variables = started(kind)
    task, batch = Captioning(model, length=7), batch_of()
    rule = optax.adam(2e-2)

    def loss(params):
        terms = task.loss({"params": params}, batch, jax.random.key(1))[0]
        return sum(total / weight for total, weight in terms.values())

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = rule.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    @jax.jit
    def learned(params):
        (params, _), values = jax.lax.scan(step, (params, rule.init(params)), length=60)
        return values[-1], task.predict({"params": params}, batch)

    value, outputs = learned(variables["params"])
    assert value < 0.1
    np.testing.assert_array_equal(outputs["tokens"][:, :6], batch.targets.tokens)
    assert outputs["token_count"].tolist() == [4] * 4
    np.testing.assert_allclose(-outputs["token_loss"], outputs["score"], rtol=1e-3)
    told = task.describe(outputs, WORDS)
    assert [one["text"] for one in told][:2] == ["red small small", "blue small small"]
    assert told[0]["score"] == pytest.approx(float(outputs["score"][0]), abs=1e-6)


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_steps_one_by_one_equal_whole_captions(kind):
    model, variables = started(kind)
    batch = batch_of()
    images, tokens = batch.image / 255, batch.targets.tokens

    @jax.jit
    def both(variables):
        features = model.apply(variables, images, method="find")
        state = model.apply(variables, features, method="begin")

        def step(state, token):
            return model.apply(variables, state, token, method="step")

        return model.apply(variables, images, tokens), jax.lax.scan(step, state, tokens[:, :5].T)[1]

    whole, one_by_one = both(variables)
    np.testing.assert_allclose(one_by_one.swapaxes(0, 1), whole["logits"], atol=1e-5)
    assert ("attention" in whole) == model.attends
    if model.attends:
        assert whole["attention"].shape == (4, 5, 4)
        np.testing.assert_allclose(whole["attention"].sum(-1), 1, rtol=1e-5)


def test_padding_counts_for_nothing():
    model, variables = started("attention")
    task, batch, key = Captioning(model, attention_weight=1.0), batch_of(4), jax.random.key(1)
    longer = jnp.pad(batch.targets.tokens, ((0, 0), (0, 3)))
    invalid = jnp.concatenate([longer, jnp.full((2, 9), 5, jnp.int32)])
    padded = Batch(
        jnp.concatenate([batch.image, jnp.zeros((2, 8, 8, 3), jnp.uint8)]),
        jnp.arange(6) < 4,
        jnp.arange(6),
        Targets(tokens=invalid),
    )
    terms, others = jax.jit(lambda v: (task.loss(v, batch, key)[0], task.loss(v, padded, key)[0]))(
        variables
    )
    for name in ("word", "attention"):
        np.testing.assert_allclose(terms[name], others[name], rtol=1e-5)
    assert terms["word"][1] == 16 and terms["attention"][1] == 4


def test_attention_is_asked_to_go_everywhere():
    """Xu et al. 2015, eq. 14, with an attention that is known."""

    class Fixed(ShowAttendTell):
        def teach(self, state, tokens, *, train=False, keys=None):
            outputs = super().teach(state, tokens, train=train, keys=keys)
            first = jnp.zeros_like(outputs["attention"]).at[..., 0].set(1)
            return {**outputs, "attention": first}

    fixed = Fixed(Tiny(), 8, embed=16, hidden=24, look=16, dropout=0.0)
    task = Captioning(fixed, attention_weight=0.5)
    batch, (_, variables) = batch_of(2), started("attention")
    total, weight = jax.jit(task.loss)(variables, batch, jax.random.key(1))[0]["attention"]
    # Four words look at the first of four places: (1 - 4)² + 3 · (1 - 0)².
    np.testing.assert_allclose(total / weight, 0.5 * (9 + 3), rtol=1e-6)


def test_dropout_follows_each_examples_key():
    model, variables = started("input", dropout=0.5)
    task, batch, key = Captioning(model), batch_of(4), jax.random.key(1)
    loss = jax.jit(lambda batch, key: task.loss(variables, batch, key)[0]["word"][0])
    whole = loss(batch, key)
    halves = [batch.replace(valid=jnp.asarray(rows)) for rows in ([1, 1, 0, 0], [0, 0, 1, 1])]
    parts = [loss(half.replace(valid=half.valid == 1), key) for half in halves]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)
    turned = jax.tree.map(lambda x: x[::-1], batch)
    np.testing.assert_allclose(whole, loss(turned, key), rtol=1e-5)
    assert abs(whole - loss(batch.replace(index=batch.index[::-1]), key)) > 1e-3
    assert abs(whole - loss(batch, jax.random.key(2))) > 1e-3


def test_samples_and_beams():
    model, variables = started("gru")
    task, batch = Captioning(model, beams=4, length=6, power=1.0), batch_of(4)
    drawn = Captioning(model, length=6, temperature=1.0)

    @jax.jit
    def everything(variables, temperature):
        greedy = Captioning(model, beams=1, length=6).search(variables, batch).tokens[:, 0, 1:]
        samples = [
            task.sample(variables, batch, jax.random.key(k), t)[0]
            for k, t in ((0, 1.0), (1, 1.0), (0, temperature))
        ]
        predicted = [
            d.predict(variables, batch) for d in (drawn, dataclasses.replace(drawn, draw=1))
        ]
        return task.search(variables, batch), greedy, samples, predicted

    found, greedy, (one, two, cold), (first, second) = everything(variables, 1e-4)
    assert found.tokens.shape == (4, 4, 6)
    assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()
    assert one.shape == (4, 5) and (one != two).any()
    np.testing.assert_array_equal(cold, greedy)
    # A temperature in the task's settings makes the same draws, of the number that it names.
    np.testing.assert_array_equal(first["tokens"], np.pad(one, ((0, 0), (1, 0)), constant_values=1))
    np.testing.assert_array_equal(second["tokens"][:, 1:], two)


def test_words_of_tokens_and_settings():
    assert words_of([1, 4, 7, 9, END, 5, PAD], WORDS) == ["red", "large", "9"]
    with pytest.raises(UserError, match="beams=0"):
        Captioning(KINDS["input"](), beams=0)
    with pytest.raises(ValueError, match="attention needs a feature map"):
        ShowAttendTell(Flat(), 8, "features").init(
            jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 3), jnp.int32)
        )


class Flat(nn.Module):
    """A backbone that returns a vector."""

    def __call__(self, images, *, train=False, keys=None):
        return {"map": images, "features": images.mean((1, 2))}
