"""The Darknets: backbones of YOLO v1 (Redmon et al. 2015, arXiv:1506.02640), YOLO9000 (Redmon &
Farhadi 2016, arXiv:1612.08242, table 6) and YOLOv3 (2018, arXiv:1804.02767, table 1).

Endpoints are the stages, stage1, stage2, …: the last map before the resolution falls again. All
activations are leaky ReLU with slope 0.1. Initialisation: He normal over fan-out.
"""

import math
from typing import Literal

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.kernels.materialize import stored
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers.blocks import BatchNorm, Conv, GroupNorm, Norm
from vision_jax.ops.pool import max_pool

Form = Literal["torch", "darknet"]
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
# Of YOLO v2 and v3 tiny; its last pooling keeps the resolution.
TINY: Stages = tuple(((3, 16 * 2**i),) for i in range(7))
TINY_POOLS = (2, 2, 2, 2, 2, 1)


class ConvLeaky(nn.Module):
    """Convolution, normalisation, leaky ReLU. Submodules `conv` and `norm`.

    Fields:
      kernel, stride: pixels; padding keeps the resolution but for the stride.
      norm: 'sync', 'local', 'frozen', 'group' or 'none', as in `blocks.norm`; with 'none' the
        convolution has a bias.
      form: of batch norm: 'torch' (eps 1e-5, momentum 0.9), or 'darknet' (sqrt(var) + 1e-6,
        unbiased in training, momentum 0.99).
      slope: of the activation where its input is negative.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    norm: Norm = "sync"
    form: Form = "torch"
    dtype: str = "float32"
    slope: float = 0.1

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        has_bias = self.norm == "none"
        size = self.kernel, self.stride, self.kernel // 2
        x = Conv(self.features, *size, use_bias=has_bias, dtype=self.dtype, name="conv")(x)
        if self.norm == "group":
            x = GroupNorm(dtype=self.dtype, name="norm")(x, train)
        elif not has_bias:
            momentum, eps = (0.9, 1e-5) if self.form == "torch" else (0.99, 1e-6)
            x = BatchNorm(self.norm, momentum, eps, dtype=self.dtype, form=self.form, name="norm")(
                x, train
            )
        return nn.leaky_relu(x, self.slope)


class Darknet(nn.Module):
    """A backbone of convolutions in a row, with a max pooling between stages.

    Fields:
      stages: see `DARKNET19`, `EXTRACTION`, `FAST`, `TINY`.
      pools: stride of the pooling before each stage but the first; missing ones are 2. All windows
        are 2×2, and one that does not stride reaches over the right and the lower border.
      same_fill: what such a window finds there: '-inf' as Darknet has it, or '0'.
      norm, form: see `ConvLeaky`.
      dtype: compute dtype.
    """

    stages: Stages = DARKNET19
    pools: tuple[int, ...] = ()
    same_fill: Literal["-inf", "0"] = "-inf"
    norm: Norm = "sync"
    form: Form = "torch"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints (b, h / stride, w / stride, c); see `Classifier` for the arguments."""
        x, endpoints = image, {}
        for stage, convs in enumerate(self.stages, start=1):
            if stage > 1:
                x = self._pool(x, self.pool_strides[stage - 2])
            for i, (kernel, features, *stride) in enumerate(convs, start=1):
                unit = ConvLeaky(
                    features,
                    kernel,
                    *(stride or (1,)),
                    self.norm,
                    self.form,
                    self.dtype,
                    name=f"conv{stage}_{i}",
                )
                x = unit(x, train)
            endpoints[f"stage{stage}"] = x
        return endpoints

    @property
    def pool_strides(self) -> tuple[int, ...]:
        """Of the pooling before each stage but the first."""
        return (*self.pools, *(2,) * (len(self.stages) - 1 - len(self.pools)))

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        found, stride = {}, 1
        for stage, convs in enumerate(self.stages, start=1):
            stride *= self.pool_strides[stage - 2] if stage > 1 else 1
            stride *= math.prod(conv[2] for conv in convs if len(conv) > 2)
            found[f"stage{stage}"] = stride
        return found

    def _pool(self, x, stride):
        if stride == 2:
            return max_pool(x, 2)
        over = ((0, 1), (0, 1))
        if self.same_fill == "-inf":
            return max_pool(x, 2, 1, over)
        return max_pool(jax.numpy.pad(x, ((0, 0), *over, (0, 0))), 2, 1)


class ResidualDarknet(nn.Module):
    """Darknet-53's backbone: every stage halves the resolution, then adds residual blocks.

    Fields:
      blocks: residual blocks (1×1 to half the channels, 3×3 back) per stage.
      width: channels of the first convolution; they double at every stage.
      norm, form: see `ConvLeaky`.
      dtype: compute dtype.
      slope: see `ConvLeaky`; timm's weights are for 0.01.
    """

    blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    width: int = 32
    norm: Norm = "sync"
    form: Form = "torch"
    dtype: str = "float32"
    slope: float = 0.1

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints (b, h / stride, w / stride, c); see `Classifier` for the arguments."""

        def unit(x, features, kernel, stride, name):
            parts = self.norm, self.form, self.dtype, self.slope
            return ConvLeaky(features, kernel, stride, *parts, name=name)(x, train)

        x, endpoints = unit(image, self.width, 3, 1, "conv1"), {}
        for stage, blocks in enumerate(self.blocks, start=1):
            features = self.width * 2**stage
            x = unit(x, features, 3, 2, f"stage{stage}_down")
            for i in range(1, blocks + 1):
                y = unit(x, features // 2, 1, 1, f"stage{stage}_{i}_reduce")
                x = stored(x + unit(y, features, 3, 1, f"stage{stage}_{i}_expand"))
            endpoints[f"stage{stage}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {f"stage{stage}": 2**stage for stage in range(1, len(self.blocks) + 1)}


def Darknet19(
    num_classes: int = 1000, norm: Norm = "sync", form: Form = "torch", dtype: str = "float32"
) -> Classifier:
    """Darknet-19. Its last 1×1 convolution, then averaged, is the same as `PoolHead`."""
    backbone = Darknet(DARKNET19, norm=norm, form=form, dtype=dtype)
    return Classifier(backbone, PoolHead(num_classes, dtype=dtype))


def Darknet53(
    num_classes: int = 1000,
    norm: Norm = "sync",
    form: Form = "torch",
    slope: float = 0.1,
    dtype: str = "float32",
) -> Classifier:
    """Darknet-53; timm's has slope 0.01."""
    backbone = ResidualDarknet(norm=norm, form=form, dtype=dtype, slope=slope)
    return Classifier(backbone, PoolHead(num_classes, dtype=dtype))


def Extraction(
    num_classes: int = 1000, norm: Norm = "sync", form: Form = "torch", dtype: str = "float32"
) -> Classifier:
    """The twenty convolutions of YOLO v1 as they are pretrained, at 224 pixels.

    `norm='none'` is the paper's, 'sync' the framework's.
    """
    backbone = Darknet(EXTRACTION, norm=norm, form=form, dtype=dtype)
    return Classifier(backbone, PoolHead(num_classes, dtype=dtype))
