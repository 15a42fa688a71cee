"""Names of github.com/akamaster/pytorch_resnet_cifar10, resnet.py."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row


def resnet_cifar(model: Any) -> Iterator[Row]:
    """resnet20 to resnet1202, without the 'module.' that data-parallel training prefixes."""
    yield Row("conv1", "trunk/conv1/conv", "conv")
    yield Row("bn1", "trunk/conv1/norm", "norm")
    for stage in (1, 2, 3):
        for i in range(model.trunk.blocks):
            for k in (1, 2):
                theirs, ours = f"layer{stage}.{i}", f"trunk/stage{stage}_{i + 1}/conv{k}"
                yield Row(f"{theirs}.conv{k}", f"{ours}/conv", "conv")
                yield Row(f"{theirs}.bn{k}", f"{ours}/norm", "norm")
    yield Row("linear", "head/fc", "dense_bias")
