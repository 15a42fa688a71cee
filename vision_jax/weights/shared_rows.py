"""Rows, and walks over our layers, that the tables of several sources share."""

from collections.abc import Iterator
from typing import TypeGuard

from flax import linen as nn

from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.weights.engine import Row

BATCH_NORMS = ("sync", "local", "frozen")  # kinds with one running statistic per channel


def conv_norm(conv: str, norm: str, path: str) -> Iterator[Row]:
    """Yields a convolution without bias and its batch norm; `path` is our ConvNorm."""
    yield Row(conv, f"{path}/conv", "conv")
    yield Row(norm, f"{path}/norm", "norm")


def fully_connected(names: tuple[str, ...], flat: tuple[int, int, int]) -> Iterator[Row]:
    """Yields fc6, fc7, …; `flat` is the map that fc6 reads, (c, h, w)."""
    for i, name in enumerate(names):
        yield Row(name, f"head/fc{i + 6}", "dense_bias", flat if i == 0 else None)


def vgg_stages(backbone: nn.Module) -> list[list[str]]:
    """Returns the names of a `VGG`'s convolutions, 'conv1_1' to 'conv5_3', stage by stage."""
    return [
        [f"conv{stage}_{i}" for i in range(1, len(kernels) + 1)]
        for stage, kernels in enumerate(backbone.kernels, start=1)
    ]


def vgg_by_name(backbone: nn.Module) -> Iterator[Row]:
    """Yields a `VGG`'s convolutions as sources name them that keep the authors' names."""
    for stage in vgg_stages(backbone):
        for name in stage:
            yield Row(name, f"backbone/{name}/conv", "conv_bias")


def vgg_by_number(
    backbone: nn.Module, prefix: str = "", separate: int = 0
) -> tuple[list[Row], int]:
    """Returns a `VGG`'s convolutions, and the number of the layer that comes after them.

    Layers are numbered through: convolutions, norms, activations and, after each stage, a pooling.

    Args:
      backbone: the network.
      prefix: of the numbers, 'features.'.
      separate: so many stages at the end are left out.
    """
    rows, number = [], 0
    has_norms = backbone.layers.norm != "none"
    stages = vgg_stages(backbone)
    for stage in stages[: len(stages) - separate]:
        for name in stage:
            rows.append(Row(f"{prefix}{number}", f"backbone/{name}/conv", "conv_bias"))
            if has_norms:
                rows.append(Row(f"{prefix}{number + 1}", f"backbone/{name}/norm", "norm"))
            number += 3 if has_norms else 2
        number += 1
    return rows, number


def vgg_map(backbone: nn.Module, grid: int) -> tuple[int, int, int]:
    """Returns the shape (c, h, w) of the map that fc6 reads; `grid` is its side."""
    return backbone.width * 2 ** min(len(backbone.kernels) - 1, 3), grid, grid


def is_plain_resnet(backbone: nn.Module) -> TypeGuard[ResNet]:
    """Returns True for a ResNet without tweaks of the stem and of the shortcuts."""
    is_resnet = isinstance(backbone, ResNet)
    return is_resnet and backbone.stem == "plain" and backbone.shortcut == "conv"


def residual_layers(
    blocks: int, block: str, projects: bool = True
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the blocks of a residual stage: their numbers from 0 and their convolutions' names.

    Args:
      blocks: how many.
      block: 'basic' or 'bottleneck'.
      projects: the first block's shortcut is a convolution.
    """
    names = ("conv1", "conv2", "conv3")[: 3 if block == "bottleneck" else 2]
    for i in range(blocks):
        yield i, (*names, "shortcut") if projects and i == 0 else names
