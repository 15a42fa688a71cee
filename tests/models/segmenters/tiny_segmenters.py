"""Every segmenter in a size that trains in seconds, and images to train it on.

A new segmenter is one function here and one line in `SEGMENTERS`; test_segmenters.py walks over
them.
"""

import contextlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from vision_jax import data, models
from vision_jax.models.layers import NO_NORM, Layers
from vision_jax.structs import Batch

CLASSES = 9
ENDPOINTS = ("conv1_1", "conv2_2", "conv3_1")  # before the poolings of a short VGG


def fcn(dtype: str = "float32") -> nn.Module:
    """Makes an FCN down to stride 2, with fixed and learned upsampling."""
    layers = Layers(dtype=dtype)
    head = models.FCNHead(CLASSES, (), skips=("conv3_x", "conv2_x", "conv1"), layers=layers)
    return models.FCN(_backbone(stages=(1, 1, 1), layers=layers), head)


def fcn_published(dtype: str = "float32") -> nn.Module:
    """Makes an FCN-8s in the published form, on a thin VGG."""
    layers = NO_NORM.replace(dtype=dtype)
    backbone = models.VGG(((3,),) * 5, 8, ceil_mode=True, layers=layers)
    skips = ("pool4", "pool3")
    head = models.FCNHead(CLASSES, (32, 32), 7, skips, learn="all", layers=layers)
    return models.FCN(backbone, head, margin=99)


def fcn_alexnet(dtype: str = "float32") -> nn.Module:
    """Makes an FCN-32s without a margin, on a thin AlexNet."""
    layers = NO_NORM.replace(dtype=dtype)
    widths, groups = (8, 16, 16, 16, 16), (1,) * 5
    backbone = models.AlexNetBackbone(widths, groups=groups, ceil_mode=True, layers=layers)
    head = models.FCNHead(CLASSES, (32,), 6, learn="none", layers=layers)
    return models.FCN(backbone, head)


def dilated(dtype: str = "float32") -> nn.Module:
    layers = Layers(dtype=dtype)
    heads = [models.ScoreHead(CLASSES, layer=layer, layers=layers) for layer in (0, 1)]
    return models.Dilated(_dilated_backbone(layers), *heads, aux_endpoint="conv2_x")


def deeplab(dtype: str = "float32") -> nn.Module:
    layers = Layers(dtype=dtype)
    head = models.PyramidHead(CLASSES, (1, 2, 4), 32, dropout=0.1, layers=layers)
    return models.Dilated(_dilated_backbone(layers), head)


def segnet(dtype: str = "float32") -> nn.Module:
    """Makes a SegNet of three poolings, whose backbone's maps are read before each."""
    layers = Layers(dtype=dtype)
    head = models.SegNetHead(CLASSES, ENDPOINTS, (1, 2, 1), layers=layers)
    return models.Segmenter(_short_vgg(layers), head)


def deconvnet(dtype: str = "float32") -> nn.Module:
    layers = Layers(dtype=dtype)
    head = models.DeconvNetHead(CLASSES, 32, 2, ENDPOINTS, (1, 2, 1), layers=layers)
    return models.Segmenter(_short_vgg(layers), head)


def full_resolution(dtype: str = "float32") -> nn.Module:
    layers = Layers(dtype=dtype)
    return models.full_resolution(CLASSES, (16,) * 5, (1, 2, 4, 8, 1), layers)


def patches(dtype: str = "float32") -> nn.Module:
    layers = Layers(dtype=dtype)
    backbone = models.FullResolutionBackbone((16, 16), (1, 2), layers)
    return models.PatchSegmenter(backbone, models.PoolHead(CLASSES, layers=layers), 9, 4)


# By name: the segmenter, and image pixels per pixel of the finest map that it scores.
SEGMENTERS: dict[str, tuple[Callable[..., nn.Module], int]] = {
    "fcn": (fcn, 2),
    "fcn_published": (fcn_published, 8),
    "fcn_alexnet": (fcn_alexnet, 32),
    "dilated": (dilated, 4),
    "deeplab": (deeplab, 4),
    "segnet": (segnet, 1),
    "deconvnet": (deconvnet, 1),
    "full_resolution": (full_resolution, 1),
    "patches": (patches, 4),
}


def images(count: int = 4) -> Batch:
    """Loads the first embedded images, whose outlines are void."""
    source = data.TFDS(name="shapes/seg64", split=f"train[:{count}]", fields=("segmentation",))
    pipeline = data.Eval(source, batch_size=count)
    with contextlib.closing(pipeline.batches()) as batches:
        return jax.tree.map(jnp.asarray, next(iter(batches)))


def _backbone(**options) -> nn.Module:
    return models.ResNet(block="basic", stem="deep", width=16, **options)


def _dilated_backbone(layers: Layers) -> nn.Module:
    return _backbone(stages=(1, 1), dilate=(True,), layers=layers)


def _short_vgg(layers: Layers) -> nn.Module:
    return models.VGG(((3,), (3, 3), (3,)), 16, keep=ENDPOINTS, layers=layers)
