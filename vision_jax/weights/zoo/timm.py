"""timm's published weights on the Hugging Face Hub, from its files of models (version 1.0.31)."""

import dataclasses
import functools
from collections.abc import Iterator

from vision_jax import models
from vision_jax.weights.zoo import networks
from vision_jax.weights.zoo.entry import Entry, Network
from vision_jax.weights.zoo.preprocessing import Preprocessing

_FILE = "model.safetensors"
_APACHE, _BSD = "Apache-2.0", "BSD-3-Clause"
_HALF = (0.5, 0.5, 0.5)
_make = functools.partial


def _bilinear(share: float) -> Preprocessing:
    """Makes the central 224 pixels of so large a share of the short side."""
    return Preprocessing("crop", "pillow-bilinear", short=int(224 / share), size=224)


def _bicubic(size: int, share: float) -> Preprocessing:
    """Makes the central square of so large a share of the short side."""
    return Preprocessing("crop", "pillow-bicubic", short=int(size / share), size=size)


def _halves(images: Preprocessing) -> Preprocessing:
    """Turns images into ones from -1 to 1."""
    return dataclasses.replace(images, mean=_HALF, std=_HALF)


_TV, _A1 = _bilinear(0.875), _bicubic(288, 1.0)
_D = _bicubic(288, 0.95)
_INCEPTION = _halves(_bicubic(299, 0.875))
# Repository, network, preprocessing, licence, metric, experiment, golden.
_ROWS: tuple[tuple[str, Network, Preprocessing, str, str, str, str], ...] = (
    ("resnet18.a1_in1k", models.ResNet18, _A1, _APACHE, "top-1 73.158 (288)", "resnet18",
     "resnet18"),
    ("resnet18.tv_in1k", models.ResNet18, _TV, _BSD, "top-1 69.760", "resnet18", "resnet18"),
    ("resnet34.a1_in1k", models.ResNet34, _A1, _APACHE, "top-1 77.918 (288)", "resnet34",
     "resnet34"),
    ("resnet50.tv_in1k", models.ResNet50, _TV, _BSD, "top-1 76.130", "resnet50", "resnet50"),
    ("resnet50.tv2_in1k", models.ResNet50, _bilinear(0.965), _BSD, "top-1 80.850",
     "resnet50_modern", "resnet50"),
    ("resnet50.a1_in1k", models.ResNet50, _A1, _APACHE, "top-1 81.214 (288)", "resnet50_modern",
     "resnet50"),
    ("resnet50d.ra2_in1k", models.ResNet50D, _D, _APACHE, "top-1 81.356 (288)", "resnet50_d",
     "timm_resnet50d"),
    ("resnet18d.ra2_in1k", _make(models.resnet_d, 18), _D, _APACHE, "top-1 73.794 (288)",
     "resnet50_d", "timm_resnet18d"),
    ("resnet101.a1h_in1k", models.ResNet101, _A1, _APACHE, "top-1 82.778 (288)", "resnet101", ""),
    ("resnet152.a1_in1k", models.ResNet152, _A1, _APACHE, "top-1 82.732 (288)", "resnet152",
     "resnet152"),
    ("resnetv2_50.a1h_in1k", models.ResNet50V2, _halves(_A1), _APACHE,
     "top-1 81.398 (288)", "resnet50", "timm_resnetv2_50"),
    ("vgg11.tv_in1k", models.VGG11, _TV, _BSD, "top-1 69.022", "vgg11", "timm_vgg11"),
    ("vgg16.tv_in1k", models.VGG16, _TV, _BSD, "top-1 71.592", "vgg16", "vgg16"),
    ("vgg16_bn.tv_in1k", _make(models.VGG16, layers=networks.BATCH_NORM), _TV, _BSD,
     "top-1 73.370", "vgg16", "vgg16_bn"),
    ("vgg19.tv_in1k", models.VGG19, _TV, _BSD, "top-1 72.378", "vgg19", "vgg19"),
    ("inception_v3.tv_in1k", models.InceptionV3, _INCEPTION, _APACHE, "top-1 77.434 (299)",
     "inception_v3", "timm_inception_v3"),
    ("inception_v3.tf_in1k", _make(models.InceptionV3, aux=False), _INCEPTION, _APACHE,
     "top-1 77.862 (299)", "inception_v3", "timm_inception_v3"),
    ("mobilenetv1_100.ra4_e3600_r224_in1k", models.MobileNetV1, _halves(_bicubic(256, 0.95)),
     _APACHE, "top-1 75.4 (224), 76.1 (256)", "mobilenet_v1", "timm_mobilenetv1_100"),
    ("mobilenetv2_100.ra_in1k", models.MobileNetV2, _bicubic(224, 0.875), _APACHE,
     "top-1 72.976", "mobilenet_v2", "timm_mobilenetv2_100"),
    ("darknet53.c2ns_in1k", _make(models.Darknet53, slope=0.01), _A1, _APACHE,
     "top-1 80.536 (288)", "darknet53_imagenet", "timm_darknet53"),
)  # fmt: skip


def entries() -> Iterator[Entry]:
    """Yields the rows; in a metric the side of the images is in brackets."""
    for repo, network, preprocessing, licence, metric, experiment, golden in _ROWS:
        reader = "torchvision" if repo.startswith("inception") else "timm"  # the same names
        yield Entry(
            f"timm/{repo}", f"hf:timm/{repo}/{_FILE}", _FILE, reader, network, preprocessing,
            metric, _APACHE, licence, experiment=experiment, golden=golden,
        )  # fmt: skip
