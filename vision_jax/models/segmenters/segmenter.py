"""A backbone and a head that scores every pixel; papers that need more have models of their own."""

from flax import linen as nn
from jaxtyping import Array, Float, Key


class Segmenter(nn.Module):
    """`backbone` finds feature maps, `head` turns them into scores of the image's pixels.

    Returns one dict, the same in training and evaluation: the backbone's endpoints (b, h, w, c) and
    what the head returns, `logits` (b, h, w, k) at the image's size among it. The head is called
    with the endpoints, the image's (height, width), `train` and `keys`.
    """

    backbone: nn.Module
    head: nn.Module

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """See the class, and `Classifier` for the arguments."""
        outputs = self.backbone(image, train, keys)
        return {**outputs, **self.head(outputs, image.shape[1:3], train, keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides
