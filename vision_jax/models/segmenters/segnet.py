"""SegNet (Badrinarayanan et al. 2015, arXiv:1511.00561): unpooling with remembered positions.

The encoder is VGG's convolutions with batch normalisation; the decoder mirrors it, and puts each
value back to where the encoder's pooling found its maximum. Initialisation: He normal.
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.layers import (
    Conv,
    ConvNorm,
    ConvTranspose,
    Endpoints,
    Keys,
    Layers,
    variant,
)
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.resize import resize
from vision_jax.ops.upsample import bed_of_nails, max_unpool


class SegNetHead(nn.Module):
    """The decoder.

    Fields:
      num_classes: k.
      encoder_endpoints: the map before each of the encoder's poolings, fine to coarse; where their
        maxima lie is found anew.
      convs: 3x3 convolutions at the resolution of each. Those of stage s have as many channels as
        its map, the last of them as many as the next finer one's.
      last: 'plain', scores without norm and ReLU (the paper); 'norm', with both (pytorch-semseg).
      up: 'unpool' (the paper), or in its place 'nails' (bed of nails), 'nearest', 'bilinear', or
        'transposed', a learned 2x2 transposed convolution with stride 2.
      layers: how layers normalise and compute; convolutions always have a bias.
    """

    num_classes: int = 11
    encoder_endpoints: tuple[str, ...] = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    last: Literal["plain", "norm"] = "plain"
    up: Literal["unpool", "nails", "nearest", "bilinear", "transposed"] = "unpool"
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, size: tuple[int, int], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w _"]]:
        """Decodes the endpoints into `logits` and the decoder's maps `up5` to `up2`."""
        x, maps = None, {}
        for stage in range(len(self.encoder_endpoints), 0, -1):
            fine = endpoints[self.encoder_endpoints[stage - 1]]
            pooled, indices = max_pool_indices(fine, 2)
            x = pooled if x is None else x
            if self.up == "unpool":
                x = max_unpool(x, indices, fine.shape[1:3])
            else:
                x = self._upsampled(x, fine.shape[1:3], stage)
            for i in range(1, self.convs[stage - 1] + 1):
                width, name = fine.shape[-1], f"up{stage}_{i}"
                if i == self.convs[stage - 1]:
                    if stage == 1:
                        return {**maps, "logits": self._scores(x, name, train)}
                    width = endpoints[self.encoder_endpoints[stage - 2]].shape[-1]
                x = self._conv_norm(width, name)(x, train=train)
            maps[f"up{stage}"] = x
        raise AssertionError("the finest stage returns")

    def _conv_norm(self, width, name):
        return ConvNorm(width, 3, padding=1, use_bias=True, layers=self.layers, name=name)

    def _upsampled(self, x, size, stage):
        """Doubles a map's size; an odd row or column more is interpolated, or zero."""
        if self.up in ("nearest", "bilinear"):
            return resize(x, size, self.up)
        if self.up == "nails":
            x = bed_of_nails(x, 2)
        else:
            name = f"transposed{stage}"
            x = ConvTranspose(x.shape[-1], 2, 2, layers=self.layers, name=name)(x)
        missing = [(0, new - old) for new, old in zip(size, x.shape[1:3], strict=True)]
        return jnp.pad(x, ((0, 0), *missing, (0, 0)))

    def _scores(self, x, name, train):
        if self.last == "norm":
            return self._conv_norm(self.num_classes, name)(x, train=train)
        return Conv(self.num_classes, 3, padding=1, layers=self.layers, name=name)(x)


def segnet(
    num_classes: int = 11,
    width: int = 64,
    last: Literal["plain", "norm"] = "plain",
    layers: Layers = Layers(),
) -> Segmenter:
    """Makes SegNet on VGG-16; see `VGG` for `width`, that of the first stage, and `SegNetHead`."""
    head = SegNetHead(num_classes, last=last, layers=layers)
    backbone = VGG(CONFIGURATIONS["D"], width, keep=head.encoder_endpoints, layers=layers)
    return Segmenter(backbone, head)


SegNet = variant(
    "SegNet", segnet, "Makes the paper's network; see `segnet`.", width=64, last="plain"
)
