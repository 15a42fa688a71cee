"""DETR's experiments at full size, without data: sizes, what is trained, at which rates."""

import importlib

import jax
import numpy as np
import pytest

from tests.weights.variables import detector_shapes, placeholders
from vision_jax import models, weights
from vision_jax.config import UserError, build
from vision_jax.training import paths, stages

FILES = ("detr_r50_coco", "detr_dc5_r50_coco", "detr_r101_coco")


def config_of(name, argument=""):
    return importlib.import_module(f"experiments.{name}").get_config(argument)


@pytest.mark.parametrize("name", FILES)
def test_what_is_trained_and_how_fast(name):
    config = config_of(name)
    model = build(config.task).model
    flat = paths.flatten(detector_shapes(model, 128)["params"])
    update = build(config.optimizer).build(paths.nest(flat), 1000, 1848.2)
    frozen = {path for path in flat if path not in update.trainable}
    assert all(path.startswith("backbone/") for path in frozen)
    assert all(
        "/norm/" in p or p.startswith(("backbone/conv1/", "backbone/conv2_")) for p in frozen
    )
    assert {"decoder/norm/scale", "query_embed/embedding", "class_embed/bias"} <= update.trainable
    rates = [float(update.rate(np.int32(epoch * 1848.3))) for epoch in (0, 399, 401)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 1e-5], rtol=1e-5)
    optimizer = build(config.optimizer)
    assert optimizer._multiplier("backbone/conv5_1/conv1/conv/kernel") == 0.1
    assert optimizer._multiplier("encoder/layer_0/fc1/kernel") == 1.0
    assert model.backbone.dilate[-1] is ("dc5" in name)


def test_fewer_epochs_have_the_papers_other_number():
    config = config_of("detr_r50_coco", "epochs=300")
    assert config.epochs == 300 and config.expect.value == 0.406
    assert config.optimizer.schedule.boundaries == (200,)
    with pytest.raises(UserError, match="epochs=100: the paper trains for 300 or 500"):
        config_of("detr_r50_coco", "epochs=100")


def test_the_network_has_the_published_size():
    model = build(config_of("detr_r50_coco").task).model.clone(num_classes=91)
    flat = paths.flatten(detector_shapes(model, 128)["params"])
    norms = [path for path in flat if path.startswith("backbone/") and "/norm/" in path]
    assert sum(leaf.size for path, leaf in flat.items() if path not in norms) == 41_524_768


def test_a_classifiers_weights_start_the_backbone():
    config = config_of("detr_r50_coco")
    model = build(config.task).model
    fresh = placeholders(detector_shapes(model, 128))
    classifier = models.ResNet50()
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    made = jax.eval_shape(classifier.init, jax.random.key(0), image)
    state = weights.to_reference(
        jax.tree.map(lambda a: np.zeros(a.shape, np.int8), made), classifier
    )
    _, report = weights.restore(fresh, weights.from_reference(state, model))
    missing = [path.partition("/")[2] for path in report.missing]
    assert missing and all(paths.matches([config.init.reinitialize], path) for path in missing)


def test_the_demo_starts_from_its_own_classifier(tmp_path):
    first, second = (run for run, _ in stages.resolve(config_of("quickstart_detr"), tmp_path))
    backbones = [build(run.task).model.backbone for run in (first, second)]
    assert backbones[0] == backbones[1] and second.init.weights == str(tmp_path / "backbone")
    assert paths.matches([second.init.reinitialize], "decoder/norm/scale")


@pytest.mark.parametrize("name", ["detr_layers", "pix2seq_bins", "pix2seq_sequences"])
def test_twins_begin_with_the_backbone_of_the_demo(name):
    twin = config_of(f"sweeps.{name}", "twin")
    demo = config_of("quickstart_detr")
    assert twin.task.model.backbone == demo.task.model.backbone
    assert twin.init.weights == "runs/quickstart_detr/backbone"
    assert (twin.steps, twin.epochs) == ({"detr_layers": 2500}.get(name, 1500), 0)
    changes = dict(demo.stages[1].changes)
    assert twin.init.reinitialize == changes["init.reinitialize"]


@pytest.mark.parametrize("argument", ["", "twin"])
def test_what_suppression_evaluates_is_what_layers_trains(argument):
    layers, suppression = (
        importlib.import_module(f"experiments.sweeps.{name}")
        for name in ("detr_layers", "detr_suppression")
    )
    trained, asked = set(), []
    layers.sweep(lambda name, **changes: trained.add(name), argument)
    suppression.sweep(lambda name, **changes: asked.append(changes), argument)
    folders = {changes["init.weights"] for changes in asked}
    assert {folder.rsplit("/", 1)[1] for folder in folders} <= trained and len(folders) == 3
    config = suppression.get_config(argument)
    assert config.steps == 1 and config.optimizer.schedule.value == 0
    assert config.init.reinitialize is None
    assert len({(c["seed"], c[suppression.LAYER], c[suppression.NMS]) for c in asked}) == 12
