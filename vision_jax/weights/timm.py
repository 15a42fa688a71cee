"""timm's names: github.com/huggingface/pytorch-image-models."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row
from vision_jax.weights.torchvision import conv_norm, residual_stages


def resnet(model: Any) -> Iterator[Row]:
    """resnet.py: torchvision's names, with the deep stem and the averaging shortcuts of -D."""
    trunk = model.trunk
    if trunk.stem == "deep":
        yield from conv_norm("conv1.0", "conv1.1", "trunk/conv1_1")
        yield from conv_norm("conv1.3", "conv1.4", "trunk/conv1_2")
        yield from conv_norm("conv1.6", "bn1", "trunk/conv1_3")
    else:
        yield from conv_norm("conv1", "bn1", "trunk/conv1")
    yield from residual_stages(trunk, ("1", "2") if trunk.shortcut == "pool" else ("0", "1"))
    if model.head.num_classes:
        yield Row("fc", "head/fc", "dense_bias")


def resnet_v2(model: Any) -> Iterator[Row]:
    """resnetv2.py, the pre-activation form with batch norm (resnetv2_50)."""
    trunk = model.trunk
    yield Row("stem.conv", "trunk/conv1", "conv")
    for stage, blocks in enumerate(trunk.stages):
        for i in range(blocks):
            theirs, ours = f"stages.{stage}.blocks.{i}", f"trunk/conv{stage + 2}_{i + 1}"
            if i == 0:
                yield Row(f"{theirs}.downsample.conv", f"{ours}/shortcut", "conv")
            for k in (1, 2, 3):
                yield Row(f"{theirs}.norm{k}", f"{ours}/norm{k}", "norm")
                yield Row(f"{theirs}.conv{k}", f"{ours}/conv{k}", "conv")
    yield Row("norm", "trunk/norm", "norm")
    yield Row("head.fc", "head/fc", "dense_pointwise")


def has_resnet_v2(model: Any) -> bool:
    """Bottlenecks only."""
    return model.trunk.block == "bottleneck"


def mobilenet_v1(model: Any) -> Iterator[Row]:
    """mobilenetv1_100: blocks numbered within each resolution."""
    yield from conv_norm("conv_stem", "bn1", "trunk/conv1")
    block = 0
    for stage, count in enumerate((1, 2, 2, 6, 2)):
        for i in range(count):
            block += 1
            theirs, ours = f"blocks.{stage}.{i}", f"trunk/block{block}"
            yield from conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}/depthwise")
            yield from conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}/pointwise")
    yield Row("classifier", "head/fc", "dense_bias")
