"""torchvision's second R-CNNs, both RetinaNets and FCOS: every name, and there and back."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.weights.variables import assert_equal, detector_shapes, drawn, placeholders
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.layers import Layers
from vision_jax.weights.zoo.networks import torchvision_retinanet_v2

FROZEN = Layers(norm="frozen")
GOLDEN = Path(__file__).parents[1] / "golden" / "models"
SIDE = 64  # of the images
REFERENCES = {
    "maskrcnn_resnet50_fpn_v2": lambda: models.MaskRCNNResNet50FPNV2(90),
    "retinanet_resnet50_fpn_v2": lambda: torchvision_retinanet_v2(91),
    "fcos_resnet50_fpn": lambda: models.FCOSResNet50FPN(91),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_names_and_shapes_are_the_references(name):
    model = REFERENCES[name]()
    state = weights.to_reference(placeholders(detector_shapes(model, SIDE)), model, "torchvision")
    ours = {k: list(v.shape) for k, v in state.items()}
    assert ours == Golden(GOLDEN / f"{name}.npz").meta["shapes"]


def backbone():
    return models.ResNet((1, 1, 1, 1), "basic", 4, layers=FROZEN)


def mask_rcnn_v2(classes, layers=FROZEN):
    """Makes a small Mask R-CNN of torchvision's second form."""
    pool = models.RegionPool(size=2, levels=4)
    head = models.BoxHead(pool, convs=(8, 6), hidden=(5,), layers=layers)
    mask = models.MaskHead(pool, widths=(8, 8), normalized=True, layers=layers)
    pyramid = models.FPN(width=8, normalized=True, layers=layers)
    return models.FasterRCNN(backbone(), classes, pyramid, models.RPN(depth=2), head, mask)


def fcos(classes, **changes):
    pyramid = models.FPN(("conv3_x", "conv4_x", "conv5_x"), 8, "p6p7")
    return models.FCOS(backbone(), pyramid, classes, depth=2, **changes)


@pytest.mark.parametrize("make", [mask_rcnn_v2, fcos])
def test_there_and_back_is_the_identity(make):
    model = make(5)
    variables = drawn(detector_shapes(model, SIDE))
    state = weights.to_reference(variables, model, "torchvision")
    # As a training with batch norm writes them.
    for name in [k.removesuffix("running_var") for k in state if k.endswith("running_var")]:
        state[f"{name}num_batches_tracked"] = np.int64(7)
    assert_equal(weights.from_reference(state, model), variables)


@pytest.mark.parametrize("make", [mask_rcnn_v2, fcos])
def test_80_classes_are_picked_from_91_labels(make):
    published = 90 if make is mask_rcnn_v2 else 91  # FCOS's label 0 is none's
    theirs = drawn(detector_shapes(make(published), SIDE))
    ours = weights.from_reference(weights.to_reference(theirs, make(published)), make(80))
    for number, label in ((1, 1), (11, 11), (12, 13), (80, 90)):  # COCO's 12th is number 13
        if make is mask_rcnn_v2:
            given, found = (v["params"]["head"]["cls_score"]["kernel"] for v in (theirs, ours))
            np.testing.assert_array_equal(found[..., number], given[..., label])
        else:
            given, found = (v["params"]["cls_logits"]["bias"] for v in (theirs, ours))
            np.testing.assert_array_equal(found[number - 1], given[label])


@pytest.mark.parametrize(
    "model",
    [
        mask_rcnn_v2(5, Layers(norm="group")),
        fcos(5, layers=Layers(norm="none")),
        fcos(5, layers=Layers(norm="sync")),
    ],
    ids=["group-norms", "no-norms", "batch-norms"],
)
def test_norms_that_torchvision_has_not_are_no_networks_of_its(model):
    with pytest.raises(UserError, match="no weights table of 'torchvision'"):
        weights.to_reference({}, model, "torchvision")
