"""The generic step: one number whatever the devices, the micro-batches and the padding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training_toy import Close, Rows, Toy, make_batch

from vision_jax.config import UserError
from vision_jax.training import (
    Constant,
    Ema,
    Optimizer,
    Parallel,
    Sgd,
    Step,
    create,
    make_eval_step,
    make_train_step,
)

TOY, EMA = Toy(), Ema(0.9)
OPTIMIZER = Optimizer(Sgd(), Step(0.1, (2,), 0.5, "steps"), decay=1e-3, clip=5.0)

COMPILED = []  # grows with every compilation in the process
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: COMPILED.append(event) if "backend_compile" in event else None
)


@functools.cache
def run(how, devices, task=TOY, steps=4, batches=None, accumulate=1, ema=EMA, optimizer=OPTIMIZER):
    parallel = Parallel(how, jax.devices()[:devices])
    variables = task.init()
    update = optimizer.build(variables["params"], 10, 5)
    step = make_train_step(task, update, parallel.axis, accumulate, ema)
    compiled = parallel.compile(step)
    state = parallel.put_state(create(variables, update, ema is not None))
    reports = []
    for i in range(steps):
        batch = make_batch(seed=i) if batches is None else batches(i)
        state, report = compiled(state, parallel.put_batch(batch), np.uint32(7))
        reports.append(jax.device_get(report))
        compiled_before = len(COMPILED) if i == 0 else compiled_before
    assert len(COMPILED) == compiled_before, "a later step compiled something"
    return parallel.get_state(state), reports


@pytest.fixture(scope="module")
def single():
    return run("jit", 1)


def assert_close(a, b, tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
def test_all_mappings_and_device_counts_train_alike(single, how, devices):
    state, reports = run(how, devices)
    assert_close(state, single[0], 1e-6)
    assert_close(reports, single[1], 2e-5)  # the loss itself is about 8


@pytest.mark.parametrize("norm", ["sync", "local"])
def test_pmap_and_shard_map_agree_to_the_bit(norm):
    task = Toy(norm=norm)
    assert_equal(run("pmap", 8, task), run("shard_map", 8, task))
    assert_equal(run("pmap", 4, task, accumulate=2), run("shard_map", 4, task, accumulate=2))


def test_a_mean_of_per_device_means_would_not_do(single):
    """The toy's normaliser really varies: the naive loss is another number."""
    batch, task = make_batch(), Toy(norm="none")
    losses = [
        task.loss(task.init(), jax.tree.map(lambda x, i=i: x[i : i + 2], batch), jax.random.key(0))
        for i in range(0, 16, 2)
    ]
    means = [float(s / jnp.maximum(w, 1)) for s, w in (terms["match"] for terms, _ in losses)]
    whole = task.loss(task.init(), batch, jax.random.key(0))[0]["match"]
    assert abs(np.mean(means) - float(whole[0] / whole[1])) > 0.5


@pytest.mark.parametrize(("how", "devices"), [("shard_map", 1), ("shard_map", 2), ("jit", 2)])
def test_accumulation_is_the_large_batch_without_batch_norm(how, devices):
    task = Toy(norm="none")
    whole = run(how, devices, task)
    parts = run(how, devices, task, accumulate=4)
    assert_close(parts[0], whole[0], 1e-6)
    assert_close(parts[1], whole[1], 2e-5)


@pytest.mark.parametrize(("how", "devices"), [("shard_map", 4), ("jit", 4)])
def test_accumulation_with_batch_norm_does_not_depend_on_devices(how, devices):
    one = run("shard_map", 1, accumulate=2)
    assert_close(run(how, devices, accumulate=2)[0], one[0], 1e-6)
    whole = run("shard_map", 1)
    difference = one[0].params["head"]["kernel"] - whole[0].params["head"]["kernel"]
    assert np.abs(difference).max() > 1e-3  # as documented: not the large batch


@pytest.mark.parametrize(("devices", "accumulate"), [(1, 1), (8, 1), (2, 4)])
def test_padding_counts_for_nothing(devices, accumulate):
    """16 rows are the same as these 16 with 16 more that are not valid."""
    task = Toy(norm="none")

    def padded(i):
        rows, more = make_batch(seed=i), make_batch(seed=100 + i)
        both = jax.tree.map(lambda a, b: np.concatenate([a, b]), rows, more)
        return both.replace(valid=np.arange(32) < 16, index=np.arange(32, dtype=np.int32))

    plain = run("shard_map", 1, task, 3)
    state, reports = run("shard_map", devices, task, 3, padded, accumulate)
    assert_close(state, plain[0], 1e-6)
    assert_close(reports, plain[1], 2e-5)


def test_micro_batches_keep_neighbours_and_their_index():
    seen = []

    class Watch(Toy):
        def loss(self, variables, batch, key, train=True):
            jax.debug.callback(lambda i, v: seen.append((i.tolist(), v)), batch.index, batch.image)
            return super().loss(variables, batch, key, train)

    batch = make_batch(16)
    run("shard_map", 1, Watch(norm="none"), 1, lambda _: batch, accumulate=4)
    jax.effects_barrier()
    assert sorted({tuple(i) for i, _ in seen}) == [
        (2 * k, 2 * k + 1, 2 * k + 8, 2 * k + 9) for k in range(4)
    ]
    for index, image in seen:
        np.testing.assert_array_equal(image, batch.image[index])


def test_gradient_is_that_of_the_sum_of_normalised_losses():
    """Against plain autodiff of the formula in the docstring, without clipping or decay."""
    task = Toy(norm="none", dropout=0.0)
    variables, batch = task.init(), make_batch()

    def loss(params):
        terms, _ = task.loss({**variables, "params": params}, batch, jax.random.key(0))
        return sum(s / w for s, w in terms.values() if w > 0)

    value, gradient = jax.value_and_grad(loss)(variables["params"])
    plain = Optimizer(Sgd(momentum=0.0), Constant(1.0))
    state, (report,) = run("shard_map", 8, task, 1, lambda _: batch, ema=None, optimizer=plain)
    moved = jax.tree.map(lambda a, b: a - b, variables["params"], state.params)
    assert_close(moved, gradient, 1e-5)
    np.testing.assert_allclose(report["loss"], value, rtol=1e-6)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
    np.testing.assert_allclose(report["grad_norm"], norm, rtol=1e-6)


def test_reports(single):
    state, reports = single
    names = {"loss", "loss/match", "loss/size", "loss/never", "close", "none"}
    assert reports[0].keys() == names | {"grad_norm", "lr", "finite"}
    assert [float(r["lr"]) for r in reports] == [np.float32(x) for x in (0.1, 0.1, 0.05, 0.05)]
    assert all(r["finite"] and r["loss/never"] == 0 and r["none"] == 0 for r in reports)
    assert state.step == 4 and state.step.dtype == np.int32
    parts = reports[0]["loss/match"] + reports[0]["loss/size"]
    np.testing.assert_allclose(reports[0]["loss"], parts, rtol=1e-6)


