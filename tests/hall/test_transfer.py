"""The transfer experiments train what their argument says, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import transfer_digits, transfer_pets
from vision_jax import models
from vision_jax.config import UserError, build, node
from vision_jax.models.classifiers.lenet import LeNetBackbone
from vision_jax.models.classifiers.probe import ProbeHead
from vision_jax.training import Constant, Optimizer, Sgd, create, make_train_step, paths


def shapes(model, size=32):
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)["params"]


def trained(config):
    """Modules that are trained, and their multipliers of the rate."""
    optimizer = build(config.optimizer)
    params = paths.flatten(shapes(build(config.task.model)))
    update = optimizer.build(paths.nest(params), 10, 5)
    found = {"/".join(path.split("/")[:2]) for path in update.trainable}
    rates = {path.split("/")[0]: optimizer._multiplier(path) for path in update.trainable}
    return found, rates


@pytest.mark.parametrize("file", [transfer_digits, transfer_pets])
@pytest.mark.parametrize(
    "arg, stages, rates",
    [
        ("tune=head", 0, {"head": 1.0}),
        ("tune=last", 1, {"head": 1.0, "backbone": 0.1}),
        ("tune=last,last=2", 2, {"head": 1.0, "backbone": 0.1}),
        ("tune=all", None, {"head": 1.0, "backbone": 0.1}),
        ("tune=scratch", None, {"head": 1.0, "backbone": 1.0}),
    ],
)
def test_what_is_trained_and_how_fast(file, arg, stages, rates):
    config = file.get_config(f"{arg},smoke")
    found, multipliers = trained(config)
    whole = {
        "/".join(path.split("/")[:2]) for path in paths.flatten(shapes(build(config.task.model)))
    }
    blocks = sorted({path for path in whole if path.startswith("backbone/")})
    by_stage = {path[: len("backbone/stageN")] for path in blocks}
    last = sorted(by_stage)[len(by_stage) - (len(by_stage) if stages is None else stages) :]
    wanted = {path for path in blocks if path[: len("backbone/stageN")] in last}
    assert found == {"head/fc", *wanted}
    assert multipliers == rates
    frozen = arg != "tune=scratch"
    assert config.task.model.backbone.layers.norm == ("frozen" if frozen else "sync")


@pytest.mark.parametrize("file", [transfer_digits, transfer_pets])
def test_without_smoke_they_start_from_weights_unless_told_to_start_fresh(file):
    assert file.get_config("").init.weights is not None
    assert file.get_config("tune=scratch").init.weights is None


@pytest.mark.parametrize(
    "arg, message",
    [("tune=haed", "use one of head, last"), ("last=9", "the backbone has 4 stages")],
)
def test_a_mistake_is_one_line(arg, message):
    with pytest.raises(UserError, match=message):
        transfer_digits.get_config(arg)


def test_frozen_features_of_any_endpoint_stay_as_they_are():
    """A step changes the probe alone: neither the backbone nor its running statistics."""
    config = transfer_digits.get_config("endpoint=conv1,smoke")
    config.task.model.backbone = node(LeNetBackbone, act="relu", pool="max")
    config.task.model.head.endpoint = "S2"
    task = build(config.task)
    rng = np.random.default_rng(0)
    batch = dataclasses.replace(
        build(config.train).element(),
        image=rng.integers(0, 255, (16, 32, 32, 3), np.uint8),
        valid=np.ones(16, bool),
    )
    variables = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    assert variables["params"]["head"]["fc"]["kernel"].shape == (6, 10)
    optimizer = dataclasses.replace(build(config.optimizer), rule=Sgd(), schedule=Constant(0.1))
    assert isinstance(optimizer, Optimizer)
    update = optimizer.build(variables["params"], 4, 4)
    step = jax.jit(make_train_step(task, update))
    state, measured = step(create(variables, update), batch, 0)
    before, after = paths.flatten(variables["params"]), paths.flatten(state.params)
    moved = {path for path in before if np.any(before[path] != after[path])}
    assert moved == {"head/fc/kernel", "head/fc/bias"}
    assert np.isfinite(measured["loss"])


def test_a_probe_of_a_map_that_is_not_there_is_one_line():
    model = models.Classifier(LeNetBackbone(), ProbeHead("S3", 10))
    with pytest.raises(UserError, match="did you mean"):
        shapes(model)


def test_a_probe_with_a_grid_reads_averages_of_its_bins():
    head = ProbeHead("map", 3, grid=2)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 6, 5)), jnp.float32)
    variables = head.init(jax.random.key(0), {"map": x, "later": x[:, :1, :1]})
    found = head.apply(variables, {"map": x, "later": x[:, :1, :1]})
    bins = np.asarray(x).reshape(2, 2, 3, 2, 3, 5).mean((2, 4)).reshape(2, -1)
    np.testing.assert_allclose(found["features"], bins, atol=1e-6)
    fc = variables["params"]["fc"]
    np.testing.assert_allclose(found["logits"], bins @ fc["kernel"] + fc["bias"][None], atol=1e-5)
