"""Training data, evaluation data, network and metrics agree on the classes, or a line tells."""

import json

import numpy as np
import pytest
from PIL import Image

from vision_jax import data, evaluation, models, tasks, training
from vision_jax.config import UserError, node, override
from vision_jax.training import Experiment, agree, signature


def coco(folder, name, classes):
    """Writes one image with an object of each class, numbered in the order that is given."""
    (folder / "images").mkdir(exist_ok=True)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "images" / f"{name}.png")
    categories = [{"id": i, "name": name} for i, name in enumerate(classes, start=1)]
    objects = [
        {"id": i, "image_id": 1, "category_id": i, "bbox": [i, i, 8, 8]}
        for i in range(1, len(classes) + 1)
    ]
    image = {"id": 1, "file_name": f"{name}.png", "width": 32, "height": 32}
    tree = {"images": [image], "annotations": objects, "categories": categories}
    (folder / f"{name}.json").write_text(json.dumps(tree))
    return node(
        data.CocoFolder,
        annotations=str(folder / f"{name}.json"),
        images=str(folder / "images"),
    )


def experiment(train, evaluated, num_classes):
    model = node(
        models.RetinaNet,
        backbone=node(models.ResNet, stages=(1,), block="basic", width=4),
        pyramid=node(models.FPN, endpoints=("conv2_x",), width=4, extra="none"),
        num_classes=num_classes,
    )
    return node(
        Experiment,
        task=node(tasks.Detection, model=model),
        train=node(data.Train, source=train, batch_size=1),
        eval=node(data.Eval, source=evaluated, batch_size=1),
        metrics={"voc": node(evaluation.VOC, num_classes=num_classes)},
        optimizer=node(
            training.Optimizer, rule=node(training.Sgd), schedule=node(training.Constant, value=0.1)
        ),
        steps=1,
    )


def test_none_takes_the_number_from_the_data(tmp_path):
    source = coco(tmp_path, "train", ("cat", "dog", "owl"))
    config = experiment(source, source, 2)
    override(config, "metrics.voc.num_classes", 3)
    with config.ignore_type():
        config.task.model.num_classes = None
    filled, built, lines = agree(config)
    assert filled.task.model.num_classes == built.task.model.num_classes == 3
    assert lines == ["task.model.num_classes: 3, as the data have ('cat', 'dog', 'owl')"]
    assert config.task.model.num_classes is None


def test_fewer_outputs_than_classes_are_refused(tmp_path):
    source = coco(tmp_path, "train", ("cat", "dog", "owl"))
    with pytest.raises(UserError, match=r"num_classes=2, but the data have 3 classes \('cat', "):
        agree(experiment(source, source, 2))


def test_more_outputs_than_classes_are_told(tmp_path):
    source = coco(tmp_path, "train", ("cat", "dog", "owl"))
    _, _, lines = agree(experiment(source, source, 5))
    assert [line.partition(",")[0] for line in lines] == [
        "metrics.voc.num_classes=5",
        "task.model.num_classes=5",
    ]


def test_evaluation_data_are_matched_by_name(tmp_path):
    train = coco(tmp_path, "train", ("cat", "dog", "owl"))
    evaluated = coco(tmp_path, "val", ("owl", "cat"))
    _, built, lines = agree(experiment(train, evaluated, 3))
    assert built.eval.classes == ("cat", "dog", "owl")
    assert built.eval.source[0]["labels"].tolist() == [2, 0]
    assert lines == ["eval: classes are matched by name; the evaluation data lack 'dog'"]


def test_a_class_that_training_lacks_is_refused(tmp_path):
    train = coco(tmp_path, "train", ("cat", "dog"))
    evaluated = coco(tmp_path, "val", ("cat", "ant"))
    with pytest.raises(UserError, match="the class 'ant' is none of the training data's"):
        agree(experiment(train, evaluated, 2))


def captions(folder, name, *texts):
    """Writes a file like Karpathy's, of one image."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"{name}.png")
    sentences = [{"raw": text} for text in texts]
    tree = {"images": [{"filename": f"{name}.png", "sentences": sentences}]}
    (folder / f"{name}.json").write_text(json.dumps(tree))
    return node(data.CaptionFolder, annotations=str(folder / f"{name}.json"), images=str(folder))


def test_evaluation_and_metrics_take_the_training_captions_words(tmp_path, monkeypatch):
    model = node(models.ShowAndTell, backbone=node(models.ResNet, stages=(1,), width=4))
    encode = (node(data.EncodeCaption, length=6),)
    train = captions(tmp_path, "a", "a red cat", "a cat runs")
    metric = node(evaluation.Captions)
    prefixed = node(evaluation.Prefixed, metric=metric, prefix="other_")
    config = experiment(train, captions(tmp_path, "b", "a blue cat"), 0)
    config.task = node(tasks.Captioning, model=model, length=6)
    config.train.source = node(data.WithVocabulary, source=train, threshold=1)
    config.train.transforms = config.eval.transforms = encode
    config.metrics = {"captions": metric, "again": prefixed}
    config, built, lines = agree(config)
    words = built.train.classes
    assert config.task.model.num_classes == len(words) == 8 and "8" in lines[0]
    assert built.eval.classes == words and "blue" not in words
    assert built.eval.source[0]["encoded"] == [[1, words.index("a"), 3, words.index("cat"), 2]]
    for metric in (built.metrics["captions"], built.metrics["again"].metric):
        assert metric.vocabulary.words == words and metric.references == [["a blue cat"]]
    assert built.train.source.words == words  # processes that decode need not read all captions


def test_a_run_folder_that_is_evaluated_keeps_its_words(tmp_path):
    words = ("<pad>", "<start>", "<end>", "<unk>", "green")
    known = signature.Signature(words, (8, 8, 3))
    model = node(models.ShowAndTell, backbone=node(models.ResNet, stages=(1,), width=4))
    config = experiment(captions(tmp_path, "a", "a cat"), captions(tmp_path, "b", "a dog"), 0)
    config.task = node(tasks.Captioning, model=model)
    config.metrics = {"captions": node(evaluation.Captions)}
    _, built, _ = agree(config, {"train": known})
    assert built.eval.classes == words and built.train is known
