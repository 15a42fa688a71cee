"""What an SSD can start from: its own published files' names, and its backbone's classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import UserError


def shapes(model, size=300):
    sizes = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    if isinstance(model, models.SSD):
        return jax.eval_shape(model.init, jax.random.key(0), image, sizes)
    return jax.eval_shape(model.init, jax.random.key(0), image)


def zeros(tree):
    return jax.tree.map(lambda a: np.broadcast_to(np.float32(0), a.shape), tree)


def test_a_reduced_vgg_gives_backbone_fc6_and_fc7():
    model = models.SSD300()
    params = zeros(shapes(model)["params"])
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
    given = zeros(shapes(classifier, 224))
    state = weights.to_reference(given, classifier, "torchvision")
    _, report = weights.restore(zeros(shapes(model)), weights.from_reference(state, model))
    backbone = [path for path in report.restored if path.split("/")[1] == "backbone"]
    assert backbone == list(report.restored) and not report.reshaped
    assert not any(path.split("/")[1] == "backbone" for path in report.missing)
    assert all(path.split("/")[1] == "head" for path in report.unused)


def test_91_labels_give_80_classes():
    numbers = np.arange(4 * 91, dtype=np.float32)
    state = weights.to_reference(zeros(shapes(models.SSD300(90))["params"]), models.SSD300(90))
    state["head.classification_head.module_list.0.bias"] = numbers
    found = weights.from_reference(state, models.SSD300(80))["params"]["conv4_3_class"]["bias"]
    # Background, person, …, skipping COCO's missing number 12; then the next shape's.
    assert found.reshape(4, 81)[0, [0, 1, 11, 12, 80]].tolist() == [0, 1, 11, 13, 90]
    assert found.reshape(4, 81)[1, 0] == 91


def test_a_batch_normalised_vgg_has_no_published_ssd():
    backbone = models.VGG(keep=("conv4_3", "conv5_3"), norm="sync")
    with pytest.raises(UserError, match="weights do not fit SSD as torchvision-classifier"):
        weights.from_reference({}, models.SSD(backbone))
