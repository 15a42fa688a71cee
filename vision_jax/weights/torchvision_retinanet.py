"""torchvision's names of ResNets with a feature pyramid, and of RetinaNet."""

import dataclasses
from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.detectors.retinanet import RetinaNet
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.shared_rows import BATCH_NORMS, conv_norm, is_plain_resnet
from vision_jax.weights.torchvision import residual_stages

# COCO numbers its 80 classes from 1 to 90, and so do torchvision's detectors.
_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
COCO_NUMBERS = tuple(number for number in range(1, 91) if number not in _GAPS)
LABELS = 91  # of a published detector: background and all of COCO's numbers


def resnet_fpn(backbone: nn.Module, pyramid: nn.Module, old: bool = False) -> Iterator[Row]:
    """Yields the layers of backbone_utils.py.

    Args:
      backbone: a `ResNet` without tweaks.
      pyramid: the `FPN` on top of it.
      old: the pyramid's layers have the names that files had before torchvision 0.12.
    """
    for row in (*conv_norm("conv1", "bn1", "backbone/conv1"), *residual_stages(backbone)):
        yield dataclasses.replace(row, reference=f"backbone.body.{row.reference}")
    inner = "" if old else ".0"
    for i, name in enumerate(pyramid.endpoints):
        for theirs, ours in (("inner_blocks", "lateral"), ("layer_blocks", "output")):
            reference, path = f"backbone.fpn.{theirs}.{i}", f"pyramid/{ours}_{name}"
            if pyramid.normalized:
                yield from conv_norm(f"{reference}.0", f"{reference}.1", path)
            else:
                yield Row(f"{reference}{inner}", path, "conv_bias")
    if pyramid.extra == "p6p7":
        for name in ("p6", "p7"):
            yield Row(f"backbone.fpn.extra_blocks.{name}", f"pyramid/{name}", "conv_bias")


def retinanet(model: RetinaNet, old: bool = False) -> Iterator[Row]:
    """Yields the layers of retinanet.py.

    A head of 91 labels gives the 80 classes of COCO to a network of 80.

    Args:
      model: the network.
      old: names as the first published file has them.
    """
    yield from resnet_fpn(model.backbone, model.pyramid, old)
    heads = (
        ("classification_head", "class_subnet", "cls_logits"),
        ("regression_head", "box_subnet", "bbox_reg"),
    )
    for theirs, ours, last in heads:
        for i in range(model.depth):
            conv, path = f"head.{theirs}.conv.{i}", f"{ours}/conv{i + 1}"
            if model.layers.norm == "group":
                yield Row(f"{conv}.0", f"{path}/conv", "conv")
                yield Row(f"{conv}.1", f"{path}/norm", "affine")
            else:
                name = f"head.{theirs}.conv.{2 * i}" if old else f"{conv}.0"
                yield Row(name, f"{path}/conv", "conv_bias")
        pick = None
        if last == "cls_logits":
            pick = coco_classes(model.num_classes, model.anchors_per_cell)
        yield Row(f"head.{theirs}.{last}", f"{ours}/out", "conv_bias", pick=pick)


def coco_classes(num_classes: int, anchors_per_cell: int) -> Pick | None:
    """Picks COCO's classes of each anchor from a published detector's labels, if those they are."""
    if num_classes != len(COCO_NUMBERS):
        return None
    return Pick((anchors_per_cell, LABELS), 1, COCO_NUMBERS)


def has_retinanet(model: RetinaNet) -> bool:
    """Returns True on a ResNet without tweaks, with norms that torchvision has."""
    backbone = model.backbone
    is_theirs = is_plain_resnet(backbone) and backbone.layers.norm in BATCH_NORMS
    return is_theirs and model.layers.norm in ("none", "group")
