"""Convolutions and fully connected layers."""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers.arrays import channelwise, check_parameter, compute_dtype
from vision_jax.models.layers.norm import norm
from vision_jax.models.layers.settings import Layers
from vision_jax.ops import initializers
from vision_jax.ops.conv import (
    Padding,
    Size,
    conv2d,
    conv_transpose2d,
    dense,
    pads,
    pair,
    same_pads,
)
from vision_jax.ops.initializers import Initializer, he_fan_out, torch_linear

# What lies beyond a map's border: zeros, or its mirror image without or with the edge itself.
Border = Literal["zeros", "reflect", "symmetric"]
Same = Literal["same"]  # TensorFlow's padding, see `ops.conv.same_pads`


class Conv(nn.Module):
    """A 2-D convolution with explicit, torch-like padding, or with TensorFlow's, 'same'.

    Parameters: `kernel` (kh, kw, in / groups, features), `bias` (features,) if `use_bias` or given,
    as `export.fold_norms` gives one to convolutions without. `border` says what `padding` adds.

    Raises:
      UserError: the image's channels are not those that the kernel was made for, or the image is
        smaller than the kernel's reach.
    """

    features: int
    kernel: Size = 1
    stride: Size = 1
    padding: Padding | Same = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = he_fan_out
    bias_init: Initializer = initializers.zeros
    border: Border = "zeros"
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo o"]:
        shape = (*pair(self.kernel), x.shape[-1] // self.groups, self.features)
        check_parameter(self, "kernel", shape, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.layers.dtype, kernel)
        if self.padding == "same":
            padding = same_pads(x.shape[1:3], self.kernel, self.stride, self.dilation)
        else:
            padding = pads(self.padding)
        if self.border != "zeros":
            x, padding = jnp.pad(x, ((0, 0), *padding, (0, 0)), mode=self.border), pads(0)
        geometry = self.stride, padding, self.dilation, self.groups
        x = conv2d(x.astype(dtype), kernel.astype(dtype), *geometry)
        if self.use_bias or self.has_variable("params", "bias"):
            bias = self.param("bias", self.bias_init, (self.features,))
            x = x + channelwise(bias.astype(dtype))
        return x


class ConvTranspose(nn.Module):
    """A 2-D transposed convolution; for its geometry see `ops.conv.conv_transpose2d`.

    Parameters: `kernel` (k, k, c, features), `bias` (features,).
    """

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    use_bias: bool = True
    kernel_init: Initializer = he_fan_out
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo o"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.layers.dtype, kernel)
        geometry = self.stride, self.padding, self.output_padding
        x = conv_transpose2d(x.astype(dtype), kernel.astype(dtype), *geometry)
        if self.use_bias or self.has_variable("params", "bias"):
            bias = self.param("bias", initializers.zeros, (self.features,))
            x = x + channelwise(bias.astype(dtype))
        return x


class Dense(nn.Module):
    """A fully connected layer over the last axis.

    Parameters: `kernel` (in, features), `bias` (features,).
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = torch_linear
    bias_init: Initializer = initializers.zeros
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b k"]:
        shape = (x.shape[-1], self.features)
        check_parameter(self, "kernel", shape, x.shape[-1])
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = compute_dtype(self.layers.dtype, kernel)
        x = dense(x.astype(dtype), kernel)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,))
            x = x + jnp.expand_dims(bias.astype(dtype), range(x.ndim - 1))
        return x


class ConvNorm(nn.Module):
    """Convolution, normalisation, activation: what most networks since 2015 are made of.

    Submodules `conv` and `norm`. The convolution has a bias only with norm 'none', or if
    `use_bias` says so. `zero_scale` starts the norm at scale 0, so that a residual branch starts
    as nothing.
    """

    features: int
    kernel: Size = 1
    stride: Size = 1
    padding: Padding | Same = 0
    dilation: Size = 1
    groups: int = 1
    act: Callable[[Array], Array] | None = nn.relu
    zero_scale: bool = False
    use_bias: bool | None = None
    kernel_init: Initializer = he_fan_out
    border: Border = "zeros"
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            use_bias=self.layers.norm == "none" if self.use_bias is None else self.use_bias,
            kernel_init=self.kernel_init,
            border=self.border,
            layers=self.layers,
            name="conv",
        )(x)
        x = norm(self.layers, "norm", zero_scale=self.zero_scale)(x, train=train)
        return x if self.act is None else self.act(x)
