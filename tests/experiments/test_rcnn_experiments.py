"""The R-CNN family's experiments at full size, without data: what they start from and train."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import build
from vision_jax.structs import Targets
from vision_jax.training import paths, stages

FILES = {
    "faster_rcnn_vgg16_alternating": models.VGG16,
    "fast_rcnn_vgg16_voc07": models.VGG16,
    "rpn_vgg16_voc07": models.VGG16,
    "faster_rcnn_r50_c4_coco": models.ResNet50,
    "mask_rcnn_r50_c4_coco": models.ResNet50,
    "mask_rcnn_r50_fpn_coco": models.ResNet50,
    "retinanet_r50_fpn_coco": models.ResNet50,
    "rfcn_r50_voc0712": models.ResNet50,
}
# Too small for the detectors' purpose, as large as their networks need.
SIDE = 128
HEADS = ["head/.*"]  # a head of another shape stays fresh by itself


def shapes(model):
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    size = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    proposals = Targets(proposals=jnp.zeros((1, 4, 4)), proposal_valid=jnp.ones((1, 4), bool))
    given = proposals if isinstance(model, models.FastRCNN) else None
    return jax.eval_shape(model.init, jax.random.key(0), image, size, given)


def zeros(tree):
    """Makes arrays of one byte for each value: only shapes matter here."""
    return jax.tree.map(lambda a: np.zeros(a.shape, np.int8), tree)


def classifier_state(make):
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = make()
    made = jax.eval_shape(model.init, jax.random.key(0), image)
    return weights.to_reference(zeros(made), model, "torchvision")


@pytest.mark.parametrize("name", FILES)
def test_a_classifier_gives_all_but_what_is_named(name):
    config = importlib.import_module(f"experiments.{name}").get_config()
    if config.stages:
        config = stages.resolve(config, pathlib.Path("runs"))[0][0]
    model = build(config.task).model
    fresh = paths.flatten(shapes(model))
    given = weights.from_reference(classifier_state(FILES[name]), model)
    _, report = weights.restore(zeros(shapes(model)), given)
    assert config.init.reinitialize
    assert paths.matches([config.init.reinitialize], "rpn/conv/kernel") or name.startswith(
        ("fast", "ret")
    )
    left = [path.partition("/")[2] for path in (*report.missing, *report.reshaped)]
    left = [path for path in left if not paths.matches([config.init.reinitialize, *HEADS], path)]
    assert left == [], left
    backbone = [
        path for path in fresh if path.partition("/")[2].startswith(("backbone/", "rpn_backbone/"))
    ]
    assert set(backbone) <= set(report.restored)
    if "vgg16" in name and not name.startswith("rpn"):
        assert {"params/head/fc6/kernel", "params/head/fc7/bias"} <= set(report.restored)


@pytest.mark.parametrize("name", FILES)
def test_what_is_trained_and_what_stays(name):
    config = importlib.import_module(f"experiments.{name}").get_config()
    runs = stages.resolve(config, pathlib.Path("runs")) if config.stages else [(config, None)]
    for run, _ in runs:
        params = shapes(build(run.task).model)["params"]
        update = build(run.optimizer).build(params, run.steps, 1000.0)
        frozen = {path for path in paths.flatten(params) if path not in update.trainable}
        assert update.trainable and frozen
        assert all("backbone/" in path or "/norm/" in path for path in frozen) or config.stages
        first = ("conv1/", "conv2_1/") if "vgg16" not in name else ("conv1_1/", "conv2_2/")
        for layer in first:
            assert any(f"backbone/{layer}" in path for path in frozen)
        assert not any("/norm/" in path for path in update.trainable)


def test_the_alternating_schedule_trains_each_part_in_its_turn():
    config = importlib.import_module("experiments.faster_rcnn_vgg16_alternating").get_config()
    turns = []
    for run, folder in stages.resolve(config, pathlib.Path("runs")):
        params = shapes(build(run.task).model)["params"]
        update = build(run.optimizer).build(params, run.steps, 1000.0)
        parts = {path.partition("/")[0] for path in update.trainable}
        turns.append((folder.name, run.task.model.losses, parts, run.init.weights))
    assert turns == [
        ("rpn", ("rpn_class", "rpn_box"), {"rpn", "rpn_backbone"}, "torchvision/vgg16-397923af"),
        ("detector", ("roi_class", "roi_box"), {"head", "backbone"}, "runs/rpn"),
        ("shared_rpn", ("rpn_class", "rpn_box"), {"rpn"}, "runs/detector"),
        ("shared_detector", ("roi_class", "roi_box"), {"head"}, "runs/shared_rpn"),
    ]


def test_fast_rcnn_can_make_its_own_proposals():
    config = importlib.import_module("experiments.fast_rcnn_vgg16_voc07").get_config("rpn")
    runs = stages.resolve(config, pathlib.Path("runs"))
    kinds = ["ProposalNetwork"] * 3 + ["FastRCNN"]
    assert [type(build(run.task.model)).__name__ for run, _ in runs] == kinds
    rpn, trainval, test, detector = (run for run, _ in runs)
    assert [run.init.weights for run, _ in runs] == [
        "torchvision/vgg16-397923af",
        "runs/rpn",
        "runs/rpn",
        "torchvision/vgg16-397923af",
    ]
    assert (rpn.steps, detector.steps, rpn.solver, detector.solver) == (40_000, 40_000, None, None)
    for written, read in ((trainval, detector.train), (test, detector.eval)):
        assert written.solver.file == read.source.file
        assert written.train.source.to_json() == read.source.source.to_json()
        assert written.train.transforms == detector.eval.transforms  # those of evaluation
