"""Per-example gradients against a loop over examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_net import network
from training_toy import Toy, make_batch

from vision_jax.models.layers import Layers
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import Classification
from vision_jax.training import Constant, Optimizer, Sgd, create, make_train_step
from vision_jax.training.per_example import per_example_gradients

KEY = jax.random.key(3)


def loop(task, variables, batch, train):
    """One jax.grad after another, each of a batch of one row."""
    collections = {k: v for k, v in variables.items() if k != "params"}
    found = []

    @jax.jit
    def slope(params, row):
        def loss(params):
            terms, _ = task.loss({"params": params, **collections}, row, KEY, train=train)
            return sum(jnp.where(w > 0, s / jnp.maximum(w, 1e-9), 0) for s, w in terms.values())

        return jax.grad(loss)(params)

    for i in range(batch.count):
        row = jax.tree.map(lambda x, i=i: jnp.asarray(x[i : i + 1]), batch)
        found.append(slope(variables["params"], row))
    return jax.tree.map(lambda *rows: np.stack(rows), *found)


def close(a, b, tolerance=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=tolerance), a, b)


@pytest.mark.parametrize("train", [False, True])
def test_a_task_with_dropout_and_varying_weights(train):
    task = Toy(norm="none")
    variables, batch = task.init(), make_batch(8)
    found, losses = jax.jit(lambda v, b: per_example_gradients(task, v, b, KEY, train))(
        variables, batch
    )
    close(found, loop(task, variables, batch, train))
    assert losses.shape == (8,) and float(losses.std()) > 0.1


def test_a_classifier_and_a_row_that_is_not_valid():
    task = Classification(network(layers=Layers(norm="frozen"), dropout=0.3), smoothing=0.1)
    rng = np.random.default_rng(0)
    batch = Batch(
        image=rng.integers(0, 255, (4, 8, 8, 3), np.uint8),
        valid=np.array([True, True, False, True]),
        index=np.arange(4, dtype=np.int32) + 10,
        targets=Targets(label=np.array([1, 5, 0, 9], np.int32)),
    )
    variables = task.init(jax.random.key(0), batch)
    found, losses = jax.jit(lambda v, b: per_example_gradients(task, v, b, KEY, train=True))(
        variables, batch
    )
    expected = loop(task, variables, batch.replace(valid=np.ones(4, bool)), True)
    rows = np.array([0, 1, 3])
    close(*(jax.tree.map(lambda x: x[rows], tree) for tree in (found, expected)))
    assert not any(np.any(x[2]) for x in jax.tree.leaves(found)) and float(losses[2]) == 0


def test_shares_add_up_to_the_steps_gradient():
    task, batch = Toy(norm="none"), make_batch(16)
    variables = task.init()
    update = Optimizer(Sgd(momentum=0.0), Constant(1.0)).build(variables["params"], 1, 1)
    key = jax.random.fold_in(jax.random.key(0), 0)
    state, measured = jax.jit(make_train_step(task, update))(create(variables, update), batch, 0)
    found, losses = jax.jit(
        lambda v, b: per_example_gradients(task, v, b, key, True, normalise="batch")
    )(variables, batch)
    step = jax.tree.map(lambda a, b: a - b, variables["params"], state.params)
    close(jax.tree.map(lambda x: x.sum(0), found), step)
    np.testing.assert_allclose(losses.sum(), measured["loss"], rtol=1e-6)
