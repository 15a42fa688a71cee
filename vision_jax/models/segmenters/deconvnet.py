"""Learning Deconvolution Network for Semantic Segmentation (Noh et al. 2015, arXiv:1505.04366).

VGG-16's convolutions and its fully connected layers as convolutions, then all of it backwards:
transposed convolutions between unpoolings that put values back to where the maxima were found.
Each is followed by a norm and ReLU. Initialisation: He normal.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.layers import (
    Conv,
    ConvNorm,
    ConvTranspose,
    Endpoints,
    Images,
    Keys,
    Layers,
    last_map,
    norm,
    variant,
)
from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.ops.pool import max_pool_indices
from vision_jax.ops.upsample import max_unpool


class DeconvNorm(nn.Module):
    """Transposed convolution with a bias, norm, ReLU. Submodules `deconv` and `norm`."""

    features: int
    kernel: int = 3
    padding: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Float[Array, "b ho wo o"]:
        size = {"kernel": self.kernel, "padding": self.padding}
        x = ConvTranspose(self.features, **size, layers=self.layers, name="deconv")(x)
        return nn.relu(norm(self.layers, "norm")(x, train=train))


class DeconvNetHead(nn.Module):
    """fc6 and fc7 as convolutions, and the deconvolution network.

    Fields:
      num_classes: k, background included.
      hidden: channels of fc6 and fc7.
      window: side of fc6's kernel, and of that of deconv_fc6; the least side of the last map.
      encoder_endpoints: the map before each of the backbone's poolings, fine to coarse.
      deconvs: 3x3 transposed convolutions at the resolution of each. Those of stage s have as many
        channels as its map, the last of them as many as the next finer one's (the finest, its own).
      layers: how layers normalise and compute.
    """

    num_classes: int = 21
    hidden: int = 4096
    window: int = 7
    encoder_endpoints: tuple[str, ...] = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3")
    deconvs: tuple[int, ...] = (2, 2, 3, 3, 3)
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, size: tuple[int, int], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w _"]]:
        """Decodes the endpoints into `logits`.

        Returns:
          `features` (b, h, w, hidden) of fc7, the maps `deconv_fc6` and `deconv5` to `deconv1`, and
          `logits`.
        """
        x = last_map(endpoints)
        channels = x.shape[-1]
        for name, window in (("fc6", self.window), ("fc7", 1)):
            conv = ConvNorm(self.hidden, window, use_bias=True, layers=self.layers, name=name)
            x = conv(x, train=train)
        maps = {"features": x}
        layer = DeconvNorm(channels, self.window, 0, self.layers, name="deconv_fc6")
        maps["deconv_fc6"] = x = layer(x, train=train)
        for stage in range(len(self.encoder_endpoints), 0, -1):
            fine = endpoints[self.encoder_endpoints[stage - 1]]
            finer = endpoints[self.encoder_endpoints[max(0, stage - 2)]]
            x = max_unpool(x, max_pool_indices(fine, 2)[1], fine.shape[1:3])
            for i in range(1, self.deconvs[stage - 1] + 1):
                width = (finer if i == self.deconvs[stage - 1] else fine).shape[-1]
                layer = DeconvNorm(width, layers=self.layers, name=f"deconv{stage}_{i}")
                x = layer(x, train=train)
            maps[f"deconv{stage}"] = x
        score = Conv(self.num_classes, layers=self.layers, name="score")
        return {**maps, "logits": score(x)}


def deconvnet(
    num_classes: int = 21,
    width: int = 64,
    hidden: int = 4096,
    window: int = 7,
    layers: Layers = Layers(),
) -> Segmenter:
    """Makes DeconvNet on VGG-16, for images of at least 32 * window pixels.

    Args:
      num_classes: background included.
      width: channels of VGG's first stage.
      hidden, window: see `DeconvNetHead`.
      layers: how layers normalise and compute.
    """
    head = DeconvNetHead(num_classes, hidden, window, layers=layers)
    backbone = VGG(CONFIGURATIONS["D"], width, keep=head.encoder_endpoints, layers=layers)
    return Segmenter(backbone, head)


DeconvNet = variant(
    "DeconvNet",
    deconvnet,
    "Makes the paper's network, for images of 224x224 or more; see `deconvnet`.",
    width=64,
    hidden=4096,
    window=7,
)
