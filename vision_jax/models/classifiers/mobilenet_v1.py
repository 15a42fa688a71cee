"""MobileNets (Howard et al. 2017, arXiv:1704.04861).

Endpoints: conv1 and the last block at each resolution, block1, block3, block5, block11, block13
(Table 1 numbered). Activations are ReLU6, as in the released code. Initialisation: He normal over
fan-out.
"""

import functools

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers.blocks import ConvNorm, Norm

# Table 1: (channels, stride) of each depthwise separable block.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class MobileNetV1Backbone(nn.Module):
    """conv1 and thirteen depthwise separable blocks; `multiplier` thins every layer."""

    multiplier: float = 1.0
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
        conv = functools.partial(ConvNorm, norm=self.norm, act=nn.relu6, dtype=self.dtype)
        x = conv(round(32 * self.multiplier), 3, 2, 1, name="conv1")(image, train)
        endpoints = {"conv1": x}
        for i, (features, stride) in enumerate(BLOCKS, start=1):
            width = round(features * self.multiplier)
            x = Separable(width, stride, self.norm, self.dtype, name=f"block{i}")(x, train)
            if f"block{i}" in self.strides:
                endpoints[f"block{i}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        found, stride = {"conv1": 2}, 2
        for i, (_, step) in enumerate(BLOCKS, start=1):
            stride *= step
            if i == len(BLOCKS) or BLOCKS[i][1] == 2:  # the last before the next step down
                found[f"block{i}"] = stride
        return found


class Separable(nn.Module):
    """A 3x3 convolution of each channel alone, then a 1x1 convolution over channels (Figure 3)."""

    features: int
    stride: int = 1
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(ConvNorm, norm=self.norm, act=nn.relu6, dtype=self.dtype)
        c = x.shape[-1]
        x = conv(c, 3, self.stride, 1, groups=c, name="depthwise")(x, train)
        return conv(self.features, name="pointwise")(x, train)


def MobileNetV1(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    dropout: float = 0.0,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """MobileNet v1 of the given width multiplier (1.0, 0.75, 0.5 and 0.25 in the paper)."""
    backbone = MobileNetV1Backbone(multiplier, norm, dtype)
    return Classifier(backbone, PoolHead(num_classes, dropout, dtype=dtype))
