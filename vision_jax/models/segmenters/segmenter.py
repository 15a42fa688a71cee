"""A backbone and a head that scores every pixel; papers that need more have models of their own."""

from flax import linen as nn

from vision_jax.models.layers import Endpoints, Images, Keys


class Segmenter(nn.Module):
    """`backbone` finds feature maps, `head` turns them into scores of the image's pixels.

    Returns one dict, the same in training and evaluation: the backbone's endpoints (b, h, w, c) and
    what the head returns, `logits` (b, h, w, k) at the image's size among it. The head is called
    with the endpoints, the image's (height, width), `train` and `keys`.
    """

    backbone: nn.Module
    head: nn.Module

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Scores every pixel; see `Classifier` for the arguments."""
        outputs = self.backbone(images, train=train, keys=keys)
        return {**outputs, **self.head(outputs, images.shape[1:3], train=train, keys=keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides
