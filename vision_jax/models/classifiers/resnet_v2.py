"""Identity Mappings in Deep Residual Networks (He et al. 2016, arXiv:1603.05027): pre-activation.

Endpoints: conv1, conv2_x to conv5_x, and `final`, conv5_x after the last norm and ReLU.
Initialisation: He normal over fan-out.
"""

import functools
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.models.layers import (
    Conv,
    Endpoints,
    Images,
    Keys,
    Layers,
    StochasticDepth,
    norm,
    residual_add,
    variant,
)
from vision_jax.ops.pool import max_pool


class ResNetV2(nn.Module):
    """The pre-activation backbone: conv1, stages of residual blocks, a last norm and ReLU.

    The fields are those of `ResNet`. A block strides in its 3x3, a projection has no norm.
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    width: int = 64
    drop_path: float = 0.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = Conv(self.width, 7, 2, 3, use_bias=False, layers=self.layers, name="conv1")
        x = conv(images)
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
                    self.layers,
                    name=f"conv{stage + 2}_{i + 1}",
                )(x, train=train, keys=keys)
            endpoints[f"conv{stage + 2}_x"] = x
        endpoints["final"] = nn.relu(norm(self.layers, "norm")(x, train=train))
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        stages = {f"conv{s + 2}_x": 2 ** (s + 2) for s in range(len(self.stages))}
        return {"conv1": 2, **stages, "final": 2 ** (len(self.stages) + 1)}


class PreActivation(nn.Module):
    """A block with norm and ReLU before each convolution (Figure 4e); the sum stays untouched."""

    width: int
    block: Literal["basic", "bottleneck"] = "bottleneck"
    stride: int = 1
    drop_path: float = 0.0
    layer: int = 0
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(Conv, use_bias=False, layers=self.layers)
        if self.block == "bottleneck":
            shapes = ((self.width, 1, 1), (self.width, 3, self.stride), (self.width * 4, 1, 1))
        else:
            shapes = ((self.width, 3, self.stride), (self.width, 3, 1))
        features = shapes[-1][0]
        y, shortcut = x, x
        for i, (channels, kernel, stride) in enumerate(shapes, start=1):
            y = nn.relu(norm(self.layers, f"norm{i}")(y, train=train))
            if i == 1 and (self.stride > 1 or x.shape[-1] != features):
                shortcut = conv(features, 1, self.stride, name="shortcut")(y)
            y = conv(channels, kernel, stride, kernel // 2, name=f"conv{i}")(y)
        y = StochasticDepth(self.drop_path, self.layer)(y, train=train, keys=keys)
        return residual_add(shortcut, y)


def resnet_v2(
    depth: int, num_classes: int = 1000, drop_path: float = 0.0, layers: Layers = Layers()
) -> Classifier:
    """Makes the pre-activation form of a depth of `resnet.DEPTHS`; see `ResNetV2`."""
    stages, block = DEPTHS[depth]
    backbone = ResNetV2(stages, block, drop_path=drop_path, layers=layers)
    return Classifier(backbone, PoolHead(num_classes, layers=layers))


ResNet50V2 = variant("ResNet50V2", resnet_v2, "Makes ResNet-50, pre-activation.", depth=50)
