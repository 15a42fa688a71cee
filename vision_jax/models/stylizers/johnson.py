"""Perceptual Losses for Real-Time Style Transfer and Super-Resolution (Johnson et al. 2016).

arXiv:1603.08155; the layers are those of the supplementary material's tables 1 and 2. The networks
answer with `image`. What range its values have is the losses' affair: the authors' code takes and
gives images of 0..255 minus the channels' means. Initialisation: He normal.
"""

import functools
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.layers import (
    Conv,
    ConvTranspose,
    Endpoints,
    Images,
    Initializer,
    Keys,
    Layers,
    he_fan_out,
    norm,
    residual_add,
)
from vision_jax.ops import initializers
from vision_jax.ops.upsample import nearest

Pad = Literal["none", "zero", "reflect"]
_VALID_BLOCK = 2  # pixels that a residual block without padding takes off each side


class PaddedConv(nn.Module):
    """A convolution with a bias, its norm and ReLU, padded so that stride 1 keeps the map's size.

    Fields:
      features, kernel, stride: of the convolution.
      padding: 'zero', 'reflect', or 'none', which cuts the border off.
      act: ReLU follows.
      kernel_init: of the convolution's kernel.
      layers: how layers normalise and compute.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    padding: Pad = "zero"
    act: bool = True
    kernel_init: Initializer = he_fan_out
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        around = self.kernel // 2
        if self.padding == "reflect":
            x = reflected(x, around)
        padding = around if self.padding == "zero" else 0
        size = self.kernel, self.stride, padding
        conv = Conv(
            self.features, *size, kernel_init=self.kernel_init, layers=self.layers, name="conv"
        )
        x = conv(x)
        x = norm(self.layers, "norm")(x, train=train)
        return nn.relu(x) if self.act else x


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with norms beside an identity; no ReLU after the sum (Gross & Wilber).

    Fields:
      padding: of the convolutions; with 'none' the identity loses two pixels on each side.
      layers: how layers normalise and compute.
    """

    padding: Pad = "zero"
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo c"]:
        conv = functools.partial(PaddedConv, x.shape[-1], padding=self.padding, layers=self.layers)
        branch = conv(name="conv1")(x, train=train)
        branch = conv(act=False, name="conv2")(branch, train=train)
        if self.padding == "none":
            x = x[:, _VALID_BLOCK:-_VALID_BLOCK, _VALID_BLOCK:-_VALID_BLOCK]
        return residual_add(x, branch)


