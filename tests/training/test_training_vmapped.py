"""Runs side by side in one program are the runs that they would be alone."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_net import experiment

from vision_jax.config import UserError, build, node
from vision_jax.training import Ema, Evaluator, Parallel, initial, make_train_step, vmapped

STEPS = 3


def train(step, parallel, state, parts, seed):
    compiled = parallel.compile(step)
    state, rows = parallel.put_state(state), []
    for batch, _ in zip(parts.train.batches(0, parts.data_seed), range(STEPS), strict=False):
        state, measured = compiled(state, parallel.put_batch(batch), seed)
        rows.append(jax.device_get(measured))
    return parallel.get_state(state), rows


def together(config, how="jit", devices=1):
    parts = build(config)
    parallel = Parallel(how, jax.devices()[:devices])
    runs = vmapped.runs(parts)
    state, _ = runs.state()
    return runs, *train(runs.step(parallel.axis), parallel, state, parts, runs.seeds)


def alone(parts):
    parallel = Parallel("jit", jax.devices()[:1])
    update, state, _ = initial.state(parts)
    step = make_train_step(parts.task, update, None, parts.accumulate, parts.ema)
    return train(step, parallel, state, parts, np.uint32(parts.seed))


def assert_alike(state, rows, k, solo_state, solo_rows):
    mine = vmapped.take(state.replace(step=np.zeros(9)), k).replace(step=state.step)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6),
        (mine.params, mine.collections, mine.ema),
        (solo_state.params, solo_state.collections, solo_state.ema),
    )
    assert int(state.step) == STEPS
    for row, solo in zip(rows, solo_rows, strict=True):
        for name, value in solo.items():
            if name != "finite":
                np.testing.assert_allclose(row[f"{name}@{k}"], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how, devices", [("jit", 1), ("shard_map", 8)])
def test_each_seed_is_its_solo_run(how, devices):
    """Batch normalisation, dropout, averaged variables and different first weights included."""
    config = experiment(seeds=2, seed=5, ema=node(Ema, decay=0.9))
    config.task.model.backbone.dropout = 0.3
    runs, state, rows = together(config, how, devices)
    assert runs.seeds.tolist() == [5, 6]
    finals = set()
    for k in range(2):
        solo = dict(config.items()) | {"seed": 5 + k, "seeds": 1}
        parts = build(node(type(build(config)), **{n: v for n, v in solo.items() if n != "target"}))
        assert runs.solo(k) == parts
        solo_state, solo_rows = alone(parts)
        assert_alike(state, rows, k, solo_state, solo_rows)
        finals.add(float(solo_rows[-1]["loss"]))
    assert len(finals) == 2
    np.testing.assert_allclose(rows[0]["loss"], np.mean([rows[0][f"loss@{k}"] for k in range(2)]))
    assert rows[0]["finite"].shape == ()


@pytest.mark.parametrize(
    "path, values",
    [
        ("optimizer.schedule.value", (0.01, 0.1)),
        ("optimizer.rule.momentum", (0.0, 0.9)),
        ("optimizer.decay", (0.0, 0.1)),
        ("task.aux_weight", (0.3, 0.4)),
    ],
)
def test_each_value_is_its_solo_run(path, values):
    runs, state, rows = together(experiment(vary=path, values=values))
    for k, value in enumerate(values):
        config = experiment()
        *parents, last = path.split(".")
        here = config
        for key in parents:
            here = here[key]
        here[last] = value
        assert runs.solo(k) == build(config)
        assert_alike(state, rows, k, *alone(build(config)))


def test_evaluation_of_every_run():
    parts = build(experiment(seeds=2))
    runs, parallel = vmapped.runs(parts), Parallel("shard_map")
    evaluator = Evaluator(parts.task, parts.eval, parts.metrics, parallel)
    state, _ = runs.state()
    watched = []
    found = runs.evaluator(evaluator)(
        parallel.put_state(state.variables), watch=lambda outputs, batch: watched.append(batch)
    )
    for k in range(2):
        solo = initial.state(runs.solo(k))[1]
        expected = evaluator(parallel.put_state(solo.variables))["top1"]
        assert found[f"top1@{k}"] == expected
    assert found["top1"] == (found["top1@0"] + found["top1@1"]) / 2
    assert len(watched) == 2  # batches of one run alone
    assert runs.evaluator(evaluator)(parallel.put_state(state.variables), lambda: True) is None


def test_one_run_is_no_runs():
    assert vmapped.runs(build(experiment())) is None


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"seeds": 2, "vary": "optimizer.decay", "values": (1.0, 2.0)}, "use one"),
        ({"vary": "optimizer.decay"}, "needs --config.values"),
        ({"vary": "optimizer.dekay", "values": (1.0, 2.0)}, "there is no 'dekay'"),
        ({"vary": "optimizer.rule", "values": (1.0, 2.0)}, "is no number"),
        ({"vary": "train.batch_size", "values": (1.0, 2.0)}, "is a whole number"),
        ({"vary": "task.smoothing", "values": (0.1, 0.2)}, "use a sweep"),
    ],
)
def test_a_mistake_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        together(experiment(**changes))


def test_what_needs_one_runs_metric_is_refused():
    parts = build(experiment(seeds=2))
    with pytest.raises(UserError, match="a `solver` has no gradient steps"):
        vmapped.runs(dataclasses.replace(parts, solver=object()))
