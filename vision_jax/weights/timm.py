"""timm's names of classifiers: github.com/huggingface/pytorch-image-models."""

from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.mobilenet_v2 import BLOCKS
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import conv_norm, vgg_by_number, vgg_map
from vision_jax.weights.torchvision import has_vgg as has_torchvisions_vgg
from vision_jax.weights.torchvision import residual_stages


def resnet(model: Classifier) -> Iterator[Row]:
    """Yields the layers of resnet.py, the deep stem and the averaging shortcuts of -D included."""
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


def resnet_v2(model: Classifier) -> Iterator[Row]:
    """Yields the layers of resnetv2.py, the pre-activation form with batch norm (resnetv2_50)."""
    yield Row("stem.conv", "backbone/conv1", "conv")
    for stage, blocks in enumerate(model.backbone.stages):
        for i in range(blocks):
            theirs, ours = f"stages.{stage}.blocks.{i}", f"backbone/conv{stage + 2}_{i + 1}"
            if i == 0:
                yield Row(f"{theirs}.downsample.conv", f"{ours}/shortcut", "conv")
            for k in (1, 2, 3):
                yield Row(f"{theirs}.norm{k}", f"{ours}/norm{k}", "norm")
                yield Row(f"{theirs}.conv{k}", f"{ours}/conv{k}", "conv")
    yield Row("norm", "backbone/norm", "norm")
    yield Row("head.fc", "head/fc", "dense_pointwise")


def has_resnet_v2(model: Classifier) -> bool:
    """Returns True with bottlenecks."""
    return model.backbone.block == "bottleneck"


def mobilenet_v1(model: Classifier) -> Iterator[Row]:
    """Yields the layers of mobilenetv1_100, whose blocks are numbered within each resolution."""
    yield from conv_norm("conv_stem", "bn1", "backbone/conv1")
    block = 0
    for stage, count in enumerate((1, 2, 2, 6, 2)):
        for i in range(count):
            block += 1
            theirs, ours = f"blocks.{stage}.{i}", f"backbone/block{block}"
            yield from conv_norm(f"{theirs}.conv_dw", f"{theirs}.bn1", f"{ours}/depthwise")
            yield from conv_norm(f"{theirs}.conv_pw", f"{theirs}.bn2", f"{ours}/pointwise")
    yield Row("classifier", "head/fc", "dense_bias")


def mobilenet_v2(model: Classifier) -> Iterator[Row]:
    """Yields the layers of mobilenetv2_100, whose blocks are numbered within each resolution."""
    yield from conv_norm("conv_stem", "bn1", "backbone/conv1")
    stage, i, width = -1, 0, 0
    for block, (expansion, channels, _) in enumerate(BLOCKS, start=1):
        stage, i = (stage, i + 1) if channels == width else (stage + 1, 0)
        width = channels
        theirs, ours = f"blocks.{stage}.{i}", f"backbone/block{block}"
        names = {"conv_pw": "expand", "conv_dw": "depthwise", "conv_pwl": "project"}
        if expansion == 1:  # their first block has another form, which does not widen
            names = {"conv_dw": "depthwise", "conv_pw": "project"}
        for number, (name, path) in enumerate(names.items(), start=1):
            yield from conv_norm(f"{theirs}.{name}", f"{theirs}.bn{number}", f"{ours}/{path}")
    yield from conv_norm("conv_head", "bn2", "backbone/conv_last")
    yield Row("classifier", "head/fc", "dense_bias")


def vgg(model: Classifier) -> Iterator[Row]:
    """Yields the layers of vgg.py, with and without norms; fc6 and fc7 are convolutions there."""
    rows, _ = vgg_by_number(model.backbone, "features.")
    yield from rows
    flat = vgg_map(model.backbone, model.head.grid)
    yield Row("pre_logits.fc1", "head/fc6", "dense_map", flat)
    yield Row("pre_logits.fc2", "head/fc7", "dense_pointwise")
    yield Row("head.fc", "head/fc8", "dense_bias")


def has_vgg(model: Classifier) -> bool:
    """Returns True with two hidden layers on one of the networks that torchvision has."""
    return has_torchvisions_vgg(model) and len(model.head.hidden) == 2


def darknet53(model: Classifier) -> Iterator[Row]:
    """Yields the layers of cspnet.py's form without cross-stage connections (darknet53)."""
    yield from conv_norm("stem.conv1.conv", "stem.conv1.bn", "backbone/conv1")
    for stage, blocks in enumerate(model.backbone.blocks):
        names = {"conv_down": "down"}
        for i in range(blocks):
            names[f"blocks.{i}.conv1"] = f"{i + 1}_reduce"
            names[f"blocks.{i}.conv2"] = f"{i + 1}_expand"
        for name, ours in names.items():
            theirs, path = f"stages.{stage}.{name}", f"backbone/stage{stage + 1}_{ours}"
            yield from conv_norm(f"{theirs}.conv", f"{theirs}.bn", path)
    yield Row("head.fc", "head/fc", "dense_bias")


def has_darknet53(model: nn.Module) -> bool:
    """Returns True for classifiers with torch's batch norm, and the slope of its leaky ReLU."""
    backbone = model.backbone
    is_torchs = backbone.layers.norm_form == "torch" and backbone.slope == 0.01
    return isinstance(model, Classifier) and is_torchs
