"""Names of SSD on VGG, torchvision's and those of github.com/amdegroot/ssd.pytorch, and of what it
starts from."""

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from vision_jax.weights import torchvision as classifiers
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.torchvision_retinanet import COCO_NUMBERS, LABELS


def torchvision(model: Any) -> Iterator[Row]:
    """ssd.py; a head of 91 labels gives background and COCO's 80 classes to a network of 80.

    Its networks for 512 pixels have no published weights.
    """
    *stages, last = _stages(model.backbone)
    number = 0
    for stage in stages:
        for name in stage:
            yield Row(f"backbone.features.{number}", f"backbone/{name}/conv", "conv_bias")
            number += 2
        number += 1
    for k, name in enumerate(last):
        yield Row(f"backbone.extra.0.{2 * k + 1}", f"backbone/{name}/conv", "conv_bias")
    fc = f"backbone.extra.0.{2 * len(last) + 1}"
    yield Row(f"{fc}.1", "fc6/conv", "conv_bias")
    yield Row(f"{fc}.3", "fc7/conv", "conv_bias")
    yield Row("backbone", f"{model.rescaled[0]}_scale", "scale_weight")
    for k in range(len(model.extras)):
        for i in (1, 2):
            name = f"backbone.extra.{k + 1}.{2 * (i - 1)}"
            yield Row(name, f"conv{k + 8}_{i}/conv", "conv_bias")
    for k, (name, shapes) in enumerate(zip(maps(model), model.boxes.shapes, strict=True)):
        pick = None
        if model.num_classes == len(COCO_NUMBERS):
            pick = Pick((shapes, LABELS), 1, (0, *COCO_NUMBERS))
        head = "head.{}_head.module_list." + str(k)
        yield Row(head.format("classification"), f"{name}_class", "conv_bias", pick=pick)
        yield Row(head.format("regression"), f"{name}_box", "conv_bias")


def amdegroot(model: Any) -> Iterator[Row]:
    """ssd.py."""
    for row in amdegroot_vgg(model):
        yield dataclasses.replace(row, reference=f"vgg.{row.reference}")
    yield Row("L2Norm", f"{model.rescaled[0]}_scale", "scale")
    for k in range(2 * len(model.extras)):
        yield Row(f"extras.{k}", f"conv{k // 2 + 8}_{k % 2 + 1}/conv", "conv_bias")
    for k, name in enumerate(maps(model)):
        yield Row(f"loc.{k}", f"{name}_box", "conv_bias")
        yield Row(f"conf.{k}", f"{name}_class", "conv_bias")


def amdegroot_vgg(model: Any) -> Iterator[Row]:
    """vgg16_reducedfc.pth: VGG-16 of ImageNet, with fc6 and fc7 thinned out to convolutions."""
    number = 0
    for stage in _stages(model.backbone):
        for name in stage:
            yield Row(str(number), f"backbone/{name}/conv", "conv_bias")
            number += 2
        number += 1
    yield Row(str(number), "fc6/conv", "conv_bias")
    yield Row(str(number + 2), "fc7/conv", "conv_bias")


def classifier(model: Any) -> Iterator[Row]:
    """torchvision's classifier on the same backbone; its head goes to paths that SSD has not."""
    like = SimpleNamespace(backbone=model.backbone, head=SimpleNamespace(grid=7, num_classes=1000))
    yield from _CLASSIFIERS[type(model.backbone).__name__][0](like)


def has_classifier(model: Any) -> bool:
    """On a VGG or a ResNet as torchvision has them."""
    _, applies = _CLASSIFIERS.get(type(model.backbone).__name__, (None, lambda model: False))
    return applies(model)


_CLASSIFIERS = {
    "ResNet": (classifiers.resnet, classifiers.has_resnet),
    "VGG": (classifiers.vgg, classifiers.has_vgg),
}


def has_ssd(model: Any) -> bool:
    """On a plain VGG with fc6 and fc7, one map rescaled."""
    plain = type(model.backbone).__name__ == "VGG" and model.backbone.norm == model.norm == "none"
    return plain and model.fc > 0 and len(model.rescaled) == 1 and not model.whole


def maps(model: Any) -> tuple[str, ...]:
    """Names of the maps that an SSD with fc6 and fc7 reads, in order."""
    added = (f"conv{k + 8}_2" for k in range(len(model.extras)))
    return (*model.reads, "fc7", *added)


def _stages(backbone: Any) -> list[list[str]]:
    """Our names of VGG's convolutions, by stage."""
    return [
        [f"conv{stage}_{i}" for i in range(1, len(kernels) + 1)]
        for stage, kernels in enumerate(backbone.kernels, start=1)
    ]
