"""The names of SSD on VGG in torchvision and in github.com/amdegroot/ssd.pytorch."""

import dataclasses
from collections.abc import Iterator

from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.ssd import SSD
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.shared_rows import vgg_by_number, vgg_stages
from vision_jax.weights.torchvision import classifier_of
from vision_jax.weights.torchvision_retinanet import COCO_NUMBERS, LABELS


def torchvision(model: SSD) -> Iterator[Row]:
    """Yields the layers of torchvision's ssd.py.

    A head of 91 labels gives background and COCO's 80 classes to a network of 80. Networks for 512
    pixels have no published weights.
    """
    rows, _ = vgg_by_number(model.backbone, "backbone.features.", separate=1)
    yield from rows
    last = vgg_stages(model.backbone)[-1]
    for k, name in enumerate(last):
        yield Row(f"backbone.extra.0.{2 * k + 1}", f"backbone/{name}/conv", "conv_bias")
    fc = f"backbone.extra.0.{2 * len(last) + 1}"
    yield Row(f"{fc}.1", "fc6/conv", "conv_bias")
    yield Row(f"{fc}.3", "fc7/conv", "conv_bias")
    yield Row("backbone", f"{model.l2_normalized[0]}_scale", "scale_weight")
    for k in range(len(model.extras)):
        for i in (1, 2):
            name = f"backbone.extra.{k + 1}.{2 * (i - 1)}"
            yield Row(name, f"conv{k + 8}_{i}/conv", "conv_bias")
    counts = model.default_boxes.boxes_per_cell
    for k, (name, count) in enumerate(zip(maps(model), counts, strict=True)):
        pick = None
        if model.num_classes == len(COCO_NUMBERS):
            pick = Pick((count, LABELS), 1, (0, *COCO_NUMBERS))
        head = "head.{}_head.module_list." + str(k)
        yield Row(head.format("classification"), f"{name}_class", "conv_bias", pick=pick)
        yield Row(head.format("regression"), f"{name}_box", "conv_bias")


def amdegroot(model: SSD) -> Iterator[Row]:
    """Yields the layers of ssd.pytorch's ssd.py."""
    for row in amdegroot_vgg(model):
        yield dataclasses.replace(row, reference=f"vgg.{row.reference}")
    yield Row("L2Norm", f"{model.l2_normalized[0]}_scale", "scale")
    for k in range(2 * len(model.extras)):
        yield Row(f"extras.{k}", f"conv{k // 2 + 8}_{k % 2 + 1}/conv", "conv_bias")
    for k, name in enumerate(maps(model)):
        yield Row(f"loc.{k}", f"{name}_box", "conv_bias")
        yield Row(f"conf.{k}", f"{name}_class", "conv_bias")


def amdegroot_vgg(model: SSD) -> Iterator[Row]:
    """Yields the layers of vgg16_reducedfc.pth.

    It is ImageNet's VGG-16, with fc6 and fc7 thinned out to convolutions.
    """
    rows, number = vgg_by_number(model.backbone)
    yield from rows
    yield Row(str(number), "fc6/conv", "conv_bias")
    yield Row(str(number + 2), "fc7/conv", "conv_bias")


def classifier(model: SSD) -> Iterator[Row]:
    """Yields torchvision's classifier on the same backbone, whose head goes unused."""
    yield from classifier_of(model.backbone)


def has_ssd(model: SSD) -> bool:
    """Returns True on a plain VGG with fc6 and fc7, one map rescaled."""
    backbone = model.backbone
    is_plain = isinstance(backbone, VGG) and backbone.layers.norm == model.layers.norm == "none"
    return is_plain and model.fc > 0 and len(model.l2_normalized) == 1 and not model.global_map


def maps(model: SSD) -> tuple[str, ...]:
    """Returns the names of the maps that an SSD with fc6 and fc7 reads, in order."""
    added = (f"conv{k + 8}_2" for k in range(len(model.extras)))
    return (*model.feature_endpoints, "fc7", *added)