class Doubling(nn.Module):
    """A map of twice the size: a transposed convolution of stride 2, norm, ReLU."""

    features: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        geometry = {"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1}
        x = ConvTranspose(self.features, **geometry, layers=self.layers, name="conv")(x)
        return nn.relu(norm(self.layers, "norm")(x, train=train))


class JohnsonStyle(nn.Module):
    """The network of fast style transfer: a picture in, the same picture in one style out.

    Fields:
      width: channels of the first layer; the two that halve the map double them.
      blocks: residual blocks on the map of a quarter of the size.
      padding: 'start', the paper's: the picture is reflected around its border once, by as much
        as residual blocks without padding then cut off; or 'each': every convolution reflects.
      upsampling: 'transposed' convolutions, the paper's; or 'nearest', pixels repeated before a
        convolution, which leaves no checkerboard.
      limit: the last layer's tanh is multiplied by it; None has no tanh.
      zero_last: start the last layer at zero (not in the paper), so that the network begins with
        the mean colour, and not with pixels at the limit, where the tanh has no slope.
      layers: how layers normalise and compute: batch normalisation in the paper, norm 'instance'
        in the models that its authors released later.
    """

    width: int = 32
    blocks: int = 5
    padding: Literal["start", "each"] = "start"
    upsampling: Literal["transposed", "nearest"] = "transposed"
    limit: float | None = 150.0
    zero_last: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds `image` (b, h, w, 3) and the maps by the layers' names; `keys` are not read."""
        height, width = images.shape[1:3]
        is_start = self.padding == "start"
        x = images
        if is_start:
            x = reflected(images, 4 * _VALID_BLOCK * self.blocks)
        conv = functools.partial(
            PaddedConv, padding="zero" if is_start else "reflect", layers=self.layers
        )
        outputs = {}
        sizes = ((self.width, 9, 1), (2 * self.width, 3, 2), (4 * self.width, 3, 2))
        for i, size in enumerate(sizes, start=1):
            x = outputs[f"conv{i}"] = conv(*size, name=f"conv{i}")(x, train=train)
        within = "none" if is_start else "reflect"
        for i in range(1, self.blocks + 1):
            block = ResidualBlock(within, self.layers, name=f"block{i}")
            x = outputs[f"block{i}"] = block(x, train=train)
        for i, features in enumerate((2 * self.width, self.width), start=1):
            if self.upsampling == "nearest":
                x = conv(features, name=f"up{i}")(nearest(x, 2), train=train)
            else:
                x = Doubling(features, self.layers, name=f"up{i}")(x, train=train)
            outputs[f"up{i}"] = x
        last = {"kernel_init": _last_init(self.zero_last), "layers": self.layers.without_norm()}
        x = conv(3, 9, act=False, **last, name="conv4")(x)
        # Sides that 4 does not divide were rounded up on the way.
        return outputs | {"image": _limited(x[:, :height, :width], self.limit)}


class JohnsonSuperResolution(nn.Module):
    """The network of super-resolution: a small picture in, one `factor` times as large out.

    Fields:
      factor: 4 or 8 in the paper; a power of two.
      width: channels of all layers but the last.
      blocks: residual blocks, at the small picture's size.
      limit: the last layer's tanh is multiplied by it; None has no tanh.
      zero_last: start the last layer at zero (not in the paper), so that a network whose image is
        added to another one begins with that one.
      layers: how layers normalise and compute.

    Raises:
      UserError: a factor that is no power of two.
    """

    factor: int = 4
    width: int = 64
    blocks: int = 4
    limit: float | None = 150.0
    zero_last: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds `image` (b, factor h, factor w, 3) and the maps by name; `keys` are not read."""
        if self.factor < 1 or self.factor & (self.factor - 1):
            raise UserError(f"factor={self.factor}: give a power of two, such as 4 or 8")
        x = PaddedConv(self.width, 9, layers=self.layers, name="conv1")(images, train=train)
        outputs = {"conv1": x}
        for i in range(1, self.blocks + 1):
            block = ResidualBlock(layers=self.layers, name=f"block{i}")
            x = outputs[f"block{i}"] = block(x, train=train)
        for i in range(1, self.factor.bit_length()):
            double = Doubling(self.width, self.layers, name=f"up{i}")
            x = outputs[f"up{i}"] = double(x, train=train)
        last = {"kernel_init": _last_init(self.zero_last), "layers": self.layers.without_norm()}
        x = PaddedConv(3, 9, act=False, **last, name="conv2")(x)
        return outputs | {"image": _limited(x, self.limit)}


def transformer_net(
    width: int = 32, blocks: int = 5, layers: Layers = Layers(norm="instance")
) -> JohnsonStyle:
    """Makes the form of pytorch/examples, fast_neural_style; see `JohnsonStyle`.

    It takes images of 0..255, and what it gives is in 0..255 once it is clipped.
    """
    options = {"padding": "each", "upsampling": "nearest", "limit": None}
    return JohnsonStyle(width, blocks, **options, layers=layers)


def reflected(x: Images, count: int) -> Float[Array, "b ho wo c"]:
    """Adds `count` pixels on each side, mirrored at the border pixels, which are not repeated."""
    return jnp.pad(x, ((0, 0), (count, count), (count, count), (0, 0)), mode="reflect")


def _last_init(is_zero):
    """Returns how the last layer's kernel starts."""
    return initializers.zeros if is_zero else he_fan_out


def _limited(x, limit):
    """Keeps values within ± limit by a tanh, where there is one."""
    return x if limit is None else limit * jnp.tanh(x)
