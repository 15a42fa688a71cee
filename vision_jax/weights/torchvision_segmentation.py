"""torchvision's names of segmenters (torchvision/models/segmentation), and its classifiers in them.

A table of a classifier gives a segmenter the backbone and, as convolutions, the fully connected
layers; the classifier's other layers find no place in the segmenter, and are left out by
`engine.restore`.
"""

import dataclasses
from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.segmenters.deconvnet import DeconvNetHead
from vision_jax.models.segmenters.deeplab import Dilated, PyramidHead
from vision_jax.models.segmenters.fcn import FCNHead
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import conv_norm, is_plain_resnet
from vision_jax.weights.torchvision import classifier_of, residual_stages


def dilated(model: Dilated) -> Iterator[Row]:
    """Yields the layers of fcn.py and deeplabv3.py on a ResNet."""
    yield from conv_norm("backbone.conv1", "backbone.bn1", "backbone/conv1")
    for row in residual_stages(model.backbone):
        yield dataclasses.replace(row, reference=f"backbone.{row.reference}")
    for part, name, path in (
        (model.head, "classifier", "head"),
        (model.aux, "aux_classifier", "aux"),
    ):
        if isinstance(part, PyramidHead):
            yield from _pyramid(part, name, path)
        elif part is not None:
            yield from conv_norm(f"{name}.0", f"{name}.1", f"{path}/conv")
            yield Row(f"{name}.4", f"{path}/score", "conv_bias")


def has_dilated(model: Dilated) -> bool:
    """Returns True on a ResNet as torchvision has it."""
    return is_plain_resnet(model.backbone)


def classifier(model: nn.Module) -> Iterator[Row]:
    """Yields torchvision's classifier on a segmenter's backbone.

    Its fc6 and fc7 are convolutions here, the rest of its head goes unused.
    """
    widths: tuple[int, ...] = ()
    window, inner = 1, ""
    match model.head:
        case FCNHead() as head:
            widths, window = head.hidden, head.window
        case DeconvNetHead() as head:
            widths, window, inner = (head.hidden, head.hidden), head.window, "/conv"
    for row in classifier_of(model.backbone, window):
        if widths and row.path in ("head/fc6", "head/fc7"):
            flat = row.flat or (widths[0], 1, 1)
            row = dataclasses.replace(row, path=row.path + inner, kind="dense_window", flat=flat)
        yield row


def _pyramid(part: PyramidHead, name: str, path: str) -> Iterator[Row]:
    """Yields the layers of DeepLab's head at `path`, the reference's part `name`."""
    branches = ["conv1x1", *(f"rate{rate}" for rate in part.rates)]
    for i, branch in enumerate(branches):
        theirs = f"{name}.0.convs.{i}"
        yield from conv_norm(f"{theirs}.0", f"{theirs}.1", f"{path}/{branch}")
    image = f"{name}.0.convs.{len(branches)}"  # after its pooling, number 0
    yield from conv_norm(f"{image}.1", f"{image}.2", f"{path}/image")
    project = f"{name}.0.project"
    yield from conv_norm(f"{project}.0", f"{project}.1", f"{path}/project")
    yield from conv_norm(f"{name}.1", f"{name}.2", f"{path}/conv")
    yield Row(f"{name}.4", f"{path}/score", "conv_bias")
