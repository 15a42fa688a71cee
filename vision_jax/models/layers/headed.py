"""A backbone and a head that reads its maps: what classifiers and embedders are."""

from flax import linen as nn

from vision_jax.models.layers.arrays import Endpoints, Images, Keys


class Headed(nn.Module):
    """A network of a backbone, which finds feature maps, and a head, which answers from them.

    It returns one dict, the same in training and evaluation: each of the backbone's endpoints
    (b, h, w, c), and what the head returns. A pretrained backbone is `params['backbone']`.
    """

    backbone: nn.Module
    head: nn.Module

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds all outputs; see the class.

        Args:
          images: normalised RGB.
          train: use batch statistics, dropout and stochastic depth.
          keys: one random key per example; needed in training by networks that draw.
        """
        outputs = self.backbone(images, train=train, keys=keys)
        return {**outputs, **self.head(outputs, train=train, keys=keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides
