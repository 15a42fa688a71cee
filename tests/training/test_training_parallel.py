"""Where arrays lie, and what is refused before anything compiles."""

import jax
import numpy as np
import pytest
from training_toy import Toy, make_batch

from vision_jax.config import UserError
from vision_jax.training import (
    Constant,
    Ema,
    Optimizer,
    Parallel,
    Sgd,
    create,
    make_train_step,
)
from vision_jax.training.step import _mean_floats


@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_host_copy_round_trips_and_outlives_donation(how, devices):
    task, parallel = Toy(), Parallel(how, jax.devices()[:devices])
    update = Optimizer(Sgd(), Constant(0.1)).build(task.init()["params"], 10, 5)
    given = create(task.init(), update)
    state = parallel.put_state(given)
    before = parallel.get_state(state)
    kept = jax.tree.map(np.copy, before)
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    for i in range(2):
        state, _ = step(state, parallel.put_batch(make_batch(seed=i)), np.uint32(0))
    jax.block_until_ready(state)
    for tree in (before, given):
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(kept), strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.asarray(a).dtype == b.dtype
    assert isinstance(before.params["head"]["kernel"], np.ndarray)
    after = parallel.get_state(state)
    assert np.any(after.params["head"]["kernel"] != before.params["head"]["kernel"])


def test_the_state_passes_from_one_mapping_to_another_mid_run():
    task = Toy()
    update = Optimizer(Sgd(), Constant(0.1)).build(task.init()["params"], 10, 5)

    def go(plan):
        state = create(task.init(), update)
        for i, how in enumerate(plan):
            parallel = Parallel(how)
            step = parallel.compile(make_train_step(task, update, parallel.axis))
            state, _ = step(
                parallel.put_state(state), parallel.put_batch(make_batch(seed=i)), np.uint32(0)
            )
            state = parallel.get_state(state)
        return state

    one, other = go(["pmap", "shard_map", "pmap"]), go(["shard_map", "pmap", "shard_map"])
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_that_are_equal_already_keep_their_bits():
    """The sum of eight equal numbers may be rounded on the way."""
    one = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    mean = jax.pmap(lambda x: _mean_floats({"mean": x}, "data"), axis_name="data")
    equal = np.broadcast_to(one, (8, 1000))
    np.testing.assert_array_equal(mean(equal)["mean"], equal)
    unequal = equal * np.arange(1, 9, dtype=np.float32)[:, None]
    np.testing.assert_allclose(mean(unequal)["mean"], 4.5 * equal, rtol=1e-6)
    count = np.arange(8)  # integers are counters, which all devices have alike
    np.testing.assert_array_equal(mean(count)["mean"], count)


@pytest.mark.parametrize(
    ("size", "accumulate", "said"),
    [
        (10, 1, "batch_size=10 is not divisible by 8 devices; use 8 or 16"),
        (4, 1, "batch_size=4 is not divisible by 8 devices; use 8"),
        (24, 2, "batch_size=24 is not divisible by 8 devices x 2 micro-batches; use 16 or 32"),
    ],
)
def test_batch_sizes_that_do_not_divide(size, accumulate, said):
    with pytest.raises(UserError) as error:
        Parallel().check(size, accumulate)
    assert str(error.value) == said


def test_other_refusals():
    Parallel().check(64, 2, "local")
    Parallel("jit", jax.devices()[:1]).check(3, 1, "local")
    with pytest.raises(UserError, match="norm='local'"):
        Parallel("jit").check(64, norms={"sync", "local"})
    with pytest.raises(UserError, match="did you mean shard_map"):
        Parallel("shardmap")


@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
@pytest.mark.parametrize("devices", [1, 4])
def test_several_steps_in_one_program_equal_as_many(how, devices):
    task, parallel = Toy(), Parallel(how, jax.devices()[:devices])
    update = Optimizer(Sgd(), Constant(0.1)).build(task.init()["params"], 10, 5)
    step = make_train_step(task, update, parallel.axis, accumulate=2, ema=Ema(0.5))
    batches = [make_batch(seed=i) for i in range(6)]

    def one_by_one(state):
        compiled = parallel.compile(step)
        for batch in batches:
            state, metrics = compiled(state, parallel.put_batch(batch), np.uint32(3))
            yield state, jax.tree.map(lambda x: x[None], jax.device_get(metrics))

    def three_at_once(state):
        compiled = parallel.compile(step, several=True)
        for first in (0, 3):
            several = parallel.put_batches(batches[first : first + 3])
            state, metrics = compiled(state, several, np.uint32(3))
            yield state, jax.device_get(metrics)

    ends = []
    for plan in (one_by_one, three_at_once):
        done = [*plan(parallel.put_state(create(task.init(), update, ema=True)))]
        rows = jax.tree.map(lambda *x: np.concatenate(x), *[metrics for _, metrics in done])
        ends.append((parallel.get_state(done[-1][0]), rows))
    (expected, rows), found = ends
    assert expected.step == 6 and rows["loss"].shape == (6,) and np.ptp(rows["loss"]) > 0.1
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves((expected, rows)), strict=True):
        # Another program may round its sums otherwise: some units of an array's largest value.
        atol = 1e-6 * max(1, np.abs(np.nan_to_num(b)).max())
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)
