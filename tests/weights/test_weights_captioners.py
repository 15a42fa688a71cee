"""Classifiers' weights for captioners, whose backbone is one or is a classifier's backbone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.variables import drawn, shapes
from vision_jax import models, weights
from vision_jax.training import paths
from vision_jax.weights.tables import tables_for

TOKENS = jax.ShapeDtypeStruct((1, 5), jnp.int32)
NARROW = {"kernels": ((3,),) * 5, "width": 4}


def narrow_vgg(num_classes):
    backbone = models.VGG(**NARROW)
    head = models.FcHead(num_classes, hidden=(8, 6), grid=7)
    return models.Classifier(backbone, head)


def small_resnet():
    return models.ResNet(stages=(1, 1, 1, 1), block="basic", width=4)


@pytest.mark.parametrize("source", ["torchvision", "caffe"])
def test_a_whole_classifier_is_the_backbone(source):
    theirs = narrow_vgg(num_classes=5)
    given = drawn(shapes(theirs, 224))
    state = weights.to_reference(given, theirs, source)
    model = models.ShowAndTell(narrow_vgg(0), 9, "features", embed=8, hidden=8)
    loaded = paths.flatten(weights.from_reference(state, model)["params"])
    ours = paths.flatten(given["params"])
    for path, value in ours.items():
        if not path.startswith("head/fc8"):
            np.testing.assert_array_equal(loaded[f"backbone/{path}"], value)
    fresh = shapes(model, 224, TOKENS)
    _, report = weights.restore(drawn(fresh), weights.from_reference(state, model))
    parts = {path.split("/")[1] for path in report.missing}
    assert parts == {"decoder", "linear", "project", "words"}


def test_a_plain_backbone_takes_a_classifiers():
    theirs = models.Classifier(small_resnet(), models.PoolHead(5))
    given = drawn(shapes(theirs, 64))
    state = weights.to_reference(given, theirs, "torchvision")
    model = models.ShowAttendTell(small_resnet(), 9, embed=8, hidden=8, look=8)
    loaded = weights.from_reference(state, model)
    for name in ("params", "batch_stats"):
        ours = paths.flatten(given[name]["backbone"])
        there = paths.flatten(loaded[name]["backbone"])
        assert ours.keys() == there.keys()
        for path, value in ours.items():
            np.testing.assert_array_equal(there[path], value)


def test_features_of_a_head_without_classes():
    maps = {"pool5": jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3, 4)))}
    whole, bare = (models.FcHead(count, hidden=(8, 6), grid=3) for count in (5, 0))
    variables = jax.jit(whole.init)(jax.random.key(0), maps)
    own = {"params": {k: v for k, v in variables["params"].items() if k != "fc8"}}
    got, expected = bare.apply(own, maps), whole.apply(variables, maps)
    assert "logits" not in got and got["features"].shape == (2, 6)
    np.testing.assert_array_equal(got["features"], expected["features"])


def test_every_source_of_a_classifier_is_known():
    sources = [
        table.source for table in tables_for(models.ShowAndTell(models.VGG16(num_classes=0)))
    ]
    assert sources == ["torchvision", "timm", "caffe"]
    assert all(table.is_part for table in tables_for(models.ShowAttendTell(small_resnet())))
