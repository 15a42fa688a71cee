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
from vision_jax.structs import Batch

CLASSES = 9
READS = ("conv1_1", "conv2_2", "conv3_1")  # before the poolings of a short VGG


def fcn(dtype: str = "float32") -> nn.Module:
    """Down to stride 2, fixed and learned upsampling."""
    skips = ("conv3_x", "conv2_x", "conv1")
    head = models.FCNHead(CLASSES, (), skips=skips, dtype=dtype)
    return models.FCN(_backbone(stages=(1, 1, 1), dtype=dtype), head)


def fcn_published(dtype: str = "float32") -> nn.Module:
    """8s in the published form, on a thin VGG."""
    backbone = models.VGG(((3,),) * 5, 8, ceil_mode=True, dtype=dtype)
    head = models.FCNHead(CLASSES, (32, 32), 7, ("pool4", "pool3"), learn="all", dtype=dtype)
    return models.FCN(backbone, head, margin=99)


def fcn_alexnet(dtype: str = "float32") -> nn.Module:
    """32s without a margin, on a thin AlexNet."""
    backbone = models.AlexNetBackbone(
        (8, 16, 16, 16, 16), groups=(1,) * 5, ceil_mode=True, dtype=dtype
    )
    return models.FCN(backbone, models.FCNHead(CLASSES, (32,), 6, learn="none", dtype=dtype))


def dilated(dtype: str = "float32") -> nn.Module:
    heads = [models.ScoreHead(CLASSES, layer=layer, dtype=dtype) for layer in (0, 1)]
    return models.Dilated(_dilated_backbone(dtype), *heads, aux_reads="conv2_x")


def deeplab(dtype: str = "float32") -> nn.Module:
    head = models.PyramidHead(CLASSES, (1, 2, 4), 32, dropout=0.1, dtype=dtype)
    return models.Dilated(_dilated_backbone(dtype), head)


def segnet(dtype: str = "float32") -> nn.Module:
    """Three poolings; the backbone's maps are read before each."""
    head = models.SegNetHead(CLASSES, READS, (1, 2, 1), dtype=dtype)
    return models.Segmenter(_short_vgg(dtype), head)


def deconvnet(dtype: str = "float32") -> nn.Module:
    head = models.DeconvNetHead(CLASSES, 32, 2, READS, (1, 2, 1), dtype=dtype)
    return models.Segmenter(_short_vgg(dtype), head)


def full_resolution(dtype: str = "float32") -> nn.Module:
    return models.full_resolution(CLASSES, (16,) * 5, (1, 2, 4, 8, 1), dtype=dtype)


def patches(dtype: str = "float32") -> nn.Module:
    backbone = models.FullResolutionBackbone((16, 16), (1, 2), dtype=dtype)
    return models.PatchSegmenter(backbone, models.PoolHead(CLASSES, dtype=dtype), 9, 4)


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
    """The first embedded images, whose outlines are void."""
    source = data.TFDS(name="shapes/seg64", split=f"train[:{count}]", fields=("segmentation",))
    pipeline = data.Eval(source, batch_size=count)
    with contextlib.closing(pipeline.batches()) as batches:
        return jax.tree.map(jnp.asarray, next(iter(batches)))


def _backbone(**options) -> nn.Module:
    return models.ResNet(block="basic", stem="deep", width=16, **options)


def _dilated_backbone(dtype: str) -> nn.Module:
    return _backbone(stages=(1, 1), dilate=(True,), dtype=dtype)


def _short_vgg(dtype: str) -> nn.Module:
    return models.VGG(((3,), (3, 3), (3,)), 16, keep=READS, norm="sync", dtype=dtype)
