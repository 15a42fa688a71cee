"""torchvision's names of segmenters: torchvision/models/segmentation."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from vision_jax.weights import torchvision
from vision_jax.weights.engine import Row


def dilated(model: Any) -> Iterator[Row]:
    """fcn.py and deeplabv3.py on a ResNet."""
    yield from torchvision.conv_norm("backbone.conv1", "backbone.bn1", "trunk/conv1")
    for row in torchvision.residual_stages(model.trunk):
        yield dataclasses.replace(row, reference=f"backbone.{row.reference}")
    for name, path in (("classifier", "head"), ("aux_classifier", "aux")):
        part = getattr(model, path)
        if type(part).__name__ == "PyramidHead":
            yield from _pyramid(part, name, path)
        elif part is not None:
            yield from torchvision.conv_norm(f"{name}.0", f"{name}.1", f"{path}/conv")
            yield Row(f"{name}.4", f"{path}/score", "conv_bias")


def has_dilated(model: Any) -> bool:
    """On a ResNet as torchvision has it."""
    return type(model.trunk).__name__ == "ResNet" and torchvision.has_resnet(model)


def _pyramid(part: Any, name: str, path: str) -> Iterator[Row]:
    branches = ["conv1x1", *(f"rate{rate}" for rate in part.rates)]
    for i, branch in enumerate(branches):
        theirs = f"{name}.0.convs.{i}"
        yield from torchvision.conv_norm(f"{theirs}.0", f"{theirs}.1", f"{path}/{branch}")
    image = f"{name}.0.convs.{len(branches)}"  # after its pooling, number 0
    yield from torchvision.conv_norm(f"{image}.1", f"{image}.2", f"{path}/image")
    project = f"{name}.0.project"
    yield from torchvision.conv_norm(f"{project}.0", f"{project}.1", f"{path}/project")
    yield from torchvision.conv_norm(f"{name}.1", f"{name}.2", f"{path}/conv")
    yield Row(f"{name}.4", f"{path}/score", "conv_bias")
