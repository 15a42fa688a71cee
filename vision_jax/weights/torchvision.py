"""torchvision's names of classifiers: github.com/pytorch/vision, torchvision/models."""

from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.classifiers.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.classifiers.googlenet import TABLE, GoogLeNetBackbone, GoogLeNetHead
from vision_jax.models.classifiers.inception_v3 import MODULES, STEM, Layer
from vision_jax.models.classifiers.mobilenet_v2 import BLOCKS
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import (
    conv_norm,
    fully_connected,
    is_plain_resnet,
    residual_layers,
    vgg_by_number,
    vgg_map,
)


def resnet(model: Classifier) -> Iterator[Row]:
    """Yields the layers of resnet.py."""
    yield from conv_norm("conv1", "bn1", "backbone/conv1")
    yield from residual_stages(model.backbone)
    if model.head.num_classes:
        yield Row("fc", "head/fc", "dense_bias")


def has_resnet(model: Classifier) -> bool:
    """Returns True without tweaks of the stem and of the shortcuts."""
    return is_plain_resnet(model.backbone)


def residual_stages(backbone: nn.Module, projection: tuple[str, str] = ("0", "1")) -> Iterator[Row]:
    """Yields layer1 to layer4.

    Args:
      backbone: a `ResNet`.
      projection: numbers of the convolution and of the norm of a `downsample`.
    """
    for stage, blocks in enumerate(backbone.stages, start=1):
        projects = backbone.residual and (stage > 1 or backbone.block == "bottleneck")
        for i, names in residual_layers(blocks, backbone.block, projects):
            theirs, ours = f"layer{stage}.{i}", f"backbone/conv{stage + 1}_{i + 1}"
            for name in names:
                conv, norm = f"{theirs}.{name}", f"{theirs}.bn{name[-1]}"
                if name == "shortcut":
                    conv, norm = (f"{theirs}.downsample.{k}" for k in projection)
                yield from conv_norm(conv, norm, f"{ours}/{name}")


def vgg(model: Classifier) -> Iterator[Row]:
    """Yields the layers of vgg.py, with and without norms."""
    rows, _ = vgg_by_number(model.backbone, "features.")
    yield from rows
    flat = vgg_map(model.backbone, model.head.grid)
    yield from fully_connected(("classifier.0", "classifier.3", "classifier.6"), flat)


def has_vgg(model: Classifier) -> bool:
    """Returns True without response normalisation and 1x1 kernels: not for A-LRN and C."""
    return not model.backbone.lrn and all(set(stage) == {3} for stage in model.backbone.kernels)


def alexnet(model: Classifier) -> Iterator[Row]:
    """Yields the layers of alexnet.py."""
    for number, name in ((0, "conv1"), (3, "conv2"), (6, "conv3"), (8, "conv4"), (10, "conv5")):
        yield Row(f"features.{number}", f"backbone/{name}", "conv_bias")
    flat = (model.backbone.features[-1], model.head.grid, model.head.grid)
    yield from fully_connected(("classifier.1", "classifier.4", "classifier.6"), flat)


def has_alexnet(model: Classifier) -> bool:
    """Returns True for the single tower without response normalisation."""
    return not any(model.backbone.lrn) and set(model.backbone.groups) == {1}


def googlenet(model: Classifier) -> Iterator[Row]:
    """Yields the layers of googlenet.py."""
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
    for module in TABLE:
        for theirs, ours in layers.items():
            name = f"{module}.{theirs}"
            yield from conv_norm(f"{name}.conv", f"{name}.bn", f"backbone/{module}/{ours}")
    if model.head.aux:
        for name in ("aux1", "aux2"):
            yield from conv_norm(f"{name}.conv.conv", f"{name}.conv.bn", f"head/{name}/conv")
            yield Row(f"{name}.fc1", f"head/{name}/fc1", "dense_bias", (128, 4, 4))
            yield Row(f"{name}.fc2", f"head/{name}/fc2", "dense_bias")
    yield Row("fc", "head/fc", "dense_bias")


def has_googlenet(model: Classifier) -> bool:
    """Returns True with batch normalisation, reductions, and 3x3 for the paper's 5x5."""
    backbone = model.backbone
    return backbone.layers.norm != "none" and not backbone.naive and backbone.kernel == 3


def inception_v3(model: Classifier) -> Iterator[Row]:
    """Yields the layers of inception.py, whose names are ours too."""
    names = [layer.name for layer in STEM if isinstance(layer, Layer)]
    for module, branches in MODULES.items():
        for branch in branches:
            for step in branch:
                fork = step if isinstance(step, tuple) and not isinstance(step, Layer) else (step,)
                names += [f"{module}/{layer.name}" for layer in fork if isinstance(layer, Layer)]
    for name in names:
        theirs = name.replace("/", ".")
        yield from conv_norm(f"{theirs}.conv", f"{theirs}.bn", f"backbone/{name}")
    if model.head.aux:
        for name in ("conv0", "conv1"):
            theirs = f"AuxLogits.{name}"
            yield from conv_norm(f"{theirs}.conv", f"{theirs}.bn", f"head/aux_{name}")
        yield Row("AuxLogits.fc", "head/aux_fc", "dense_bias")
    yield Row("fc", "head/fc", "dense_bias")


def mobilenet_v2(model: Classifier) -> Iterator[Row]:
    """Yields the layers of mobilenetv2.py.

    The first block does not widen, which shifts its numbers.
    """
    yield from conv_norm("features.0.0", "features.0.1", "backbone/conv1")
    for block, (expansion, _, _) in enumerate(BLOCKS, start=1):
        theirs, ours = f"features.{block}.conv", f"backbone/block{block}"
        first = 0 if expansion == 1 else 1
        if first:
            yield from conv_norm(f"{theirs}.0.0", f"{theirs}.0.1", f"{ours}/expand")
        yield from conv_norm(f"{theirs}.{first}.0", f"{theirs}.{first}.1", f"{ours}/depthwise")
        yield from conv_norm(f"{theirs}.{first + 1}", f"{theirs}.{first + 2}", f"{ours}/project")
    last = len(BLOCKS) + 1
    yield from conv_norm(f"features.{last}.0", f"features.{last}.1", "backbone/conv_last")
    yield Row("classifier.1", "head/fc", "dense_bias")


def classifier_of(backbone: nn.Module, grid: int = 7) -> list[Row]:
    """Returns the layers of torchvision's classifier on a backbone, with its own head.

    Detectors and segmenters begin with such files; paths that they have not go unused.

    Args:
      backbone: its variant decides which classifier it is.
      grid: side of the map that fc6 reads, where the classifier has one.

    Returns:
      The rows; none where torchvision has no classifier on the backbone.
    """
    match backbone:
        case AlexNetBackbone():
            model, rows, applies = Classifier(backbone, FcHead(grid=grid)), alexnet, has_alexnet
        case GoogLeNetBackbone():
            model, rows, applies = Classifier(backbone, GoogLeNetHead()), googlenet, has_googlenet
        case ResNet():
            model, rows, applies = Classifier(backbone, PoolHead()), resnet, has_resnet
        case VGG():
            model, rows, applies = Classifier(backbone, FcHead(grid=grid)), vgg, has_vgg
        case _:
            return []
    return [*rows(model)] if applies(model) else []


def has_classifier_of(model: nn.Module) -> bool:
    """Returns True on a backbone whose classifier torchvision has."""
    return bool(classifier_of(model.backbone))
