"""How a segmenter is tested on whole images: several scales, mirrored, or window by window."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.ops.resize import resize_content
from vision_jax.ops.windows import over_windows
from vision_jax.structs import Batch

_LEAST = 1e-30  # probabilities below it are as good as 0, and have a logarithm


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """Averages class probabilities; `Segmentation(test=MultiScale(...))` predicts with them.

    With `original` the labels are those of the original image (`data.OriginalLabels`), whatever the
    size of the network's input: the probabilities of the image's pixels are brought there before
    the decision. Nothing is predicted for padding.

    Attributes:
      scales: factors on the sides of the network's input, whose probabilities are averaged.
      flip: each scale is also seen mirrored.
      window: side of a window in pixels, of which the network sees one at a time at each scale;
        0 shows it the whole image. A smaller image is filled up.
      stride: pixels between windows; 0 is two thirds of the window.
      original: the labels have the original image's size, and the answers get it.

    Raises:
      UserError: no scale, one that is not above 0, or a stride that leaves pixels out.
    """

    scales: tuple = (1.0,)
    flip: bool = False
    window: int = 0
    stride: int = 0
    original: bool = False

    def __post_init__(self):
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"scales={self.scales}: give one or more factors above 0")
        if min(self.window, self.stride) < 0 or self.stride > self.window:
            raise UserError(f"stride={self.stride} does not fit window={self.window}")

    def __call__(
        self,
        logits: Callable[[Float[Array, "b s t c"]], Float[Array, "b s t k"]],
        image: Float[Array, "b h w c"],
        batch: Batch,
    ) -> Float[Array, "b ho wo k"]:
        """Logarithms of mean probabilities.

        Args:
          logits: the network, on images of any size.
          image: what it sees of the batch.
          batch: says where the images lie in it.

        Returns:
          Of the input's size; with `original` of the labels', where the batch has labels.
        """
        content, wanted, size = _places(batch, self.original)

        def probabilities(x: Array) -> Array:
            found = logits(x)
            return jax.nn.softmax(found.astype(jnp.promote_types(found.dtype, jnp.float32)))

        total = 0.0
        for scale in self.scales:
            total += self._at_scale(probabilities, image, scale, content, size, wanted)
        return jnp.log(jnp.maximum(total / len(self.scales), _LEAST))

    def _at_scale(self, probabilities, image, scale, content, size, wanted):
        """Probabilities of one scale at the labels' size."""
        if scale != 1:
            sides = tuple(max(1, round(side * scale)) for side in image.shape[1:3])
            scaled = jnp.clip(jnp.round(content * scale), 1, jnp.asarray([sides], content.dtype))
            image, content = resize_content(image, content, sides, scaled), scaled
        found = self._windows(probabilities, image)
        if self.flip:
            found = (found + self._windows(probabilities, image[:, :, ::-1])[:, :, ::-1]) / 2
        return resize_content(found, content.astype(found.dtype), size, wanted.astype(found.dtype))

    def _windows(self, probabilities, image):
        if not self.window:
            return probabilities(image)
        height, width = image.shape[1:3]
        room = [(0, max(0, self.window - side)) for side in (height, width)]
        image = jnp.pad(image, ((0, 0), *room, (0, 0)))
        stride = self.stride or max(1, 2 * self.window // 3)
        found = over_windows(probabilities, image, (self.window, self.window), (stride, stride))
        return found[:, :height, :width]


def _places(
    batch: Batch, original: bool
) -> tuple[Float[Array, "b 2"], Float[Array, "b 2"], tuple[int, int]]:
    """Height and width of the images in the network's input, and among the labels; and those of
    the labels' array."""
    rows, *sides = batch.image.shape[:3]
    whole = jnp.broadcast_to(jnp.asarray([sides], jnp.float32), (rows, 2))
    content = whole
    if batch.size is not None and batch.scale is not None:
        # Rows that only fill the batch have no size; so they take a pixel.
        content = jnp.clip(jnp.round(batch.size * batch.scale), 1, whole)
    labels = batch.targets.segmentation
    if not original or labels is None or batch.size is None:
        return content, content, tuple(sides)
    return content, jnp.maximum(batch.size, 1), labels.shape[1:]
