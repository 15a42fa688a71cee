"""Segmenters' tables: their own references' names, and classifiers' files as their beginning."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.vgg import CONFIGURATIONS

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from seeded import Golden

GOLDEN = Path(__file__).parents[1] / "golden"
REFERENCES = {
    "models/fcn_resnet50": models.FCNResNet50,
    "models/deeplabv3_resnet50": models.DeepLabV3ResNet50,
    "models_thirdparty/fcn8s_vgg16": functools.partial(models.fcn, "vgg16", 8, learn="all"),
    "models_thirdparty/segnet_vgg16": functools.partial(models.segnet, 21, last="norm"),
}


def shapes(model, side=64):
    image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def drawn(tree, seed):
    """Other values in every array."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), jnp.float32), tree)


@pytest.mark.parametrize("file", REFERENCES)
def test_names_and_shapes_are_the_references(file):
    model = REFERENCES[file]()
    # One byte for each value: only shapes matter here.
    variables = jax.tree.map(lambda a: np.zeros(a.shape, np.int8), shapes(model))
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
    variables = drawn(shapes(model), 0)
    state = weights.to_reference(variables, model)
    assert state["upscore_pool4.weight"].shape == (5, 5, 4, 4)
    jax.tree.map(np.testing.assert_array_equal, weights.from_reference(state, model), variables)


def test_a_last_layer_that_is_fixed_leaves_its_weights_unused():
    given = drawn(shapes(small(learn="all")), 0)
    state = weights.to_reference(given, small(learn="all"))
    model = small(learn="inner")
    fresh = drawn(shapes(model), 1)
    _, report = weights.restore(fresh, weights.from_reference(state, model))
    assert report.unused == ("params/head/upscore/kernel",)
    assert not report.missing and not report.reshaped


def test_a_classifiers_file_is_the_transplanted_classifier():
    """The same as `models.transplant` of the same classifier; scores stay as they were."""
    classifier, model = small_classifier(), small()
    given, fresh = drawn(shapes(classifier), 0), drawn(shapes(model), 1)
    state = weights.to_reference(given, classifier)
    found, report = weights.restore(fresh, weights.from_reference(state, model))
    wanted = models.transplant(model, fresh, classifier, given, (64, 64, 3))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert {path.split("/")[2] for path in report.unused} == {"fc8"}
    own = ("score", "upscore")  # the transplant keeps what is the segmenter's own
    for name, layer in fresh["params"]["head"].items():
        if name.startswith(own):
            jax.tree.map(np.testing.assert_array_equal, found["params"]["head"][name], layer)
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
    given = jax.tree.map(lambda a: a * 0.3, drawn(shapes(classifier), 0))
    head = models.FCNHead(9, (6, 7), 2)
    model = models.FCN(models.VGG(width=4, ceil_mode=True), head, margin=1)
    variables = drawn(shapes(model), 1)
    variables = models.transplant(model, variables, classifier, given, (64, 64, 3))
    fc8 = given["params"]["head"]["fc8"]
    score = {"kernel": fc8["kernel"][None, None], "bias": fc8["bias"]}
    variables["params"]["head"]["score"] = score
    image = jnp.asarray(rng.normal(size=(1, 62, 62, 3)), jnp.float32)
    scores = jax.jit(model.apply)(variables, image)["scores"]
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    logits = jax.jit(classifier.apply)(given, padded)["logits"]
    assert scores.shape == (1, 1, 1, 9) and float(jnp.abs(logits).max()) > 0.1
    np.testing.assert_allclose(scores[:, 0, 0], logits, rtol=1e-4)


def test_a_transplant_that_does_not_fit_is_one_line():
    model = small(hidden=(6, 8))
    fresh, given = drawn(shapes(model), 1), drawn(shapes(small_classifier()), 0)
    with pytest.raises(UserError, match="not those of the segmenter"):
        models.transplant(model, fresh, small_classifier(), given, (64, 64, 3))


# Segmenters, and classifiers on the same backbones.
PAIRS = {
    "alexnet": (functools.partial(models.fcn, "alexnet"), models.AlexNet2014, {"fc8"}),
    "googlenet": (functools.partial(models.fcn, "googlenet"), models.GoogLeNet, {"aux1", "aux2"}),
    "resnet50": (functools.partial(models.fcn, "resnet50", 8), models.ResNet50, {"fc"}),
    "dilated": (models.DeepLabV3ResNet50, models.ResNet50, {"fc"}),
    "segnet": (models.SegNet, functools.partial(models.VGG16, norm="sync"), {"fc6", "fc7", "fc8"}),
    "deconvnet": (models.DeconvNet, functools.partial(models.VGG16, norm="sync"), {"fc8"}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_classifiers_file_has_all_of_a_segmenters_backbone(name):
    segmenter, classifier, unused = PAIRS[name]
    model, given = segmenter(), classifier()
    zeros = functools.partial(jax.tree.map, lambda a: np.zeros(a.shape, np.int8))
    state = weights.to_reference(zeros(shapes(given, 224)), given)
    fresh = zeros(shapes(model, 224))
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
