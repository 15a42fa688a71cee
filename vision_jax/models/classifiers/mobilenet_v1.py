"""MobileNets (Howard et al. 2017, arXiv:1704.04861).

Endpoints: conv1 and the last block at each resolution, block1, block3, block5, block11, block13
(Table 1 numbered). Activations are ReLU6, as in the released code. Initialisation: He normal over
fan-out.
"""

import functools

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import ConvNorm, Endpoints, Images, Keys, Layers, Same

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
    """MobileNet v1's backbone: conv1 and thirteen depthwise separable blocks.

    Fields:
      multiplier: thins every layer.
      padding: of the 3×3 convolutions; 'same' is TensorFlow's, with which its weights were trained.
      layers: how layers normalise and compute.
    """

    multiplier: float = 1.0
    padding: int | Same = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        conv = functools.partial(ConvNorm, act=nn.relu6, layers=self.layers)
        width = round(32 * self.multiplier)
        x = conv(width, 3, 2, self.padding, name="conv1")(images, train=train)
        endpoints = {"conv1": x}
        for i, (features, stride) in enumerate(BLOCKS, start=1):
            width = round(features * self.multiplier)
            block = Separable(width, stride, self.padding, self.layers, name=f"block{i}")
            x = block(x, train=train)
            if f"block{i}" in self.strides:
                endpoints[f"block{i}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {"conv1": 2}, 2
        for i, (_, step) in enumerate(BLOCKS, start=1):
            stride *= step
            if i == len(BLOCKS) or BLOCKS[i][1] == 2:  # the last before the next step down
                strides[f"block{i}"] = stride
        return strides


class Separable(nn.Module):
    """A depthwise separable block: 3x3 over each channel alone, then 1x1 (Figure 3)."""

    features: int
    stride: int = 1
    padding: int | Same = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(ConvNorm, act=nn.relu6, layers=self.layers)
        c = x.shape[-1]
        x = conv(c, 3, self.stride, self.padding, groups=c, name="depthwise")(x, train=train)
        return conv(self.features, name="pointwise")(x, train=train)


def MobileNetV1(
    num_classes: int = 1000,
    multiplier: float = 1.0,
    dropout: float = 0.0,
    layers: Layers = Layers(),
) -> Classifier:
    """Makes MobileNet v1 of the given width multiplier (1.0, 0.75, 0.5 and 0.25 in the paper)."""
    backbone = MobileNetV1Backbone(multiplier, layers=layers)
    return Classifier(backbone, PoolHead(num_classes, dropout, layers=layers))
