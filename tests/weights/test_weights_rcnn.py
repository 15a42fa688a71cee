"""torchvision's R-CNNs and classifiers in ours: names old and new, 91 labels, shared layers."""

import numpy as np
import pytest

from tests.weights.variables import assert_equal, detector_shapes, drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.layers import Layers

FROZEN = Layers(norm="frozen")
SIDE = 64  # of the images
LAST = ("cls_score", "bbox_pred")


def rcnn(classes):
    """Makes a small Mask R-CNN of torchvision's form."""
    backbone = models.ResNet((1, 1, 1, 1), "basic", 4, layers=FROZEN)
    head = models.BoxHead(models.RegionPool(size=2, levels=4), hidden=(8, 8))
    mask = models.MaskHead(models.RegionPool(size=2, levels=4), widths=(8, 8))
    return models.FasterRCNN(backbone, classes, models.FPN(width=8), head=head, mask=mask)


def variables_of(detector):
    return drawn(detector_shapes(detector, SIDE))


def test_80_classes_are_picked_from_91_labels():
    theirs = variables_of(rcnn(90))
    state = weights.to_reference(theirs, rcnn(90))
    assert state["roi_heads.box_predictor.cls_score.weight"].shape == (91, 8)
    ours = weights.from_reference(state, rcnn(80))["params"]
    head = theirs["params"]["head"]
    # The numbers 12, 26, 29 ... of COCO's list name nothing: its 12th class is number 13.
    for number, label in ((0, 0), (1, 1), (11, 11), (12, 13), (80, 90)):
        for name, each in zip(LAST, (1, 4), strict=True):
            mine = ours["head"][name]["kernel"].reshape(8, -1, each)[:, number]
            np.testing.assert_array_equal(mine, head[name]["kernel"].reshape(8, -1, each)[:, label])
        mine = ours["mask"]["mask_fcn_logits"]["kernel"][..., number]
        kernel = theirs["params"]["mask"]["mask_fcn_logits"]["kernel"][..., label]
        np.testing.assert_array_equal(mine, kernel)
    assert ours["head"]["cls_score"]["bias"].shape == (81,)


def test_names_of_published_files_are_known():
    model = rcnn(3)
    variables = variables_of(model)
    state = {}
    for name, value in weights.to_reference(variables, model).items():
        for new, old in (
            ("rpn.head.conv.0.0.", "rpn.head.conv."),
            *((f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.") for i in range(2)),
            *((f"inner_blocks.{i}.0.", f"inner_blocks.{i}.") for i in range(4)),
            *((f"layer_blocks.{i}.0.", f"layer_blocks.{i}.") for i in range(4)),
        ):
            name = name.replace(new, old)
        state[name] = value
    assert "backbone.fpn.inner_blocks.3.weight" in state
    assert_equal(weights.from_reference(state, model), variables)
    with pytest.raises(UserError, match=r"rpn\.head\.conv"):
        weights.from_reference({k: v for k, v in state.items() if "rpn.head.conv" not in k}, model)


def test_vggs_classifier_gives_both_backbones_and_the_second_stage():
    kernels = ((3,), (3,), (3,), (3,), (3,))
    classifier = Classifier(models.VGG(kernels, 2), FcHead(5, (6, 6), 7))
    variables = drawn(shapes(classifier, SIDE))
    state = weights.to_reference(variables, classifier, "torchvision")
    backbone = models.VGG(kernels, 2, keep=("conv5_1",))
    options = {
        "pyramid": models.OneMap("conv5_1"),
        "rpn": models.RPN(anchor_sizes=((32.0,),)),
        "head": models.BoxHead(models.RegionPool("max"), hidden=(6, 6)),
    }
    model = models.FasterRCNN(backbone, 3, rpn_backbone=backbone.clone(), **options)
    restored, report = weights.restore(variables_of(model), weights.from_reference(state, model))
    assert {path.split("/")[-2] for path in report.unused} == {"fc8"}
    missing = {"/".join(path.split("/")[1:-1]) for path in report.missing}
    assert missing == {f"head/{name}" for name in LAST} | {
        "rpn/conv",
        "rpn/cls_logits",
        "rpn/bbox_pred",
    }
    for part in ("backbone", "rpn_backbone"):
        assert_equal(restored["params"][part], variables["params"]["backbone"])
    for name in ("fc6", "fc7"):
        kernel = variables["params"]["head"][name]["kernel"]
        np.testing.assert_array_equal(restored["params"]["head"][name]["kernel"], kernel)


def test_resnets_classifier_gives_c4_its_last_stage():
    classifier = Classifier(models.ResNet((1, 1, 1, 2), width=4), PoolHead(5))
    variables = drawn(shapes(classifier, SIDE))
    state = weights.to_reference(variables, classifier, "torchvision")
    backbone = models.ResNet((1, 1, 1), width=4, layers=FROZEN)
    head = models.BoxHead(
        models.RegionPool(size=4), models.ResNetStage(2, 32, layers=FROZEN), hidden=()
    )
    rpn = models.RPN(anchor_sizes=((32.0,),))
    model = models.FasterRCNN(backbone, 3, models.OneMap("conv4_x"), rpn, head)
    restored, report = weights.restore(variables_of(model), weights.from_reference(state, model))
    assert not report.reshaped and {path.split("/")[-2] for path in report.unused} == {"fc"}
    for kind in ("params", "batch_stats"):
        ours = restored[kind]["backbone"] | restored[kind]["head"]["body"]
        assert_equal(ours, variables[kind]["backbone"])
