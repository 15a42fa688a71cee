"""Captioning's experiments at full size, on a split file of four images: sizes, what is trained."""

import importlib
import json

import jax
import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError, build
from vision_jax.training import agree, paths, spread
from vision_jax.training.step import make_eval_step

FILES = ("captioning_vgg16_coco", "captioning_resnet50_attention_coco")


def config_of(name, argument=""):
    return importlib.import_module(f"experiments.{name}").get_config(argument)


@pytest.fixture
def karpathy(tmp_path):
    """Writes a split file of Flickr's form and its images; returns the argument that names them."""
    (tmp_path / "photos").mkdir()
    entries = []
    for number, split in enumerate(("train", "train", "val", "test")):
        name = f"{number}.jpg"
        Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "photos" / name)
        raw = ["A dog runs, and a dog barks.", "a dog!", "two dogs run"]
        sentences = [{"raw": text} for text in raw]
        entries.append({"filename": name, "split": split, "sentences": sentences})
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": entries}))
    return f"split={tmp_path / 'dataset_flickr8k.json'},images={tmp_path / 'photos'}"


@pytest.mark.parametrize("name", FILES)
def test_a_split_file_is_all_that_a_network_needs(name, karpathy):
    config, experiment, _ = agree(spread(config_of(name, karpathy)))
    words = experiment.train.classes
    assert words[4:] == ("a", "dog") and config.task.model.num_classes == 6  # five times or more
    assert len(experiment.train.source) == 2 and len(experiment.eval.source) == 1
    assert experiment.eval.classes == words
    task, element = experiment.task, experiment.eval.element()
    variables = jax.eval_shape(task.init, jax.random.key(0), element)
    step = make_eval_step(task, tuple(experiment.metrics.values()), None, task.shown)
    outputs = jax.eval_shape(step, variables, element).outputs
    assert outputs["tokens"].shape == (64, 20)
    if task.model.attends:
        assert outputs["attention"].shape == (64, 19, 7, 7)
    else:
        assert variables["params"]["project"]["kernel"].shape == (4096, 512)  # fc7
    terms = jax.eval_shape(task.loss, variables, experiment.train.element(), jax.random.key(0))[0]
    assert set(terms) == ({"word", "attention"} if task.model.attends else {"word"})


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tune", [False, True])
def test_the_backbone_is_frozen_or_follows_slowly(name, tune):
    config = config_of(name, f"tune={tune}")
    config.task.model.num_classes = 9
    task, rule = build(config.task), build(config.optimizer)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    tokens = jax.ShapeDtypeStruct((1, 5), np.int32)
    flat = paths.flatten(
        jax.eval_shape(task.model.init, jax.random.key(0), image, tokens)["params"]
    )
    update = rule.build(paths.nest(flat), 1000, 100)
    frozen = {path.partition("/")[0] for path in flat if path not in update.trainable}
    assert frozen == (set() if tune else {"backbone"})
    first = next(path for path in flat if path.startswith("backbone/"))
    assert rule._multiplier(first) == (0.1 if tune else 1.0)
    assert "norm" not in first or config.task.model.backbone.layers.norm == "frozen"


def test_coco_trains_on_the_rest_of_validation_too():
    sources = config_of(FILES[0], "images=somewhere").train.source
    assert sources.source.split == "train+restval" and sources.source.images == "somewhere"
    with pytest.raises(UserError, match=r"somewhere|dataset_coco"):
        build(sources)


def test_twins_begin_with_the_classifier_of_the_quickstart():
    demo = importlib.import_module("experiments.quickstart").get_config()
    for attend in (True, False):
        twin = config_of("sweeps.captioning_attention", f"attend={attend},tune=False,twin")
        backbone = twin.task.model.backbone
        assert backbone.layers.norm == "frozen" and ("look" in twin.task.model) == attend
        backbone.layers.norm = demo.task.model.backbone.layers.norm
        assert backbone == demo.task.model.backbone
        assert paths.matches([twin.init.reinitialize], "decoder/kernel_x")
        assert not paths.matches([twin.init.reinitialize], "backbone/conv1/conv/kernel")
    beams = config_of("sweeps.captioning_beams", "twin")
    assert beams.steps == 1 and beams.optimizer.schedule.value == 0
