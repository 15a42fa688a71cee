"""torchvision's names: github.com/pytorch/vision, torchvision/models."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row


def resnet(model: Any) -> Iterator[Row]:
    """torchvision/models/resnet.py."""
    yield Row("conv1", "trunk/conv1/conv", "conv")
    yield Row("bn1", "trunk/conv1/norm", "norm")
    yield from residual_stages(model.trunk, first_projects=model.trunk.block == "bottleneck")
    if model.head.num_classes:
        yield Row("fc", "head/fc", "dense_bias")


def residual_stages(
    trunk: Any, first_projects: bool, projection: tuple[str, str] = ("0", "1")
) -> Iterator[Row]:
    """layer1 to layer4; `projection` numbers the convolution and the norm of a `downsample`."""
    for stage, blocks in enumerate(trunk.stages):
        for i in range(blocks):
            theirs = f"layer{stage + 1}.{i}"
            ours = f"trunk/conv{stage + 2}_{i + 1}"
            for k in range(1, 4 if trunk.block == "bottleneck" else 3):
                yield Row(f"{theirs}.conv{k}", f"{ours}/conv{k}/conv", "conv")
                yield Row(f"{theirs}.bn{k}", f"{ours}/conv{k}/norm", "norm")
            if trunk.residual and i == 0 and (stage > 0 or first_projects):
                conv, norm = projection
                yield Row(f"{theirs}.downsample.{conv}", f"{ours}/shortcut/conv", "conv")
                yield Row(f"{theirs}.downsample.{norm}", f"{ours}/shortcut/norm", "norm")
