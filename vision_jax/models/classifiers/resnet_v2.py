"""Identity Mappings in Deep Residual Networks (He et al. 2016, arXiv:1603.05027): pre-activation.

Endpoints: conv1, conv2_x to conv5_x, and `final`, conv5_x after the last norm and ReLU.
Initialisation: He normal over fan-out.
"""

import functools
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.kernels.materialize import stored
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.models.layers.blocks import Conv, Norm, StochasticDepth, norm
from vision_jax.ops.pool import max_pool


class ResNetV2(nn.Module):
    """The backbone. Fields as in `ResNet`; a block strides in its 3x3, a projection has no norm."""

    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    width: int = 64
    drop_path: float = 0.0
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints; see `Classifier` for the arguments."""
        conv = Conv(self.width, 7, 2, 3, use_bias=False, dtype=self.dtype, name="conv1")
        x = conv(image)
        endpoints = {"conv1": x}
        x = max_pool(x, 3, 2, padding=1)
        number = 0
        for stage, blocks in enumerate(self.stages):
            for i in range(blocks):
                number += 1
                x = PreActivation(
                    self.width * 2**stage,
                    self.block,
                    2 if stage > 0 and i == 0 else 1,
                    self.drop_path * number / sum(self.stages),
                    number,
                    self.norm,
                    self.dtype,
                    name=f"conv{stage + 2}_{i + 1}",
                )(x, train, keys)
            endpoints[f"conv{stage + 2}_x"] = x
        endpoints["final"] = nn.relu(norm(self.norm, "norm", self.dtype)(x, train))
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        stages = {f"conv{s + 2}_x": 2 ** (s + 2) for s in range(len(self.stages))}
        return {"conv1": 2, **stages, "final": 2 ** (len(self.stages) + 1)}


class PreActivation(nn.Module):
    """Norm and ReLU before each convolution (Figure 4e); the sum stays untouched."""

    width: int
    block: Literal["basic", "bottleneck"] = "bottleneck"
    stride: int = 1
    drop_path: float = 0.0
    layer: int = 0
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
        if self.block == "bottleneck":
            shapes = ((self.width, 1, 1), (self.width, 3, self.stride), (self.width * 4, 1, 1))
        else:
            shapes = ((self.width, 3, self.stride), (self.width, 3, 1))
        features = shapes[-1][0]
        y, shortcut = x, x
        for i, (channels, kernel, stride) in enumerate(shapes, start=1):
            y = nn.relu(norm(self.norm, f"norm{i}", self.dtype)(y, train))
            if i == 1 and (self.stride > 1 or x.shape[-1] != features):
                shortcut = conv(features, 1, self.stride, name="shortcut")(y)
            y = conv(channels, kernel, stride, kernel // 2, name=f"conv{i}")(y)
        y = StochasticDepth(self.drop_path, self.layer)(y, train, keys)
        return stored(shortcut + y)


def resnet_v2(
    depth: int,
    num_classes: int = 1000,
    drop_path: float = 0.0,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """The pre-activation form of a depth of `resnet.DEPTHS`."""
    stages, block = DEPTHS[depth]
    backbone = ResNetV2(stages, block, drop_path=drop_path, norm=norm, dtype=dtype)
    return Classifier(backbone, PoolHead(num_classes, dtype=dtype))


def ResNet50V2(num_classes: int = 1000, norm: Norm = "sync", dtype: str = "float32") -> Classifier:
    """50 layers, pre-activation."""
    return resnet_v2(50, num_classes, norm=norm, dtype=dtype)
