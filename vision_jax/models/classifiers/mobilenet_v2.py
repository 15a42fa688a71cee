"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381).

Endpoints: conv1, the last block at each resolution (block1, block3, block6, block13), conv_last.
Initialisation: He normal over fan-out.
"""

import functools

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import ConvNorm, Endpoints, Images, Keys, Layers, residual_add

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
    """Returns the multiple of `divisor` nearest to `channels`, but no less than 90 % of it."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest


class MobileNetV2Backbone(nn.Module):
    """MobileNetV2's backbone: conv1, seventeen inverted residual blocks and 1x1 `conv_last`.

    Fields:
      multiplier: thins every layer but the last, which it only widens.
      layers: how layers normalise and compute.
    """

    multiplier: float = 1.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = functools.partial(ConvNorm, act=nn.relu6, layers=self.layers)
        x = conv(rounded(32 * self.multiplier), 3, 2, 1, name="conv1")(images, train=train)
        endpoints = {"conv1": x}
        for i, (expansion, features, stride) in enumerate(BLOCKS, start=1):
            width = rounded(features * self.multiplier)
            block = InvertedResidual(width, expansion, stride, self.layers, name=f"block{i}")
            x = block(x, train=train)
            if f"block{i}" in self.strides:
                endpoints[f"block{i}"] = x
        last = rounded(1280 * max(1.0, self.multiplier))
        endpoints["conv_last"] = conv(last, name="conv_last")(x, train=train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {"conv1": 2}, 2
        for i, (_, _, step) in enumerate(BLOCKS[:-1], start=1):
            stride *= step
            if BLOCKS[i][2] == 2:  # the last before the next step down
                strides[f"block{i}"] = stride
        return strides | {"conv_last": stride}


class InvertedResidual(nn.Module):
    """An inverted residual block: widens by 1x1, filters each channel by 3x3, narrows by 1x1.

    The last 1x1 is linear; the input is added where the block neither strides nor changes the
    number of channels.
    """

    features: int
    expansion: int = 6
    stride: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(ConvNorm, act=nn.relu6, layers=self.layers)
        wide = x.shape[-1] * self.expansion
        y = conv(wide, name="expand")(x, train=train) if self.expansion != 1 else x
        y = conv(wide, 3, self.stride, 1, groups=wide, name="depthwise")(y, train=train)
        y = conv(self.features, act=None, name="project")(y, train=train)
        return residual_add(x, y) if self.stride == 1 and x.shape[-1] == self.features else y


def MobileNetV2(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    dropout: float = 0.2,
    layers: Layers = Layers(),
) -> Classifier:
    """Makes MobileNetV2 of the given width multiplier (0.35 to 1.4 in the paper)."""
    backbone = MobileNetV2Backbone(multiplier, layers)
    return Classifier(backbone, PoolHead(num_classes, dropout, layers=layers))
