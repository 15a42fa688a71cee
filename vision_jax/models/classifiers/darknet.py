"""The Darknets: backbones of YOLO v1 (Redmon et al. 2015, arXiv:1506.02640), YOLO9000 (Redmon &
Farhadi 2016, arXiv:1612.08242, table 6) and YOLOv3 (2018, arXiv:1804.02767, table 1).

Endpoints are the stages, stage1, stage2, …: the last map before the resolution falls again. All
activations are leaky ReLU with slope 0.1. Initialisation: He normal over fan-out.
"""

import functools
import math
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import (
    Conv,
    ConvNorm,
    Endpoints,
    Images,
    Keys,
    Layers,
    residual_add,
    variant,
)
from vision_jax.ops.pool import max_pool

# Batch norm as the framework Darknet computes it: its published weights are exact with this alone.
DARKNET = Layers(eps=1e-6, momentum=0.99, norm_form="darknet")
SLOPE = 0.1  # of leaky ReLU where its input is negative
# A convolution: (kernel, features) or (kernel, features, stride); a stage: convolutions in a row.
Stages = tuple[tuple[tuple[int, ...], ...], ...]

_ALTERNATE = ((1, 256), (3, 512)) * 4
# YOLO v1's first twenty convolutions, those that are pretrained on ImageNet ("Extraction").
EXTRACTION: Stages = (
    ((7, 64, 2),),
    ((3, 192),),
    ((1, 128), (3, 256), (1, 256), (3, 512)),
    (*_ALTERNATE, (1, 512), (3, 1024)),
    ((1, 512), (3, 1024), (1, 512), (3, 1024)),
)
# The backbone of Fast YOLO as Darknet ships it (yolov1-tiny.cfg).
FAST: Stages = (*(((3, 16 * 2**i),) for i in range(6)), ((3, 1024), (3, 256)))
DARKNET19: Stages = (
    ((3, 32),),
    ((3, 64),),
    ((3, 128), (1, 64), (3, 128)),
    ((3, 256), (1, 128), (3, 256)),
    ((3, 512), (1, 256), (3, 512), (1, 256), (3, 512)),
    ((3, 1024), (1, 512), (3, 1024), (1, 512), (3, 1024)),
)
# The backbone of YOLO v2 tiny and v3 tiny; its last pooling keeps the resolution.
TINY: Stages = tuple(((3, 16 * 2**i),) for i in range(7))
TINY_POOLS = (2, 2, 2, 2, 2, 1)


def conv_leaky(
    features: int,
    kernel: int = 3,
    stride: int = 1,
    slope: float = SLOPE,
    padding: int | None = None,
    *,
    layers: Layers,
    name: str,
) -> ConvNorm:
    """Makes a convolution, its norm and leaky ReLU: a submodule `name`, see `ConvNorm`.

    Padding None keeps the resolution but for the stride.
    """
    padding = kernel // 2 if padding is None else padding
    act = functools.partial(nn.leaky_relu, negative_slope=slope)
    return ConvNorm(features, kernel, stride, padding, act=act, layers=layers, name=name)


