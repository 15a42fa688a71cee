"""Segmenters' tables: their own references' names, and classifiers' files as their beginning."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.weights import variables as trees
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.vgg import CONFIGURATIONS
from vision_jax.models.layers import Layers

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCES = {
    "models/fcn_resnet50": models.FCNResNet50,
    "models/deeplabv3_resnet50": models.DeepLabV3ResNet50,
    "models_thirdparty/fcn8s_vgg16": functools.partial(models.fcn, "vgg16", 8, learn="all"),
    "models_thirdparty/segnet_vgg16": functools.partial(models.segnet, 21, last="norm"),
}


def drawn(model, seed):
    """Returns random variables for images of 64 pixels, as arrays that can be computed with."""
    return jax.tree.map(jnp.asarray, trees.drawn(trees.shapes(model, 64), seed))


@pytest.mark.parametrize("file", REFERENCES)
def test_names_and_shapes_are_the_references(file):
    model = REFERENCES[file]()
    variables = trees.placeholders(trees.shapes(model, 64))
    ours = {k: list(v.shape) for k, v in weights.to_reference(variables, model).items()}
    theirs = Golden(GOLDEN / f"{file}.npz").meta["shapes"]
    assert ours == {k: v for k, v in theirs.items() if not k.endswith("num_batches_tracked")}


def small(skips=("pool4", "pool3"), hidden=(6, 7), window=2, **options):
    head = models.FCNHead(5, hidden, window, skips, **options)
    return models.FCN(models.VGG(width=4, ceil_mode=True), head)


def small_classifier():
    return models.vgg("D", 9, width=4, hidden=(6, 7), grid=2)


def test_there_and_back():
    model = small(learn="all")
    variables = drawn(model, 0)
    state = weights.to_reference(variables, model)
    assert state["upscore_pool4.weight"].shape == (5, 5, 4, 4)
    trees.assert_equal(weights.from_reference(state, model), variables)


def test_a_last_layer_that_is_fixed_leaves_its_weights_unused():
    learnt = small(learn="all")
    state = weights.to_reference(drawn(learnt, 0), learnt)
    model = small(learn="inner")
    fresh = drawn(model, 1)
    _, report = weights.restore(fresh, weights.from_reference(state, model))
    assert report.unused == ("params/head/upscore/kernel",)
    assert not report.missing and not report.reshaped


def test_a_classifiers_file_is_the_transplanted_classifier():
    """The same as `models.transplant` of the same classifier; scores stay as they were."""
    classifier, model = small_classifier(), small()
    pretrained, fresh = drawn(classifier, 0), drawn(model, 1)
    state = weights.to_reference(pretrained, classifier)
    restored, report = weights.restore(fresh, weights.from_reference(state, model))
    transplanted = models.transplant(model, fresh, classifier, pretrained, (64, 64, 3))
    trees.assert_equal(restored, transplanted)
    assert {path.split("/")[2] for path in report.unused} == {"fc8"}
    own = ("score", "upscore")  # the transplant keeps what is the segmenter's own
    for name, layer in fresh["params"]["head"].items():
        if name.startswith(own):
            trees.assert_equal(restored["params"]["head"][name], layer)
    assert sorted(report.missing) == sorted(
        f"params/head/{name}/{part}"
        for name, layer in fresh["params"]["head"].items()
        if name.startswith(own)
        for part in layer
    )


def test_a_transplanted_classifier_gives_its_scores():
    """Without padding, a segmenter whose scores are fc8 is the classifier at each window."""
    classifier = small_classifier()
    rng = np.random.default_rng(0)
    pretrained = jax.tree.map(lambda a: a * 0.3, drawn(classifier, 0))
    head = models.FCNHead(9, (6, 7), 2)
    model = models.FCN(models.VGG(width=4, ceil_mode=True), head, margin=1)
    variables = drawn(model, 1)
    variables = models.transplant(model, variables, classifier, pretrained, (64, 64, 3))
    fc8 = pretrained["params"]["head"]["fc8"]
    score = {"kernel": fc8["kernel"][None, None], "bias": fc8["bias"]}
    variables["params"]["head"]["score"] = score
    image = jnp.asarray(rng.normal(size=(1, 62, 62, 3)), jnp.float32)
    scores = jax.jit(model.apply)(variables, image)["scores"]
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    logits = jax.jit(classifier.apply)(pretrained, padded)["logits"]
    assert scores.shape == (1, 1, 1, 9) and float(jnp.abs(logits).max()) > 0.1
    np.testing.assert_allclose(scores[:, 0, 0], logits, rtol=1e-4)


def test_a_transplant_that_does_not_fit_is_one_line():
    model = small(hidden=(6, 8))
    fresh, pretrained = drawn(model, 1), drawn(small_classifier(), 0)
    with pytest.raises(UserError, match="not those of the segmenter"):
        models.transplant(model, fresh, small_classifier(), pretrained, (64, 64, 3))


VGG16_NORM = functools.partial(models.VGG16, layers=Layers(norm="sync"))
# Segmenters, and classifiers on the same backbones.
PAIRS = {
    "alexnet": (functools.partial(models.fcn, "alexnet"), models.AlexNet2014, {"fc8"}),
    "googlenet": (functools.partial(models.fcn, "googlenet"), models.GoogLeNet, {"aux1", "aux2"}),
    "resnet50": (functools.partial(models.fcn, "resnet50", 8), models.ResNet50, {"fc"}),
    "dilated": (models.DeepLabV3ResNet50, models.ResNet50, {"fc"}),
    "segnet": (models.SegNet, VGG16_NORM, {"fc6", "fc7", "fc8"}),
    "deconvnet": (models.DeconvNet, VGG16_NORM, {"fc8"}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_classifiers_file_has_all_of_a_segmenters_backbone(name):
    segmenter, classifier, unused = PAIRS[name]
    model, pretrained = segmenter(), classifier()
    variables = trees.placeholders(trees.shapes(pretrained, 224))
    state = weights.to_reference(variables, pretrained)
    fresh = trees.placeholders(trees.shapes(model, 224))
    _, report = weights.restore(fresh, weights.from_reference(state, model))
    assert not report.reshaped
    assert not [path for path in report.missing if "/backbone/" in path]
    assert unused <= {path.split("/")[2] for path in report.unused}
    if name in ("alexnet", "deconvnet"):
        assert any("fc6" in path for path in report.restored)


def test_a_backbone_without_a_table_is_one_line():
    backbone = models.VGG(CONFIGURATIONS["C"], 4)
    model = models.FCN(backbone, models.FCNHead(5, ()))
    with pytest.raises(UserError, match="no weights table for this variant of FCN"):
        weights.from_reference({}, model)
