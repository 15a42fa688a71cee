"""Learning Deconvolution Network for Semantic Segmentation (Noh et al. 2015, arXiv:1505.04366).

VGG-16's convolutions and its fully connected layers as convolutions, then all of it backwards:
transposed convolutions between unpoolings that put values back to where the maxima were found.
Each is followed by a norm and ReLU. Initialisation: He normal.
"""

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import last_map
from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.layers.blocks import Conv, ConvNorm, Norm, norm
from vision_jax.models.layers.upsampling import ConvTranspose
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.upsample import max_unpool


class DeconvNorm(nn.Module):
    """Transposed convolution with a bias, norm, ReLU. Submodules `deconv` and `norm`."""

    features: int
    kernel: int = 3
    padding: int = 1
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b ho wo o"]:
        deconv = ConvTranspose(
            self.features, self.kernel, 1, self.padding, dtype=self.dtype, name="deconv"
        )
        return nn.relu(norm(self.norm, "norm", self.dtype)(deconv(x), train))


class DeconvNetHead(nn.Module):
    """fc6 and fc7 as convolutions, and the deconvolution network.

    Fields:
      num_classes: k, background included.
      hidden: channels of fc6 and fc7.
      window: side of fc6's kernel, and of that of deconv_fc6; the least side of the last map.
      reads: the map before each of the backbone's poolings, fine to coarse.
      deconvs: 3x3 transposed convolutions at the resolution of each. Those of stage s have as many
        channels as its map, the last of them as many as the next finer one's (the finest, its own).
      norm: see `blocks.norm`.
      dtype: compute dtype.
    """

    num_classes: int = 21
    hidden: int = 4096
    window: int = 7
    reads: tuple[str, ...] = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    deconvs: tuple[int, ...] = (2, 2, 3, 3, 3)
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        size: tuple[int, int],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Float[Array, "b h w _"]]:
        """`features` (b, h, w, hidden) of fc7, the maps `deconv_fc6` and `deconv5` to `deconv1`,
        and `logits`."""
        x = last_map(endpoints)
        back = x.shape[-1]
        for name, window in (("fc6", self.window), ("fc7", 1)):
            x = ConvNorm(
                self.hidden,
                window,
                norm=self.norm,
                use_bias=True,
                dtype=self.dtype,
                name=name,
            )(x, train)
        found = {"features": x}
        layer = DeconvNorm(back, self.window, 0, self.norm, self.dtype, name="deconv_fc6")
        found["deconv_fc6"] = x = layer(x, train)
        for stage in range(len(self.reads), 0, -1):
            fine = endpoints[self.reads[stage - 1]]
            finer = endpoints[self.reads[max(0, stage - 2)]]
            x = max_unpool(x, max_pool_indices(fine, 2)[1], fine.shape[1:3])
            for i in range(1, self.deconvs[stage - 1] + 1):
                last = i == self.deconvs[stage - 1]
                width = (finer if last else fine).shape[-1]
                layer = DeconvNorm(
                    width, norm=self.norm, dtype=self.dtype, name=f"deconv{stage}_{i}"
                )
                x = layer(x, train)
            found[f"deconv{stage}"] = x
        scores = Conv(self.num_classes, dtype=self.dtype, name="score")
        return {**found, "logits": scores(x)}


def deconvnet(
    num_classes: int = 21,
    width: int = 64,
    hidden: int = 4096,
    window: int = 7,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> Segmenter:
    """On VGG-16, for images of at least 32 * window pixels; `width` is that of its first stage."""
    head = DeconvNetHead(num_classes, hidden, window, norm=norm, dtype=dtype)
    backbone = VGG(CONFIGURATIONS["D"], width, keep=head.reads, norm=norm, dtype=dtype)
    return Segmenter(backbone, head)


def DeconvNet(num_classes: int = 21, norm: Norm = "sync", dtype: str = "float32") -> Segmenter:
    """The paper's network, for images of 224x224 or more."""
    return deconvnet(num_classes, norm=norm, dtype=dtype)