class SeparableLeaky(nn.Module):
    """A convolution of each channel alone, then across them, with its norm and leaky ReLU.

    Nothing lies between the two, as in MobileNets there does. Submodules `depthwise` and
    `pointwise`.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        geometry = {"padding": self.kernel // 2, "groups": x.shape[-1], "use_bias": False}
        conv = functools.partial(Conv, x.shape[-1], self.kernel, self.stride, **geometry)
        x = conv(layers=self.layers, name="depthwise")(x)
        return conv_leaky(self.features, 1, layers=self.layers, name="pointwise")(x, train=train)


class Darknet(nn.Module):
    """A backbone of convolutions in a row, with a max pooling between stages.

    Fields:
      stages: see `DARKNET19`, `EXTRACTION`, `FAST`, `TINY`.
      pools: stride of the pooling before each stage but the first; missing ones are 2. All windows
        are 2×2, and one that does not stride reaches over the right and the lower border.
      same_fill: what such a window finds there: '-inf' as Darknet has it, or '0'.
      separable: all convolutions are `SeparableLeaky` but the first, which is not padded, and
        poolings keep the last row and column of an odd map: face-api's form.
      layers: how layers normalise and compute; `DARKNET` for Darknet's own weights.
    """

    stages: Stages = DARKNET19
    pools: tuple[int, ...] = ()
    same_fill: Literal["-inf", "0"] = "-inf"
    separable: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        x, endpoints = images, {}
        for stage, convs in enumerate(self.stages, start=1):
            if stage > 1:
                x = self._pool(x, self.pool_strides[stage - 2])
            for i, (kernel, features, *stride) in enumerate(convs, start=1):
                make = conv_leaky
                if self.separable:
                    is_first = stage == i == 1
                    make = functools.partial(conv_leaky, padding=0) if is_first else SeparableLeaky
                size = features, kernel, *stride
                x = make(*size, layers=self.layers, name=f"conv{stage}_{i}")(x, train=train)
            endpoints[f"stage{stage}"] = x
        return endpoints

    @property
    def pool_strides(self) -> tuple[int, ...]:
        """Strides of the poolings before each stage but the first."""
        return (*self.pools, *(2,) * (len(self.stages) - 1 - len(self.pools)))

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {}, 1
        for stage, convs in enumerate(self.stages, start=1):
            stride *= self.pool_strides[stage - 2] if stage > 1 else 1
            stride *= math.prod(conv[2] for conv in convs if len(conv) > 2)
            strides[f"stage{stage}"] = stride
        return strides

    def _pool(self, x, stride):
        if stride == 2:
            return max_pool(x, 2, ceil_mode=self.separable)
        beyond = ((0, 1), (0, 1))
        if self.same_fill == "-inf":
            return max_pool(x, 2, 1, beyond)
        return max_pool(jnp.pad(x, ((0, 0), *beyond, (0, 0))), 2, 1)


class ResidualDarknet(nn.Module):
    """Darknet-53's backbone: every stage halves the resolution, then adds residual blocks.

    Fields:
      blocks: residual blocks (1×1 to half the channels, 3×3 back) per stage.
      width: channels of the first convolution; they double at every stage.
      slope: of leaky ReLU; timm's weights are for 0.01.
      layers: how layers normalise and compute; `DARKNET` for Darknet's own weights.
    """

    blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    width: int = 32
    slope: float = SLOPE
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        unit = functools.partial(conv_leaky, slope=self.slope, layers=self.layers)
        x, endpoints = unit(self.width, name="conv1")(images, train=train), {}
        for stage, blocks in enumerate(self.blocks, start=1):
            features, name = self.width * 2**stage, f"stage{stage}"
            x = unit(features, 3, 2, name=f"{name}_down")(x, train=train)
            for i in range(1, blocks + 1):
                y = unit(features // 2, 1, name=f"{name}_{i}_reduce")(x, train=train)
                y = unit(features, name=f"{name}_{i}_expand")(y, train=train)
                x = residual_add(x, y)
            endpoints[name] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {f"stage{stage}": 2**stage for stage in range(1, len(self.blocks) + 1)}


def darknet(stages: Stages, num_classes: int = 1000, layers: Layers = Layers()) -> Classifier:
    """Makes the classifier on a plain Darknet.

    Darknet's own ends in a 1×1 convolution whose scores are averaged, which is what `PoolHead`
    computes.
    """
    return Classifier(Darknet(stages, layers=layers), PoolHead(num_classes, layers=layers))


def Darknet53(
    num_classes: int = 1000, slope: float = SLOPE, layers: Layers = Layers()
) -> Classifier:
    """Makes Darknet-53; timm's has slope 0.01."""
    backbone = ResidualDarknet(slope=slope, layers=layers)
    return Classifier(backbone, PoolHead(num_classes, layers=layers))


Darknet19 = variant("Darknet19", darknet, "Makes Darknet-19; see `darknet`.", stages=DARKNET19)
Extraction = variant(
    "Extraction",
    darknet,
    "Makes YOLO v1's twenty convolutions as they are pretrained, at 224 pixels; see `darknet`.\n\n"
    "`layers=Layers(norm=\"none\")` is the paper's, the default the framework's.",
    stages=EXTRACTION,
)
