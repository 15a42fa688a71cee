"""SegNet (Badrinarayanan et al. 2015, arXiv:1511.00561): unpooling with remembered positions.

The encoder is VGG's convolutions with batch normalisation; the decoder mirrors it, and puts each
value back to where the encoder's pooling found its maximum. Initialisation: He normal.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.layers.blocks import Conv, ConvNorm, Norm
from vision_jax.models.layers.upsampling import ConvTranspose
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.resize import resize
from vision_jax.ops.upsample import bed_of_nails, max_unpool


class SegNetHead(nn.Module):
    """The decoder.

    Fields:
      num_classes: k.
      reads: the map before each of the encoder's poolings, fine to coarse; its positions are
        found anew.
      convs: 3x3 convolutions at the resolution of each. Those of stage s have as many channels as
        its map, the last of them as many as the next finer one's.
      up: 'unpool' (the paper), or in its place 'nails' (bed of nails), 'nearest', 'bilinear', or
        'transposed', a learned 2x2 transposed convolution with stride 2.
      last: 'plain', scores without norm and ReLU (the paper); 'norm', with both (pytorch-semseg).
      norm: see `blocks.norm`; convolutions always have a bias.
      dtype: compute dtype.
    """

    num_classes: int = 11
    reads: tuple[str, ...] = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    last: Literal["plain", "norm"] = "plain"
    norm: Norm = "sync"
    dtype: str = "float32"
    up: Literal["unpool", "nails", "nearest", "bilinear", "transposed"] = "unpool"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        size: tuple[int, int],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Float[Array, "b h w _"]]:
        """`logits`, and the decoder's maps `up5` to `up2`."""
        x, maps = None, {}
        for stage in range(len(self.reads), 0, -1):
            fine = endpoints[self.reads[stage - 1]]
            pooled, places = max_pool_indices(fine, 2)
            x = pooled if x is None else x
            if self.up == "unpool":
                x = max_unpool(x, places, fine.shape[1:3])
            else:
                x = self._upsampled(x, fine.shape[1:3], stage)
            for i in range(1, self.convs[stage - 1] + 1):
                width, name = fine.shape[-1], f"up{stage}_{i}"
                if i == self.convs[stage - 1]:
                    if stage == 1:
                        return {**maps, "logits": self._scores(x, name, train)}
                    width = endpoints[self.reads[stage - 2]].shape[-1]
                x = ConvNorm(
                    width,
                    3,
                    padding=1,
                    norm=self.norm,
                    use_bias=True,
                    dtype=self.dtype,
                    name=name,
                )(x, train)
            maps[f"up{stage}"] = x
        raise AssertionError("the finest stage returns")

    def _upsampled(self, x, size, stage):
        """Twice as large; an odd row or column more is interpolated, or zero."""
        if self.up in ("nearest", "bilinear"):
            return resize(x, size, self.up)
        if self.up == "nails":
            x = bed_of_nails(x, 2)
        else:
            name = f"transposed{stage}"
            x = ConvTranspose(x.shape[-1], 2, 2, dtype=self.dtype, name=name)(x)
        odd = [(0, side - have) for side, have in zip(size, x.shape[1:3], strict=True)]
        return jnp.pad(x, ((0, 0), *odd, (0, 0)))

    def _scores(self, x, name, train):
        if self.last == "plain":
            return Conv(self.num_classes, 3, padding=1, dtype=self.dtype, name=name)(x)
        return ConvNorm(
            self.num_classes,
            3,
            padding=1,
            norm=self.norm,
            use_bias=True,
            dtype=self.dtype,
            name=name,
        )(x, train)


def segnet(
    num_classes: int = 11,
    width: int = 64,
    last: Literal["plain", "norm"] = "plain",
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Segmenter:
    """On VGG-16; `width` is that of its first stage, see `VGG` and `SegNetHead` for the others."""
    head = SegNetHead(num_classes, last=last, norm=norm, dtype=dtype)
    backbone = VGG(CONFIGURATIONS["D"], width, keep=head.reads, norm=norm, dtype=dtype)
    return Segmenter(backbone, head)


def SegNet(num_classes: int = 11, norm: Norm = "sync", dtype: str = "float32") -> Segmenter:
    """The paper's network."""
    return segnet(num_classes, norm=norm, dtype=dtype)
