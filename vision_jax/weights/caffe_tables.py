"""Names of layers in Caffe's model zoo, VGG's and SSD's files; see `caffe` for what is in them."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row
from vision_jax.weights.ssd import maps

_INCEPTION = {
    "1x1": "conv1x1",
    "3x3_reduce": "reduce3x3",
    "3x3": "conv3x3",
    "5x5_reduce": "reduce5x5",
    "5x5": "conv5x5",
    "pool_proj": "pool_proj",
}


def vgg(model: Any) -> Iterator[Row]:
    """VGG_ILSVRC_16_layers and VGG_ILSVRC_19_layers."""
    yield from _vgg_backbone(model.backbone)
    channels = model.backbone.width * 2 ** min(len(model.backbone.kernels) - 1, 3)
    yield from _fully_connected((channels, model.head.grid, model.head.grid))


def has_vgg(model: Any) -> bool:
    """Without norms, and with three fully connected layers."""
    backbone, head = model.backbone, model.head
    return backbone.norm == "none" and not backbone.lrn and len(getattr(head, "hidden", ())) == 2


def alexnet(model: Any) -> Iterator[Row]:
    """bvlc_reference_caffenet and bvlc_alexnet."""
    for i in range(1, 6):
        yield Row(f"conv{i}", f"backbone/conv{i}", "conv_bias")
    yield from _fully_connected((model.backbone.features[-1], model.head.grid, model.head.grid))


def has_alexnet(model: Any) -> bool:
    """Two groups, and response normalisation as Caffe has it."""
    backbone = model.backbone
    return (
        backbone.lrn[0] and backbone.lrn_mean and backbone.lrn_k == 1 and max(backbone.groups) == 2
    )


def googlenet(model: Any) -> Iterator[Row]:
    """bvlc_googlenet. Its auxiliary classifiers average other windows than ours."""
    stem = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2", "conv2/3x3": "conv3"}
    for theirs, ours in stem.items():
        yield Row(theirs, f"backbone/{ours}/conv", "conv_bias")
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        for theirs, ours in _INCEPTION.items():
            path = f"backbone/inception{module}/{ours}/conv"
            yield Row(f"inception_{module}/{theirs}", path, "conv_bias")
    if model.head.aux:
        for i in (1, 2):
            yield Row(f"loss{i}/conv", f"head/aux{i}/conv/conv", "conv_bias")
            yield Row(f"loss{i}/fc", f"head/aux{i}/fc1", "dense_bias", (128, 4, 4))
            yield Row(f"loss{i}/classifier", f"head/aux{i}/fc2", "dense_bias")
    yield Row("loss3/classifier", "head/fc", "dense_bias")


def has_googlenet(model: Any) -> bool:
    """The paper's form, with response normalisation as Caffe has it."""
    backbone = model.backbone
    paper = backbone.norm == "none" and not backbone.naive and backbone.kernel == 5
    return paper and backbone.lrn and backbone.lrn_k == 1


def ssd(model: Any) -> Iterator[Row]:
    """The paper's SSD300 and SSD512, whose names of added layers are two behind the paper's."""
    yield from _vgg_backbone(model.backbone)
    yield Row("fc6", "fc6/conv", "conv_bias")
    yield Row("fc7", "fc7/conv", "conv_bias")
    names = {"fc7": "fc7"}
    for k in range(len(model.extras)):
        for i in (1, 2):
            yield Row(f"conv{k + 6}_{i}", f"conv{k + 8}_{i}/conv", "conv_bias")
        names[f"conv{k + 8}_2"] = f"conv{k + 6}_2"
    for name in model.rescaled:
        yield Row(f"{name}_norm", f"{name}_scale", "scale")
        names[name] = f"{name}_norm"
    for name in maps(model):
        yield Row(f"{names.get(name, name)}_mbox_loc", f"{name}_box", "conv_bias")
        yield Row(f"{names.get(name, name)}_mbox_conf", f"{name}_class", "conv_bias")


def _vgg_backbone(backbone: Any) -> Iterator[Row]:
    for stage, kernels in enumerate(backbone.kernels, start=1):
        for i in range(1, len(kernels) + 1):
            name = f"conv{stage}_{i}"
            yield Row(name, f"backbone/{name}/conv", "conv_bias")


def _fully_connected(flat: tuple[int, int, int]) -> Iterator[Row]:
    for name in ("fc6", "fc7", "fc8"):
        yield Row(name, f"head/{name}", "dense_bias", flat if name == "fc6" else None)
