"""torchvision's names: github.com/pytorch/vision, torchvision/models."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row


def conv_norm(conv: str, norm: str, path: str) -> Iterator[Row]:
    """A convolution without bias and its batch norm; `path` is our ConvNorm."""
    yield Row(conv, f"{path}/conv", "conv")
    yield Row(norm, f"{path}/norm", "norm")


def resnet(model: Any) -> Iterator[Row]:
    """resnet.py."""
    yield from conv_norm("conv1", "bn1", "backbone/conv1")
    yield from residual_stages(model.backbone)
    if model.head.num_classes:
        yield Row("fc", "head/fc", "dense_bias")


def has_resnet(model: Any) -> bool:
    """No tweaks of the stem or of the shortcuts."""
    return model.backbone.stem == "plain" and model.backbone.shortcut == "conv"


def residual_stages(backbone: Any, projection: tuple[str, str] = ("0", "1")) -> Iterator[Row]:
    """layer1 to layer4; `projection` numbers the convolution and the norm of a `downsample`."""
    bottleneck = backbone.block == "bottleneck"
    for stage, blocks in enumerate(backbone.stages):
        for i in range(blocks):
            theirs, ours = f"layer{stage + 1}.{i}", f"backbone/conv{stage + 2}_{i + 1}"
            for k in range(1, 4 if bottleneck else 3):
                yield from conv_norm(f"{theirs}.conv{k}", f"{theirs}.bn{k}", f"{ours}/conv{k}")
            if backbone.residual and i == 0 and (stage > 0 or bottleneck):
                conv, norm = (f"{theirs}.downsample.{k}" for k in projection)
                yield from conv_norm(conv, norm, f"{ours}/shortcut")


def vgg(model: Any) -> Iterator[Row]:
    """vgg.py: layers numbered through, pooling, norms and activations included."""
    backbone, number, channels = model.backbone, 0, 0
    for stage, kernels in enumerate(backbone.kernels, start=1):
        channels = backbone.width * 2 ** min(stage - 1, 3)
        for i in range(1, len(kernels) + 1):
            path = f"backbone/conv{stage}_{i}"
            yield Row(f"features.{number}", f"{path}/conv", "conv_bias")
            if backbone.norm != "none":
                yield Row(f"features.{number + 1}", f"{path}/norm", "norm")
            number += 2 if backbone.norm == "none" else 3
        number += 1
    flat = (channels, model.head.grid, model.head.grid)
    yield from fully_connected(("classifier.0", "classifier.3", "classifier.6"), flat)


def has_vgg(model: Any) -> bool:
    """No response normalisation and only 3x3 kernels: no A-LRN, no C."""
    return not model.backbone.lrn and all(set(stage) == {3} for stage in model.backbone.kernels)


def alexnet(model: Any) -> Iterator[Row]:
    """alexnet.py."""
    for number, name in ((0, "conv1"), (3, "conv2"), (6, "conv3"), (8, "conv4"), (10, "conv5")):
        yield Row(f"features.{number}", f"backbone/{name}", "conv_bias")
    flat = (model.backbone.features[-1], model.head.grid, model.head.grid)
    yield from fully_connected(("classifier.1", "classifier.4", "classifier.6"), flat)


def has_alexnet(model: Any) -> bool:
    """The single tower without response normalisation."""
    return not any(model.backbone.lrn) and set(model.backbone.groups) == {1}


def fully_connected(names: tuple[str, ...], flat: tuple[int, int, int]) -> Iterator[Row]:
    """fc6, fc7, fc8; `flat` is the map that fc6 reads, (c, h, w)."""
    for i, name in enumerate(names):
        yield Row(name, f"head/fc{i + 6}", "dense_bias", flat if i == 0 else None)


def googlenet(model: Any) -> Iterator[Row]:
    """googlenet.py."""
    for name in ("conv1", "conv2", "conv3"):
        yield from conv_norm(f"{name}.conv", f"{name}.bn", f"backbone/{name}")
    layers = {
        "branch1": "conv1x1",
        "branch2.0": "reduce3x3",
        "branch2.1": "conv3x3",
        "branch3.0": "reduce5x5",
        "branch3.1": "conv5x5",
        "branch4.1": "pool_proj",
    }
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        for theirs, ours in layers.items():
            name = f"inception{module}.{theirs}"
            yield from conv_norm(f"{name}.conv", f"{name}.bn", f"backbone/inception{module}/{ours}")
    if model.head.aux:
        for name in ("aux1", "aux2"):
            yield from conv_norm(f"{name}.conv.conv", f"{name}.conv.bn", f"head/{name}/conv")
            yield Row(f"{name}.fc1", f"head/{name}/fc1", "dense_bias", (128, 4, 4))
            yield Row(f"{name}.fc2", f"head/{name}/fc2", "dense_bias")
    yield Row("fc", "head/fc", "dense_bias")


def has_googlenet(model: Any) -> bool:
    """Batch normalisation, reductions, and 3x3 for the paper's 5x5."""
    backbone = model.backbone
    return backbone.norm != "none" and not backbone.naive and backbone.kernel == 3


INCEPTION_STEM = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
)
_GRID35 = (
    "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool"
)
_GRID17 = (
    "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 branch7x7dbl_1 branch7x7dbl_2 "
    "branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 branch_pool"
)
_GRID8 = (
    "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 branch3x3dbl_2 "
    "branch3x3dbl_3a branch3x3dbl_3b branch_pool"
)
INCEPTION_MODULES = {
    **dict.fromkeys(("Mixed_5b", "Mixed_5c", "Mixed_5d"), _GRID35),
    "Mixed_6a": "branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
    **dict.fromkeys(("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"), _GRID17),
    "Mixed_7a": ("branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4"),
    **dict.fromkeys(("Mixed_7b", "Mixed_7c"), _GRID8),
}


def inception_v3(model: Any) -> Iterator[Row]:
    """inception.py."""
    for name in INCEPTION_STEM:
        yield from conv_norm(f"{name}.conv", f"{name}.bn", f"backbone/{name}")
    for module, layers in INCEPTION_MODULES.items():
        for layer in layers.split():
            name = f"{module}.{layer}"
            yield from conv_norm(f"{name}.conv", f"{name}.bn", f"backbone/{module}/{layer}")
    if model.head.aux:
        for name in ("conv0", "conv1"):
            theirs = f"AuxLogits.{name}"
            yield from conv_norm(f"{theirs}.conv", f"{theirs}.bn", f"head/aux_{name}")
        yield Row("AuxLogits.fc", "head/aux_fc", "dense_bias")
    yield Row("fc", "head/fc", "dense_bias")


def mobilenet_v2(model: Any) -> Iterator[Row]:
    """mobilenetv2.py; the first block does not widen, which shifts its numbers."""
    yield from conv_norm("features.0.0", "features.0.1", "backbone/conv1")
    for block in range(1, 18):
        theirs, ours = f"features.{block}.conv", f"backbone/block{block}"
        wide = 0 if block == 1 else 1
        if wide:
            yield from conv_norm(f"{theirs}.0.0", f"{theirs}.0.1", f"{ours}/expand")
        yield from conv_norm(f"{theirs}.{wide}.0", f"{theirs}.{wide}.1", f"{ours}/depthwise")
        yield from conv_norm(f"{theirs}.{wide + 1}", f"{theirs}.{wide + 2}", f"{ours}/project")
    yield from conv_norm("features.18.0", "features.18.1", "backbone/conv_last")
    yield Row("classifier.1", "head/fc", "dense_bias")
