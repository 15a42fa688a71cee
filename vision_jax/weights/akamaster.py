"""Names of github.com/akamaster/pytorch_resnet_cifar10, resnet.py."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row
from vision_jax.weights.torchvision import conv_norm


def resnet_cifar(model: Any) -> Iterator[Row]:
    """resnet20 to resnet1202, without the 'module.' that data-parallel training prefixes."""
    yield from conv_norm("conv1", "bn1", "backbone/conv1")
    for stage in (1, 2, 3):
        for i in range(model.backbone.blocks):
            for k in (1, 2):
                theirs, ours = f"layer{stage}.{i}", f"backbone/stage{stage}_{i + 1}/conv{k}"
                yield from conv_norm(f"{theirs}.conv{k}", f"{theirs}.bn{k}", ours)
    yield Row("linear", "head/fc", "dense_bias")
