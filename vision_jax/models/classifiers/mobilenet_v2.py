"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

Endpoints: conv1, the last block at each resolution (block1, block3, block6, block13), conv_last.
Initialisation: He normal over fan-out.
"""

import functools

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.kernels.materialize import stored
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers.blocks import ConvNorm, Norm

# Table 2: (expansion t, channels c, repeats n, stride s).
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# (expansion, channels, stride) of each of the seventeen blocks.
BLOCKS = tuple((t, c, s if i == 0 else 1) for t, c, n, s in TABLE for i in range(n))


def rounded(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, but no less than 90 % of it."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


class MobileNetV2Backbone(nn.Module):
    """conv1, seventeen inverted residual blocks and a 1x1 convolution, `conv_last`.

    `multiplier` thins every layer but the last, which it only widens.
    """

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
        x = conv(rounded(32 * self.multiplier), 3, 2, 1, name="conv1")(image, train)
        endpoints = {"conv1": x}
        for i, (expansion, features, stride) in enumerate(BLOCKS, start=1):
            x = InvertedResidual(
                rounded(features * self.multiplier),
                expansion,
                stride,
                self.norm,
                self.dtype,
                name=f"block{i}",
            )(x, train)
            if f"block{i}" in self.strides:
                endpoints[f"block{i}"] = x
        last = rounded(1280 * max(1.0, self.multiplier))
        endpoints["conv_last"] = conv(last, name="conv_last")(x, train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        found, stride = {"conv1": 2}, 2
        for i, (_, _, step) in enumerate(BLOCKS[:-1], start=1):
            stride *= step
            if BLOCKS[i][2] == 2:  # the last before the next step down
                found[f"block{i}"] = stride
        return found | {"conv_last": stride}


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by a linear 1x1; add the input if it fits.

    It fits where the block neither strides nor changes the number of channels.
    """

    features: int
    expansion: int = 6
    stride: int = 1
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(ConvNorm, norm=self.norm, act=nn.relu6, dtype=self.dtype)
        wide = x.shape[-1] * self.expansion
        y = conv(wide, name="expand")(x, train) if self.expansion != 1 else x
        y = conv(wide, 3, self.stride, 1, groups=wide, name="depthwise")(y, train)
        y = conv(self.features, act=None, name="project")(y, train)
        return stored(x + y) if self.stride == 1 and x.shape[-1] == self.features else y


def MobileNetV2(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    dropout: float = 0.2,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """MobileNetV2 of the given width multiplier (0.35 to 1.4 in the paper)."""
    backbone = MobileNetV2Backbone(multiplier, norm, dtype)
    return Classifier(backbone, PoolHead(num_classes, dropout, dtype=dtype))
