"""The table of all detectors: its runs, and its measurements beside accuracy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.shared import detection_speed
from experiments.sweeps import speed_accuracy
from vision_jax import sweep
from vision_jax.config import UserError, build
from vision_jax.evaluation import VOC
from vision_jax.report import read_sweep

FILE = "experiments/sweeps/speed_accuracy.py"


def test_all_detectors_share_data_and_evaluator():
    for spec in (FILE, f"{FILE}:twin"):
        runs = [run.config() for run in sweep.plan(read_sweep(spec), {})]
        assert len({str(run.eval.source) for run in runs}) == 1
        assert len({str(run.metrics) for run in runs}) == 1
        assert {run.eval.batch_size for run in runs} == {speed_accuracy.BATCH}
        assert all(build(run.metrics.voc) == build(runs[0].metrics.voc) for run in runs)
        assert isinstance(build(runs[0].metrics.voc), VOC)
    with pytest.raises(UserError, match="detector=detr"):
        speed_accuracy.get_config("detector=detr")


def test_costs_are_those_of_the_network():
    config = speed_accuracy.get_config("detector=ssd,twin")
    found = speed_accuracy.extras(config)
    model = build(config.task).model
    image, sizes = jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0)
    params = jax.eval_shape(model.init, jax.random.key(0), image, sizes)["params"]
    assert found["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    # The first two layers alone have 64² · 9 · 16 · (3 + 16).
    assert 64 * 64 * 9 * 16 * 19 < found["multiply_adds"] < 1e8


def test_speed_counts_images_after_the_first_batch(monkeypatch):
    times = iter((10.0, 12.0, 15.0))
    monkeypatch.setattr(detection_speed.time, "perf_counter", lambda: next(times))
    metric = detection_speed.Speed()
    state = metric.empty()
    for images in (8, 8, 2):
        batch = types.SimpleNamespace(valid=np.arange(8) < images)
        assert metric.result(state) == {} or images < 8
        state = metric.collect(state, {}, batch)
    assert metric.result(state) == {"images_per_second": 10 / 5}
