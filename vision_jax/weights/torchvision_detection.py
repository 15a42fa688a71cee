"""torchvision's names of Faster, Mask and Keypoint R-CNN with a feature pyramid."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from vision_jax.weights import torchvision
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.torchvision_retinanet import COCO_NUMBERS, LABELS, resnet_fpn


def rcnn(model: Any, old: bool = False) -> Iterator[Row]:
    """faster_rcnn.py, mask_rcnn.py, keypoint_rcnn.py.

    A file with 91 labels gives background and the 80 classes of COCO to a network of 80.
    """
    yield from resnet_fpn(model.backbone, model.pyramid, old)
    yield Row("rpn.head.conv" if old else "rpn.head.conv.0.0", "rpn/conv", "conv_bias")
    for name in ("cls_logits", "bbox_pred"):
        yield Row(f"rpn.head.{name}", f"rpn/{name}", "conv_bias")
    flat = (model.pyramid.width, model.head.pool.size, model.head.pool.size)
    for i in range(len(model.head.hidden)):
        name = f"fc{i + 6}"
        row = (f"roi_heads.box_head.{name}", f"head/{name}", "dense_bias")
        yield Row(*row, flat if i == 0 else None)
    for name, numbers in (("cls_score", 1), ("bbox_pred", 4)):
        pick = _classes(model, numbers)
        yield Row(f"roi_heads.box_predictor.{name}", f"head/{name}", "dense_bias", pick=pick)
    if model.mask is not None:
        yield from _mask(model, old)
    if model.keypoint is not None:
        yield from _keypoint(model)


def rcnn_old(model: Any) -> Iterator[Row]:
    """As files did before torchvision 0.12, the published ones among them."""
    yield from rcnn(model, old=True)


def has_rcnn(model: Any) -> bool:
    """Features shared by both stages, from a ResNet without tweaks and its pyramid."""
    backbone, head = model.backbone, model.head
    plain = (
        type(backbone).__name__ == "ResNet"
        and backbone.stem == "plain"
        and backbone.shortcut == "conv"
    )
    shared = model.rpn_backbone is None and type(model.pyramid).__name__ == "FPN"
    return plain and shared and head.body is None and head.class_specific


def classifier(model: Any) -> Iterator[Row]:
    """The backbone's classifier: its last layers go to the second stage where that has them."""
    backbone, head = model.backbone, getattr(model, "head", None)
    if type(backbone).__name__ == "VGG":
        grid = 7 if head is None else head.pool.size
        rows = [*torchvision.vgg(_Classifier(backbone, _Head(grid)))]
    else:
        blocks = getattr(getattr(head, "body", None), "blocks", None)
        whole = backbone if blocks is None else backbone.clone(stages=(*backbone.stages, blocks))
        rows = [*torchvision.resnet(_Classifier(whole, _Head()))]
    for row in rows:
        last = f"backbone/conv{len(backbone.stages) + 2}_" if hasattr(backbone, "stages") else None
        if last and row.path.startswith(last):
            row = dataclasses.replace(row, path=row.path.replace("backbone/", "head/body/", 1))
        yield row
        if getattr(model, "rpn_backbone", None) is not None and row.path.startswith("backbone/"):
            yield dataclasses.replace(row, path=f"rpn_{row.path}")


def has_classifier(model: Any) -> bool:
    """On a backbone whose classifier torchvision has."""
    tests = {"VGG": torchvision.has_vgg, "ResNet": torchvision.has_resnet}
    test = tests.get(type(model.backbone).__name__)
    return test is not None and test(model)


@dataclasses.dataclass(frozen=True)
class _Head:
    """What the classifiers' tables ask of a head."""

    grid: int = 7
    num_classes: int = 1000


@dataclasses.dataclass(frozen=True)
class _Classifier:
    backbone: Any
    head: _Head


def _mask(model: Any, old: bool) -> Iterator[Row]:
    for i in range(len(model.mask.widths)):
        name = f"mask_fcn{i + 1}"
        theirs = f"roi_heads.mask_head.{name if old else f'{i}.0'}"
        yield Row(theirs, f"mask/{name}", "conv_bias")
    predictor = "roi_heads.mask_predictor"
    yield Row(f"{predictor}.conv5_mask", "mask/conv5_mask", "conv_transpose_bias")
    pick = _classes(model, 1)
    yield Row(f"{predictor}.mask_fcn_logits", "mask/mask_fcn_logits", "conv_bias", pick=pick)


def _keypoint(model: Any) -> Iterator[Row]:
    for i in range(len(model.keypoint.widths)):
        theirs = f"roi_heads.keypoint_head.{2 * i}"
        yield Row(theirs, f"keypoint/conv_fcn{i + 1}", "conv_bias")
    theirs = "roi_heads.keypoint_predictor.kps_score_lowres"
    yield Row(theirs, "keypoint/kps_score_lowres", "conv_transpose_bias")


def _classes(model: Any, numbers: int) -> Pick | None:
    """Background and COCO's classes, each with so many outputs."""
    if model.num_classes != len(COCO_NUMBERS):
        return None
    return Pick((LABELS, numbers), 0, (0, *COCO_NUMBERS))
