"""DeepID2's network (Sun et al. 2014, arXiv:1406.4773, figure 1), which reads 55x47 pixels.

Four convolutions without padding, of which the third shares its weights within regions of 2x2
places only, and the fourth not at all; the features read both. Endpoints: conv1 to conv4, pool1 to
pool3. Initialisation: He normal over fan-in.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.models.embedders.embedder import Embedder, embedded
from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    Dense,
    Endpoints,
    Images,
    Keys,
    Layers,
    compute_dtype,
    he_fan_in,
)
from vision_jax.ops import initializers
from vision_jax.ops.pool import max_pool


class LocallySharedConv(nn.Module):
    """A convolution without padding whose weights are shared within regions of the result alone.

    Parameters: `kernel` (rows, columns, c * kernel², features), for each region, the channel before
    the place within the window; `bias` (rows, columns, features).

    Fields:
      features: number of filters.
      kernel: side of the window.
      region: side of a region, in places of the result; 1 shares nothing.
      layers: the precision to compute in.
    """

    features: int
    kernel: int
    region: int = 1
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "b ho wo o"]:
        c, k = x.shape[-1], self.kernel
        height, width = (side - k + 1 for side in x.shape[1:3])
        regions = -(-height // self.region), -(-width // self.region)
        start = initializers.Distribution("cut normal", 2.0, "in", leading=2)
        kernel = self.param("kernel", start, (*regions, c * k * k, self.features))
        bias = self.param("bias", initializers.zeros, (*regions, self.features))
        dtype = compute_dtype(self.layers.dtype, kernel)
        layout = ("NHWC", "HWIO", "NHWC")
        patches = lax.conv_general_dilated_patches(
            x.astype(dtype), (k, k), (1, 1), "VALID", dimension_numbers=layout
        )
        kernel, bias = (self._spread(p.astype(dtype), height, width) for p in (kernel, bias))
        return jnp.einsum("bhwi,hwio->bhwo", patches, kernel) + bias[None]

    def _spread(self, parameter, height, width):
        """Repeats a region's parameter for each of its places."""
        parameter = jnp.repeat(parameter, self.region, 0)[:height]
        return jnp.repeat(parameter, self.region, 1)[:, :width]


class DeepIDBackbone(nn.Module):
    """The four convolutions, each with a ReLU, and the poolings after the first three.

    Fields:
      widths: filters of each.
      layers: the precision to compute in; there is no norm.
    """

    widths: tuple[int, int, int, int] = (20, 40, 60, 80)
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints; see `Classifier` for arguments."""
        first, second, third, fourth = self.widths
        settings = {"kernel_init": he_fan_in, "layers": self.layers}
        convs = {
            "conv1": Conv(first, 4, **settings, name="conv1"),
            "conv2": Conv(second, 3, **settings, name="conv2"),
            "conv3": LocallySharedConv(third, 3, 2, self.layers, name="conv3"),
            "conv4": LocallySharedConv(fourth, 2, 1, self.layers, name="conv4"),
        }
        x, endpoints = images, {}
        for i, (name, conv) in enumerate(convs.items(), start=1):
            x = endpoints[name] = nn.relu(conv(x))
            if name != "conv4":
                x = endpoints[f"pool{i}"] = max_pool(x, 2)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides = {f"{kind}{i}": 2 ** (i - (kind == "conv"))
                   for i in (1, 2, 3) for kind in ("conv", "pool")}  # fmt: skip
        return {**strides, "conv4": 8}


class DeepIDHead(nn.Module):
    """The layer `fc` that reads pool3 and conv4, with a ReLU; see `EmbeddingHead` for the outputs.

    Fields:
      features: of the embedding.
      num_classes: identities that are classified; 0 for none.
      layers: the precision to compute in.
    """

    features: int = 160
    num_classes: int = 0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b _"]]:
        """Embeds the two last maps."""
        maps = (endpoints["pool3"], endpoints["conv4"])
        x = jnp.concatenate([x.reshape(len(x), -1) for x in maps], -1)
        fc = Dense(self.features, kernel_init=he_fan_in, layers=self.layers, name="fc")
        return embedded(nn.relu(fc(x)), self.num_classes, self.layers)


def DeepID(
    features: int = 160,
    num_classes: int = 0,
    widths: tuple[int, int, int, int] = (20, 40, 60, 80),
    layers: Layers = NO_NORM,
) -> Embedder:
    """Makes DeepID2's network for 55x47 images, with `num_classes` training identities."""
    return Embedder(DeepIDBackbone(widths, layers), DeepIDHead(features, num_classes, layers))
