"""Changes of an experiment's config: lengths, sources by text, parts."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_net import experiment

from vision_jax import data, evaluation
from vision_jax.config import UserError, build, node
from vision_jax.training import Ema, stages
from vision_jax.training.flags import apply


@pytest.mark.parametrize(
    ("changes", "steps", "epochs"),
    [
        ({"steps": "7"}, 7, 0.0),
        ({"epochs": "2"}, 0, 2.0),
        ({"steps": "7", "epochs": "0"}, 7, 0.0),
        ({"steps": "0", "epochs": "1.5"}, 0, 1.5),
        ({"steps": "0"}, 0, 3.0),
        ({"steps": "1", "epochs": "1"}, 1, 1.0),
    ],
)
def test_a_length_replaces_the_other_one(changes, steps, epochs):
    config = experiment(steps=0, epochs=3.0)
    apply(config, changes)
    assert (config.steps, config.epochs) == (steps, epochs)


def test_a_stage_may_give_another_length(tmp_path):
    stage = node(stages.Stage, name="long", changes=(("epochs", 2.0),))
    ((config, _),) = stages.resolve(experiment(stages=(stage,)), tmp_path)
    assert (config.steps, config.epochs) == (0, 2.0)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b"])
def test_a_stage_is_named_like_a_folder(name, tmp_path):
    config = experiment(stages=(node(stages.Stage, name=name),))
    with pytest.raises(UserError, match=r"stages\[0\]\.name=.* must be the name of a folder"):
        stages.resolve(config, tmp_path)


def test_averages_are_switched_on_by_their_decay():
    config = experiment()
    apply(config, {"ema.decay": "0.99"})
    assert build(config.ema) == Ema(decay=0.99)


@pytest.fixture
def annotated(tmp_path):
    """Returns an annotation file and its folder of images."""
    (tmp_path / "img").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "img" / "a.png")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    tree = {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "train.json").write_text(json.dumps(tree))
    return f"{tmp_path}/train.json", f"{tmp_path}/img"


def test_a_source_in_the_doctors_words(annotated):
    config = experiment()
    apply(config, {"train.source": "coco:" + ",".join(annotated)})
    source = build(config.train.source)
    assert source == data.CocoFolder(*annotated) and source.classes == ("cat",)


def test_a_source_is_asked_for_the_fields_of_the_one_before(annotated):
    config = experiment()
    masks = node(data.CocoFolder, annotations="a", images="b", fields=("objects", "rle"))
    config.train.source = masks
    apply(config, {"train.source": "coco:" + ",".join(annotated)})
    assert config.train.source.fields == ("objects", "rle")
    apply(config, {"train.source": "coco:" + ",".join(annotated) + ",fields=objects"})
    assert config.train.source.fields == ("objects",)


def test_the_source_of_a_metric_and_that_of_a_published_number(annotated):
    config = experiment(metrics={"coco": node(evaluation.COCO, num_classes=1)})
    text = "coco:" + ",".join(annotated)
    apply(config, {"metrics.coco.source": text, "expect.source": "table: 3"})
    assert build(config.metrics.coco).source == data.CocoFolder(*annotated)
    assert config.expect.source == "table: 3"
    apply(config, {"metrics.coco.source": "None"})
    assert config.metrics.coco.source is None


def test_a_source_of_no_kind():
    with pytest.raises(UserError, match="source 'cocoo:a,b': unknown kind 'cocoo' - did you mean"):
        apply(experiment(), {"train.source": "cocoo:a,b"})
