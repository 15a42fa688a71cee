"""The small residual nets for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2).

6n + 2 weighted layers: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels on
maps of 32, 16 and 8 pixels, global average pooling, one linear layer. Shortcuts hold no parameters
(option A). Endpoints: conv1, stage1, stage2, stage3.
"""

import functools
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import (
    ConvNorm,
    Endpoints,
    Images,
    Keys,
    Layers,
    StochasticDepth,
    he_fan_out,
    residual_relu,
)


class ResNetCifar(nn.Module):
    """The residual backbone for small images: conv1 and three stages.

    Fields:
      blocks: n, residual blocks per stage.
      width: channels of the first stage.
      residual: False gives the plain net.
      identity_after: in plain nets, blocks of each stage beyond this number start as the identity,
        exactly so without norm; 0 starts all at random. So a shallow net's weights make a deeper
        net of the same function (section 1's solution by construction).
      pad: where option A's new channels (zeros) go: 'split', half on either side, as in the public
        PyTorch code whose weights exist; 'after', as in He's.
      zero_gamma: start every branch's last norm at scale 0.
      drop_path: probability of dropping a branch, see `drop_rule` (Huang et al. 2016).
      drop_rule: 'linear', from 0 at the input to `drop_path` at the last block; or 'uniform'.
      layers: how layers normalise and compute.
    """

    blocks: int = 9
    width: int = 16
    residual: bool = True
    pad: Literal["split", "after"] = "split"
    zero_gamma: bool = False
    drop_path: float = 0.0
    drop_rule: Literal["linear", "uniform"] = "linear"
    identity_after: int = 0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        x = ConvNorm(self.width, 3, 1, 1, layers=self.layers, name="conv1")(images, train=train)
        endpoints = {"conv1": x}
        number = 0
        for stage in (1, 2, 3):
            for i in range(1, self.blocks + 1):
                number += 1
                share = number / (3 * self.blocks) if self.drop_rule == "linear" else 1.0
                x = BlockA(
                    self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and i == 1 else 1,
                    residual=self.residual,
                    pad=self.pad,
                    zero_gamma=self.zero_gamma,
                    drop_path=self.drop_path * share,
                    layer=number,
                    identity=0 < self.identity_after < i,
                    layers=self.layers,
                    name=f"stage{stage}_{i}",
                )(x, train=train, keys=keys)
            endpoints[f"stage{stage}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"conv1": 1, "stage1": 1, "stage2": 2, "stage3": 4}


class BlockA(nn.Module):
    """A block of two 3x3 convolutions; its shortcut takes every second pixel, new channels zero.

    `layer` numbers the block for stochastic depth; with `identity` it starts as the identity.
    """

    width: int
    stride: int = 1
    residual: bool = True
    pad: Literal["split", "after"] = "split"
    zero_gamma: bool = False
    drop_path: float = 0.0
    layer: int = 0
    identity: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ho wo o"]:
        start = as_identity if self.identity else he_fan_out
        conv = functools.partial(
            ConvNorm, self.width, 3, padding=1, kernel_init=start, layers=self.layers
        )
        y = conv(stride=self.stride, name="conv1")(x, train=train)
        zero_scale = self.zero_gamma and self.residual
        y = conv(act=None, zero_scale=zero_scale, name="conv2")(y, train=train)
        if not self.residual:
            return nn.relu(y)
        y = StochasticDepth(self.drop_path, self.layer)(y, train=train, keys=keys)
        return residual_relu(self._shortcut(x), y)

    def _shortcut(self, x):
        new_channels = self.width - x.shape[-1]
        before = new_channels // 2 if self.pad == "split" else 0
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, new_channels - before)))


def as_identity(
    key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Float[Array, "kh kw c o"]:
    """Initialises a convolution's kernel, of odd sides, so that it passes each channel on as it is.

    `key` is not used.
    """
    height, width, inputs, outputs = shape
    one = jnp.eye(inputs, outputs, dtype=dtype)
    return jnp.zeros(shape, dtype).at[height // 2, width // 2].set(one)


def CifarResNet(
    depth: int = 56,
    num_classes: int = 10,
    width: int = 16,
    residual: bool = True,
    pad: Literal["split", "after"] = "split",
    zero_gamma: bool = False,
    drop_path: float = 0.0,
    drop_rule: Literal["linear", "uniform"] = "linear",
    layers: Layers = Layers(),
) -> Classifier:
    """Makes the net of `depth` = 6n + 2 layers: 20, 32, 44, 56, 110 in the paper, 8, 14 for demos.

    The other arguments are `ResNetCifar`'s.

    Raises:
      UserError: a depth that is not 6n + 2.
    """
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"CIFAR ResNets have 6n + 2 layers (8, 14, 20, 32, 56, 110), not {depth}")
    backbone = ResNetCifar(
        blocks=(depth - 2) // 6,
        width=width,
        residual=residual,
        pad=pad,
        zero_gamma=zero_gamma,
        drop_path=drop_path,
        drop_rule=drop_rule,
        layers=layers,
    )
    return Classifier(backbone, PoolHead(num_classes, layers=layers))
