"""The files that an SSD can start from: its own published ones, and its backbone's classifier."""

import numpy as np
import pytest

from tests.weights.variables import detector_shapes, placeholders, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.layers import Layers


def ssd_variables(model):
    return placeholders(detector_shapes(model, 300))


def test_a_reduced_vgg_gives_backbone_fc6_and_fc7():
    model = models.SSD300()
    params = ssd_variables(model)["params"]
    started = {name: params[name] for name in ("backbone", "fc6", "fc7")}
    state = weights.to_reference(started, model, "amdegroot-vgg")
    assert list(state)[:1] == ["0.weight"] and state["31.weight"].shape == (1024, 512, 3, 3)
    assert state["33.weight"].shape == (1024, 1024, 1, 1) and len(state) == 30
    _, report = weights.restore(params, weights.from_reference(state, model)["params"])
    assert not report.unused and not report.reshaped
    assert all(path.startswith(("conv", "fc7_")) for path in report.missing)


@pytest.mark.parametrize(
    ("model", "classifier"),
    [(models.SSD300(), models.VGG16()), (models.SSD300ResNet(), models.ResNet50())],
    ids=["vgg16", "resnet50"],
)
def test_a_classifier_gives_its_backbone(model, classifier):
    variables = placeholders(shapes(classifier, 224))
    state = weights.to_reference(variables, classifier, "torchvision")
    _, report = weights.restore(ssd_variables(model), weights.from_reference(state, model))
    backbone = [path for path in report.restored if path.split("/")[1] == "backbone"]
    assert backbone == list(report.restored) and not report.reshaped
    assert not any(path.split("/")[1] == "backbone" for path in report.missing)
    assert all(path.split("/")[1] == "head" for path in report.unused)


def test_91_labels_give_80_classes():
    numbers = np.arange(4 * 91, dtype=np.float32)
    published = models.SSD300(90)
    state = weights.to_reference(ssd_variables(published)["params"], published)
    state["head.classification_head.module_list.0.bias"] = numbers
    params = weights.from_reference(state, models.SSD300(80))["params"]
    biases = params["conv4_3_class"]["bias"].reshape(4, 81)
    # Background, person, …, skipping COCO's missing number 12; then the next shape's.
    assert biases[0, [0, 1, 11, 12, 80]].tolist() == [0, 1, 11, 13, 90]
    assert biases[1, 0] == 91


def test_a_batch_normalised_vgg_has_no_published_ssd():
    backbone = models.VGG(keep=("conv4_3", "conv5_3"), layers=Layers(norm="sync"))
    with pytest.raises(UserError, match="weights do not fit SSD as torchvision-classifier"):
        weights.from_reference({}, models.SSD(backbone))
