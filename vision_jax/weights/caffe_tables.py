"""The names of layers in Caffe's model zoo, VGG's and SSD's files; see `caffe` for their images."""

from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.classifiers.classifier import Classifier, FcHead
from vision_jax.models.classifiers.googlenet import TABLE
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.ssd import SSD
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import fully_connected, vgg_by_name, vgg_map
from vision_jax.weights.ssd import maps

_INCEPTION = {
    "1x1": "conv1x1",
    "3x3_reduce": "reduce3x3",
    "3x3": "conv3x3",
    "5x5_reduce": "reduce5x5",
    "5x5": "conv5x5",
    "pool_proj": "pool_proj",
}
_FULLY_CONNECTED = ("fc6", "fc7", "fc8")


def vgg(model: Classifier) -> Iterator[Row]:
    """Yields the layers of VGG_ILSVRC_16_layers and VGG_ILSVRC_19_layers."""
    yield from vgg_by_name(model.backbone)
    yield from fully_connected(_FULLY_CONNECTED, vgg_map(model.backbone, model.head.grid))


def has_vgg(model: Classifier) -> bool:
    """Returns True without norms, and with three fully connected layers."""
    backbone, head = model.backbone, model.head
    has_three = isinstance(head, FcHead) and len(head.hidden) == 2
    return has_three and backbone.layers.norm == "none" and not backbone.lrn


def vgg_alone(model: nn.Module) -> Iterator[Row]:
    """Yields the convolutions of VGG's files, for a network with such a backbone."""
    yield from vgg_by_name(model.backbone)


def has_vgg_alone(model: nn.Module) -> bool:
    """Returns True on a VGG without norms."""
    backbone = model.backbone
    return isinstance(backbone, VGG) and backbone.layers.norm == "none" and not backbone.lrn


def alexnet(model: Classifier) -> Iterator[Row]:
    """Yields the layers of bvlc_reference_caffenet and bvlc_alexnet."""
    for i in range(1, 6):
        yield Row(f"conv{i}", f"backbone/conv{i}", "conv_bias")
    flat = (model.backbone.features[-1], model.head.grid, model.head.grid)
    yield from fully_connected(_FULLY_CONNECTED, flat)


def has_alexnet(model: Classifier) -> bool:
    """Returns True with two groups, and response normalisation as Caffe has it."""
    backbone = model.backbone
    is_caffes = backbone.lrn[0] and backbone.lrn_mean and backbone.lrn_k == 1
    return is_caffes and max(backbone.groups) == 2


def googlenet(model: Classifier) -> Iterator[Row]:
    """Yields bvlc_googlenet's layers. Its auxiliary heads average other windows than ours."""
    stem = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2", "conv2/3x3": "conv3"}
    for theirs, ours in stem.items():
        yield Row(theirs, f"backbone/{ours}/conv", "conv_bias")
    for module in TABLE:
        for theirs, ours in _INCEPTION.items():
            name = f"{module.replace('inception', 'inception_')}/{theirs}"
            yield Row(name, f"backbone/{module}/{ours}/conv", "conv_bias")
    if model.head.aux:
        for i in (1, 2):
            yield Row(f"loss{i}/conv", f"head/aux{i}/conv/conv", "conv_bias")
            yield Row(f"loss{i}/fc", f"head/aux{i}/fc1", "dense_bias", (128, 4, 4))
            yield Row(f"loss{i}/classifier", f"head/aux{i}/fc2", "dense_bias")
    yield Row("loss3/classifier", "head/fc", "dense_bias")


def has_googlenet(model: Classifier) -> bool:
    """Returns True for the paper's form, with response normalisation as Caffe has it."""
    backbone = model.backbone
    is_papers = backbone.layers.norm == "none" and not backbone.naive and backbone.kernel == 5
    return is_papers and backbone.lrn and backbone.lrn_k == 1


def ssd(model: SSD) -> Iterator[Row]:
    """Yields the layers of the paper's SSD300 and SSD512.

    Their numbers of added layers are two behind the paper's.
    """
    yield from vgg_by_name(model.backbone)
    yield Row("fc6", "fc6/conv", "conv_bias")
    yield Row("fc7", "fc7/conv", "conv_bias")
    names = {"fc7": "fc7"}
    for k in range(len(model.extras)):
        for i in (1, 2):
            yield Row(f"conv{k + 6}_{i}", f"conv{k + 8}_{i}/conv", "conv_bias")
        names[f"conv{k + 8}_2"] = f"conv{k + 6}_2"
    for name in model.l2_normalized:
        yield Row(f"{name}_norm", f"{name}_scale", "scale")
        names[name] = f"{name}_norm"
    for name in maps(model):
        yield Row(f"{names.get(name, name)}_mbox_loc", f"{name}_box", "conv_bias")
        yield Row(f"{names.get(name, name)}_mbox_conf", f"{name}_class", "conv_bias")
