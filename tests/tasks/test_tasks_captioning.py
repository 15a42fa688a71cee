"""Captioners and their task: what they write, what they are taught, where they look."""

import dataclasses

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
from vision_jax.tasks.captioning import words_of
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


@pytest.mark.parametrize("kind", KINDS)
def test_captions_are_learned_by_heart(kind):
    task, batch = Captioning(KINDS[kind](dropout=0.0), length=7), batch_of()
    variables = task.init(jax.random.key(0), batch)
    rule = optax.adam(2e-2)

    def loss(params):
        terms = task.loss({"params": params}, batch, jax.random.key(1))[0]
        return sum(total / weight for total, weight in terms.values())

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = rule.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    params, state = variables["params"], rule.init(variables["params"])
    for _ in range(60):
        params, state, value = step(params, state)
    assert value < 0.1
    outputs = jax.jit(task.predict)({"params": params}, batch)
    np.testing.assert_array_equal(outputs["tokens"][:, :6], batch.targets.tokens)
    assert outputs["token_count"].tolist() == [4] * 4
    np.testing.assert_allclose(-outputs["token_loss"], outputs["score"], rtol=1e-3)
    told = task.describe(outputs, WORDS)
    assert [one["text"] for one in told][:2] == ["red small small", "blue small small"]


@pytest.mark.parametrize("kind", ["gru", "attention"])
def test_steps_one_by_one_equal_whole_captions(kind):
    model, batch = KINDS[kind](), batch_of()
    images, tokens = batch.image / 255, jnp.asarray(batch.targets.tokens)
    variables = jax.jit(model.init)(jax.random.key(0), images, tokens)
    whole = model.apply(variables, images, tokens)
    features = model.apply(variables, images, method="find")
    state = model.apply(variables, features, method="begin")
    for i in range(5):
        state, logits = model.apply(variables, state, tokens[:, i], method="step")
        np.testing.assert_allclose(logits, whole["logits"][:, i], atol=1e-5)
    assert ("attention" in whole) == model.attends
    if model.attends:
        assert whole["attention"].shape == (4, 5, 4)
        np.testing.assert_allclose(whole["attention"].sum(-1), 1, rtol=1e-5)


def test_padding_counts_for_nothing():
    task, batch = Captioning(KINDS["attention"](dropout=0.0), attention_weight=1.0), batch_of(4)
    variables, key = task.init(jax.random.key(0), batch), jax.random.key(1)
    loss = jax.jit(task.loss)
    terms = loss(variables, batch, key)[0]
    longer = jnp.pad(batch.targets.tokens, ((0, 0), (0, 3)))
    invalid = jnp.concatenate([longer, jnp.full((2, 9), 5, jnp.int32)])
    padded = Batch(
        jnp.concatenate([batch.image, jnp.zeros((2, 8, 8, 3), jnp.uint8)]),
        jnp.arange(6) < 4,
        jnp.arange(6),
        Targets(tokens=invalid),
    )
    others = loss(variables, padded, key)[0]
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

    task = Captioning(Fixed(Tiny(), 8, embed=16, hidden=24), attention_weight=0.5)
    batch = batch_of(2)
    variables = task.init(jax.random.key(0), batch)
    total, weight = jax.jit(task.loss)(variables, batch, jax.random.key(1))[0]["attention"]
    # Four words look at the first of four places: (1 - 4)² + 3 · (1 - 0)².
    np.testing.assert_allclose(total / weight, 0.5 * (9 + 3), rtol=1e-6)


def test_dropout_follows_each_examples_key():
    task, batch = Captioning(KINDS["input"](dropout=0.5)), batch_of(4)
    variables, key = task.init(jax.random.key(0), batch), jax.random.key(1)
    loss = jax.jit(task.loss)
    whole = loss(variables, batch, key)[0]["word"][0]
    halves = [
        jax.tree.map(lambda x, rows=rows: x[rows], batch) for rows in (slice(0, 2), slice(2, 4))
    ]
    parts = [loss(variables, half, key)[0]["word"][0] for half in halves]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-5)
    assert abs(whole - loss(variables, batch, jax.random.key(2))[0]["word"][0]) > 1e-3


def test_samples_and_beams():
    task, batch = Captioning(KINDS["input"](), beams=4, length=6, power=1.0), batch_of(4)
    variables = task.init(jax.random.key(0), batch)
    found = jax.jit(task.search)(variables, batch)
    assert found.tokens.shape == (4, 4, 6)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    sample = jax.jit(task.sample)
    one, _ = sample(variables, batch, jax.random.key(0))
    two, _ = sample(variables, batch, jax.random.key(1))
    assert one.shape == (4, 5) and (one != two).any()
    cold, _ = sample(variables, batch, jax.random.key(0), 1e-4)
    greedy = jax.jit(dataclasses.replace(task, beams=1).search)(variables, batch).tokens[:, 0, 1:]
    np.testing.assert_array_equal(cold, greedy)


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
