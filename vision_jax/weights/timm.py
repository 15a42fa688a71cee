"""timm's names: github.com/huggingface/pytorch-image-models."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row
from vision_jax.weights.torchvision import conv_norm, residual_stages


def resnet(model: Any) -> Iterator[Row]:
    """resnet.py: torchvision's names, with the deep stem and the averaging shortcuts of -D."""
    backbone = model.backbone
    if backbone.stem == "deep":
        yield from conv_norm("conv1.0", "conv1.1", "backbone/conv1_1")
        yield from conv_norm("conv1.3", "conv1.4", "backbone/conv1_2")
        yield from conv_norm("conv1.6", "bn1", "backbone/conv1_3")
    else:
        yield from conv_norm("conv1", "bn1", "backbone/conv1")
    yield from residual_stages(backbone, ("1", "2") if backbone.shortcut == "pool" else ("0", "1"))
    if model.head.num_classes:
        yield Row("fc", "head/fc", "dense_bias")


def resnet_v2(model: Any) -> Iterator[Row]:
    """resnetv2.py, the pre-activation form with batch norm (resnetv2_50)."""
    backbone = model.backbone
    yield Row("stem.conv", "backbone/conv1", "conv")
    for stage, blocks in enumerate(backbone.stages):
        for i in range(blocks):
            theirs, ours = f"stages.{stage}.blocks.{i}", f"backbone/conv{stage + 2}_{i + 1}"
            if i == 0:
                yield Row(f"{theirs}.downsample.conv", f"{ours}/shortcut", "conv")
            for k in (1, 2, 3):
                yield Row(f"{theirs}.norm{k}", f"{ours}/norm{k}", "norm")
                yield Row(f"{theirs}.conv{k}", f"{ours}/conv{k}", "conv")
    yield Row("norm", "backbone/norm", "norm")
    yield Row("head.fc", "head/fc", "dense_pointwise")


def has_resnet_v2(model: Any) -> bool:
    """Bottlenecks only."""
    return model.backbone.block == "bottleneck"


def mobilenet_v1(model: Any) -> Iterator[Row]:
    """mobilenetv1_100: blocks numbered within each resolution."""
    yield from conv_norm("conv_stem", "bn1", "backbone/conv1")
    block = 0
    for stage, count in enumerate((1, 2, 2, 6, 2)):
        for i in range(count):
            block += 1
            theirs, ours = f"blocks.{stage}.{i}", f"backbone/block{block}"
            yield from conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}/depthwise")
            yield from conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}/pointwise")
    yield Row("classifier", "head/fc", "dense_bias")


def darknet53(model: Any) -> Iterator[Row]:
    """cspnet.py, the form without cross-stage connections (darknet53)."""
    yield from conv_norm("stem.conv1.conv", "stem.conv1.bn", "backbone/conv1")
    for stage, blocks in enumerate(model.backbone.blocks):
        names = {"conv_down": "down"}
        for i in range(blocks):
            names[f"blocks.{i}.conv1"] = f"{i + 1}_reduce"
            names[f"blocks.{i}.conv2"] = f"{i + 1}_expand"
        for theirs, ours in names.items():
            theirs = f"stages.{stage}.{theirs}"
            yield from conv_norm(
                f"{theirs}.conv", f"{theirs}.bn", f"backbone/stage{stage + 1}_{ours}"
            )
    yield Row("head.fc", "head/fc", "dense_bias")


def has_darknet53(model: Any) -> bool:
    """Classifiers with PyTorch's batch norm, and the slope of its leaky ReLU."""
    is_theirs = model.backbone.form == "torch" and model.backbone.slope == 0.01
    return type(model).__name__ == "Classifier" and is_theirs
