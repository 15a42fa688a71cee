"""The small residual nets for CIFAR-10 (He et al. 2015, arXiv:1512.03385, section 4.2).

6n + 2 weighted layers: a 3x3 convolution, three stages of n blocks with 16, 32 and 64 channels on
maps of 32, 16 and 8 pixels, global average pooling, one linear layer. Shortcuts hold no parameters
(option A). Endpoints: conv1, stage1, stage2, stage3.
"""

import functools
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError
from vision_jax.kernels.materialize import stored_relu
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers.blocks import ConvNorm, Norm, StochasticDepth, he_fan_out


class ResNetCifar(nn.Module):
    """The backbone.

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
      norm: see `blocks.norm`.
      dtype: compute dtype.
    """

    blocks: int = 9
    width: int = 16
    residual: bool = True
    pad: Literal["split", "after"] = "split"
    zero_gamma: bool = False
    drop_path: float = 0.0
    drop_rule: Literal["linear", "uniform"] = "linear"
    norm: Norm = "sync"
    dtype: str = "float32"
    identity_after: int = 0

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """Endpoints (b, h / stride, w / stride, c); see `Classifier` for the arguments."""
        conv = ConvNorm(self.width, 3, 1, 1, norm=self.norm, dtype=self.dtype, name="conv1")
        x = conv(image, train)
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
                    norm=self.norm,
                    dtype=self.dtype,
                    identity=0 < self.identity_after < i,
                    name=f"stage{stage}_{i}",
                )(x, train, keys)
            endpoints[f"stage{stage}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"conv1": 1, "stage1": 1, "stage2": 2, "stage3": 4}


class BlockA(nn.Module):
    """Two 3x3 convolutions with an option A shortcut: every second pixel, new channels zero."""

    width: int
    stride: int = 1
    residual: bool = True
    pad: Literal["split", "after"] = "split"
    zero_gamma: bool = False
    drop_path: float = 0.0
    layer: int = 0
    norm: Norm = "sync"
    dtype: str = "float32"
    identity: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b ho wo o"]:
        conv = functools.partial(
            ConvNorm,
            self.width,
            3,
            norm=self.norm,
            dtype=self.dtype,
            kernel_init=as_identity if self.identity else he_fan_out,
        )
        y = conv(self.stride, 1, name="conv1")(x, train)
        zero_scale = self.zero_gamma and self.residual
        y = conv(1, 1, act=None, zero_scale=zero_scale, name="conv2")(y, train)
        if not self.residual:
            return nn.relu(y)
        y = StochasticDepth(self.drop_path, self.layer)(y, train, keys)
        return stored_relu(self._shortcut(x).astype(y.dtype) + y)

    def _shortcut(self, x):
        new = self.width - x.shape[-1]
        before = new // 2 if self.pad == "split" else 0
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, new - before)))


def as_identity(
    key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32
) -> Float[Array, "kh kw c o"]:
    """A convolution's kernel that passes each channel on as it is; an initialiser that draws none.

    Sides are odd.
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
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Classifier:
    """The network of `depth` = 6n + 2 layers: 20, 32, 44, 56, 110 in the paper, 8 and 14 for demos.

    Raises:
      UserError: a depth that is not 6n + 2.
    """
    if depth < 8 or depth % 6 != 2:
        raise UserError(f"CIFAR ResNets have 6n + 2 layers (8, 14, 20, 32, 56, 110), not {depth}")
    backbone = ResNetCifar(
        (depth - 2) // 6, width, residual, pad, zero_gamma, drop_path, drop_rule, norm, dtype
    )
    return Classifier(backbone, PoolHead(num_classes, dtype=dtype))
