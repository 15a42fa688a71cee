"""A network that makes images beside a frozen one that judges them, and an image on its own.

Johnson et al. 2016 (arXiv:1603.08155), figure 2: an image transformation network, and a loss
network that was trained to classify. Gatys et al. 2016 have no transformation network: the image
itself is what is optimised.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers import Endpoints, Images, Keys
from vision_jax.ops import initializers


class WithLossNetwork(nn.Module):
    """A network that makes images, and the backbone in whose maps a loss compares them.

    Only `network` runs when the module is called; tasks apply `backbone` to what it made. The
    backbone's parameters are `params['backbone']`, as in other networks, so that weights of
    classifiers are read into it; an optimizer leaves them out with trainable=('network/.*',).

    Fields:
      network: images → dict with `image`.
      backbone: images → maps by name, such as `VGG`; None for losses on pixels alone.
    """

    network: nn.Module
    backbone: nn.Module | None = None

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Runs `network`; see `Classifier` for the arguments."""
        if self.is_initializing() and self.backbone is not None:
            self.backbone(images)
        return self.network(images, train=train, keys=keys)


class FreeImage(nn.Module):
    """An image that is a parameter: whatever images it is given, it answers with itself.

    Fields:
      noise: standard deviation of the normal draws that it begins with; 0 begins with zeros.
    """

    noise: float = 0.0

    @nn.compact
    def __call__(
        self, images: Images, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b h w c"]]:
        """Returns `image`, once per image of the batch, whose height and width it has."""
        drawn = initializers.normal(self.noise) if self.noise else initializers.zeros
        image = self.param("image", drawn, images.shape[1:], jnp.float32)
        return {"image": jnp.broadcast_to(image, images.shape)}
