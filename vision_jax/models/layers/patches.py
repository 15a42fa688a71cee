"""Images as patches, the input of vision transformers."""

from flax import linen as nn

from vision_jax.models.layers.arrays import Endpoints, Images, Keys
from vision_jax.models.layers.attention import xavier
from vision_jax.models.layers.linear import Conv
from vision_jax.models.layers.settings import NO_NORM, Layers


class Patches(nn.Module):
    """The first layer of a vision transformer (Dosovitskiy et al. 2021): a backbone of one map.

    Parameters: `conv`, whose kernel is as large as its stride; endpoint: `patches`.

    Fields:
      features: of the map.
      size: side of a patch, in pixels.
      layers: the precision.
    """

    features: int = 768
    size: int = 16
    layers: Layers = NO_NORM

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return {"patches": self.size}

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        size, layers = self.size, self.layers
        conv = Conv(self.features, size, size, kernel_init=xavier, layers=layers, name="conv")
        return {"patches": conv(images)}
