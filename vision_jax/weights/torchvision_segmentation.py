"""torchvision's names of segmenters (torchvision/models/segmentation), and its classifiers in them.

A table of a classifier gives a segmenter the backbone and, as convolutions, the fully connected
layers; the classifier's other layers find no place in the segmenter, and are left out by
`engine.restore`.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from vision_jax.weights import torchvision
from vision_jax.weights.engine import Row


def dilated(model: Any) -> Iterator[Row]:
    """fcn.py and deeplabv3.py on a ResNet."""
    yield from torchvision.conv_norm("backbone.conv1", "backbone.bn1", "backbone/conv1")
    for row in torchvision.residual_stages(model.backbone):
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
    return type(model.backbone).__name__ == "ResNet" and torchvision.has_resnet(model)


def classifier(model: Any) -> Iterator[Row]:
    """The classifier on a segmenter's backbone: fc6 and fc7 are convolutions, the rest not used."""
    head = model.head
    hidden = getattr(head, "hidden", ())
    widths = (hidden, hidden) if isinstance(hidden, int) else hidden
    inner = "/conv" if type(head).__name__ == "DeconvNetHead" else ""
    rows, _ = _CLASSIFIERS[type(model.backbone).__name__]
    for row in rows(_as_classifier(model)):
        if widths and row.path in ("head/fc6", "head/fc7"):
            flat = row.flat or (widths[0], 1, 1)
            row = dataclasses.replace(row, path=row.path + inner, kind="dense_window", flat=flat)
        yield row


def has_classifier(model: Any) -> bool:
    """On a backbone whose classifier torchvision has."""
    _, applies = _CLASSIFIERS.get(type(model.backbone).__name__, (None, lambda model: False))
    return applies(_as_classifier(model))


@dataclasses.dataclass(frozen=True)
class _FcHead:
    """What the classifiers' tables ask of a head."""

    grid: int
    num_classes: int = 1000
    aux: bool = True


@dataclasses.dataclass(frozen=True)
class _Classifier:
    backbone: Any
    head: _FcHead


def _as_classifier(model: Any) -> _Classifier:
    return _Classifier(model.backbone, _FcHead(getattr(model.head, "window", 1)))


# The classifiers' tables, by backbone, and which variants they are for.
_CLASSIFIERS = {
    "AlexNetBackbone": (torchvision.alexnet, torchvision.has_alexnet),
    "GoogLeNetBackbone": (torchvision.googlenet, torchvision.has_googlenet),
    "ResNet": (torchvision.resnet, torchvision.has_resnet),
    "VGG": (torchvision.vgg, torchvision.has_vgg),
}


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
