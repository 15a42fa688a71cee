"""The configs that the segmentation experiments' arguments make, without running any."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from experiments import (
    deconvnet_voc,
    fcn8s_vgg16_voc,
    fcn16s_vgg16_voc,
    fcn32s_vgg16_voc,
    fcn_resnet50_coco,
)
from experiments.shared.segmentation_cost import KINDS, network
from experiments.sweeps import fcn_strides, fixed_vs_learned_upsampling, upsampling_kinds
from vision_jax.config import build, override
from vision_jax.inspect import summarize
from vision_jax.training import paths, stages

RUNS = pathlib.Path("runs")


def shapes(model):
    """Returns the shapes of a network's parameters by path, without computing any."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(build(model).init, jax.random.key(0), image)
    return {path: leaf.shape for path, leaf in paths.flatten(variables["params"]).items()}


def test_each_stage_of_fcn8s_begins_with_the_one_before():
    config = fcn8s_vgg16_voc.get_config("recipe=modern")
    runs = stages.resolve(config, RUNS)
    assert [folder.name for _, folder in runs] == ["32s", "16s", "8s"]
    before = None
    for run, folder in runs:
        now = shapes(run.task.model)
        if before is not None:
            name, known = before
            assert run.init.weights == str(RUNS / name)
            assert known.items() < now.items()
            assert all(path.startswith("head/") for path in now.keys() - known.keys())
        before = folder.name, now
    assert shapes(config.task.model) == before[1]  # what --mode evaluate builds


def test_the_papers_rates_and_numbers_go_with_the_stages():
    runs = stages.resolve(fcn8s_vgg16_voc.get_config(), RUNS)
    found = [(run.optimizer.schedule.value, run.expect.value) for run, _ in runs]
    assert found == [(1e-10, 0.636), (1e-12, 0.650), (1e-14, 0.655)]
    assert fcn32s_vgg16_voc.get_config().stages == ()
    assert len(fcn16s_vgg16_voc.get_config().stages) == 2
    at_once = fcn8s_vgg16_voc.get_config("at_once")
    assert at_once.stages == () and at_once.task.model.scales == (1e-2, 1e-4)
    assert at_once.expect.value == 0.654
    assert fcn32s_vgg16_voc.get_config("base=alexnet").expect.value == 0.48
    assert fcn8s_vgg16_voc.get_config("base=resnet50").expect is None


def test_the_heavy_recipe_sums_and_the_modern_one_averages():
    heavy, modern = (fcn32s_vgg16_voc.get_config(arg) for arg in ("", "recipe=modern"))
    assert heavy.task.normalize_loss == "sum" and modern.task.normalize_loss == "pixels"
    assert heavy.optimizer.rule.momentum == 0.99 and heavy.train.batch_size == 1
    assert heavy.task.model.published and not modern.task.model.published


@pytest.mark.parametrize("module", [fcn32s_vgg16_voc, fcn_resnet50_coco])
def test_multiscale_is_an_argument(module):
    test = build(module.get_config("multiscale").task).test
    assert test.flip and len(test.scales) > 3


def test_deconvnet_learns_objects_first():
    first, second = (run for run, _ in stages.resolve(deconvnet_voc.get_config(), RUNS))
    assert first.train.transforms[0].target.endswith("ObjectCrop") and first.steps == 20_000
    assert second.init.weights == "runs/objects" and second.steps == 40_000


@pytest.mark.parametrize("argument", ["", "twin"])
@pytest.mark.parametrize(
    "module", [fcn_strides, fixed_vs_learned_upsampling, upsampling_kinds], ids=lambda m: m.__name__
)
def test_every_run_of_a_sweep_is_a_network_of_its_own(module, argument):
    claimed = [side for c in module.claims(argument) for side in (c.higher, c.lower)]
    seen = []

    def add(name, **changes):
        if changes["seed"] == 0:
            config = module.get_config(argument)
            for path, value in changes.items():
                override(config, path, value)
            seen.append(build(config.task).model)
            assert any(changes.items() >= side.items() for side in claimed) or "nearest" in name

    module.sweep(add, argument)
    assert len(set(seen)) == len(seen) >= 3


def test_windows_cost_more_than_one_pass():
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    counted = {kind: summarize(network(kind, 8), image).multiply_adds for kind in KINDS}
    assert counted["patches1"] == 64 * counted["patches8"]
    assert counted["patches8"] > 5 * counted["fcn"]
    assert counted["full"] > counted["fcn"]