def test_plateau_scales_the_rate():
    task, parallel = Toy(), Parallel("shard_map", jax.devices()[:1])
    update = Optimizer(Sgd(), Constant(0.4)).build(task.init()["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    state = create(task.init(), update)
    state = state.replace(plateau=state.plateau.replace(scale=np.float32(0.25)))
    _, report = step(parallel.put_state(state), parallel.put_batch(make_batch()), np.uint32(0))
    assert report["lr"] == np.float32(0.1)


def test_a_loss_that_is_not_finite_is_flagged():
    task = Toy(dropout=0.0)
    variables = task.init()
    variables["params"]["head"]["kernel"][0, 0] = np.inf
    parallel = Parallel("shard_map", jax.devices()[:2])
    update = OPTIMIZER.build(variables["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    state = parallel.put_state(create(variables, update))
    _, report = step(state, parallel.put_batch(make_batch()), np.uint32(0))
    assert not report["finite"]


def test_ema_follows_parameters_and_statistics():
    """Against a loop over the states of single steps."""
    task, parallel = Toy(), Parallel("shard_map", jax.devices()[:2])
    variables = task.init()
    update = OPTIMIZER.build(variables["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis, ema=Ema(0.3)))
    state, average = parallel.put_state(create(variables, update, ema=True)), variables
    for i in range(6):
        state, _ = step(state, parallel.put_batch(make_batch(seed=i)), np.uint32(0))
        d = min(0.3, (1 + i) / (10 + i))
        now = parallel.get_state(state).variables
        average = jax.tree.map(lambda a, b, d=d: d * a + (1 - d) * b, average, now)
    assert_close(parallel.get_state(state).averaged, average, 1e-6)


def test_the_seed_and_the_step_rule_the_draws():
    task, parallel = Toy(norm="none"), Parallel("shard_map", jax.devices()[:1])
    update = Optimizer(Sgd(), Constant(0.0)).build(task.init()["params"], 10, 5)
    step = parallel.compile(make_train_step(task, update, parallel.axis))
    losses = {}
    for seed, start in ((0, 0), (0, 1), (1, 0), (0, 0)):
        state = create(task.init(), update).replace(step=np.int32(start))
        _, report = step(
            parallel.put_state(state), parallel.put_batch(make_batch()), np.uint32(seed)
        )
        losses.setdefault((seed, start), []).append(float(report["loss"]))
    assert losses[0, 0][0] == losses[0, 0][1]
    assert len({values[0] for values in losses.values()}) == 3
    assert step._cache_size() == 1


def test_a_state_that_changes_type_is_an_error_that_names_the_leaf():
    class Changing(Toy):
        def loss(self, variables, batch, key, train=True):
            losses, aux = super().loss(variables, batch, key, train)
            aux["collections"]["batch_stats"]["norm"]["mean"] = jnp.zeros(3, jnp.bfloat16)
            return losses, aux

    with pytest.raises(TypeError, match=r"batch_stats/norm/mean from .*float32.* to .*bfloat16"):
        run("shard_map", 1, Changing(), 1)


def test_ema_without_its_state_is_an_error():
    task = Toy()
    update = OPTIMIZER.build(task.init()["params"], 10, 5)
    step = make_train_step(task, update, ema=Ema())
    with pytest.raises(ValueError, match="averaged variables"):
        jax.eval_shape(step, create(task.init(), update), make_batch(), np.uint32(0))


@pytest.mark.parametrize("how", ["shard_map", "pmap", "jit"])
@pytest.mark.parametrize("devices", [1, 8])
def test_evaluation_sums_and_gathers(how, devices):
    task, parallel = Toy(), Parallel(how, jax.devices()[:devices])
    variables, batch = task.init(), make_batch()
    batch = batch.replace(valid=np.arange(16) < 13)
    step = parallel.compile_eval(make_eval_step(task, (Close(), Rows()), parallel.axis))
    found = step(parallel.put_state(variables), parallel.put_batch(batch))
    outputs = task.predict(variables, batch)
    assert found.increments[1] is None
    assert_equal(
        jax.device_get(found.increments[0]), jax.device_get(Close().update(outputs, batch))
    )
    assert found.outputs.keys() == {"out"}
    np.testing.assert_allclose(found.outputs["out"], outputs["out"], atol=1e-5)
    assert found.batch.image.shape == (16, 0, 0, 3)
    assert_equal(jax.device_get(found.batch.targets), batch.targets)
    np.testing.assert_array_equal(found.batch.valid, batch.valid)


def test_weights_pass_leaves_no_network_behind():
    """Two passes over the micro-batches cost one pass of the network."""
    task = dataclasses.replace(Toy(norm="sync"), dropout=0.0)
    variables = task.init()
    update = OPTIMIZER.build(variables["params"], 10, 5)
    state = create(variables, update)
    once, both = (
        jax.jit(make_train_step(task, update, None, n)).lower(state, make_batch(512), np.uint32(0))
        for n in (1, 2)
    )
    # A loop's body is counted once: half the rows' network, were it there twice, would be all.
    ratio = both.compile().cost_analysis()["flops"] / once.compile().cost_analysis()["flops"]
    assert ratio < 0.65


def test_micro_batches_must_divide_the_rows():
    with pytest.raises(ValueError, match="16 rows per device cannot be split into 3"):
        run("shard_map", 1, accumulate=3, steps=1)
    with pytest.raises(
        UserError, match=r"batch_size=20 is not divisible by 8 devices; use 16 or 24"
    ):
        Parallel().check(20)
