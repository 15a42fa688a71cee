"""Bag of Tricks for Image Classification (He et al. 2018, arXiv:1812.01187): the model tweaks.

Section 4. ResNet-B strides in the 3x3, which is `ResNet`'s version 'v1.5'; C replaces the 7x7 stem
by three 3x3; D is both, and its strided shortcuts average before their 1x1.
"""

from vision_jax.models.classifiers.classifier import Classifier
from vision_jax.models.classifiers.resnet import resnet
from vision_jax.models.layers.blocks import Norm


def ResNet50B(
    num_classes: int = 1000,
    zero_gamma: bool = False,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """ResNet-50 with tweak B."""
    return resnet(50, num_classes, "v1.5", zero_gamma=zero_gamma, norm=norm, dtype=dtype)


def ResNet50C(
    num_classes: int = 1000,
    zero_gamma: bool = False,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """ResNet-50 with tweaks B and C."""
    return resnet(50, num_classes, "v1.5", "deep", zero_gamma=zero_gamma, norm=norm, dtype=dtype)


def ResNet50D(
    num_classes: int = 1000,
    zero_gamma: bool = False,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """ResNet-50-D: all three tweaks."""
    return resnet_d(50, num_classes, zero_gamma, norm, dtype)


def resnet_d(
    depth: int,
    num_classes: int = 1000,
    zero_gamma: bool = False,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """The D form of any depth of `resnet.DEPTHS`."""
    options = {"zero_gamma": zero_gamma, "norm": norm, "dtype": dtype}
    return resnet(depth, num_classes, "v1.5", "deep", "pool", **options)
