"""Testing a segmenter on whole images: at several scales, mirrored, or window by window."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.ops.resize import resize_content
from vision_jax.ops.windows import over_windows
from vision_jax.structs import Batch

Images = Float[Array, "b h w c"]
Network = Callable[[Float[Array, "b s t c"]], Float[Array, "b s t k"]]
_LEAST = 1e-30  # probabilities below it are as good as 0, and have a logarithm


@dataclasses.dataclass(frozen=True)
class MultiScale:
    """An average of class probabilities, with which `Segmentation(test=MultiScale(...))` predicts.

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

    def __call__(self, logits: Network, images: Images, batch: Batch) -> Float[Array, "b ho wo k"]:
        """Computes the logarithms of mean probabilities.

        Args:
          logits: the network, on images of any size.
          images: what it sees of the batch.
          batch: says where the images lie in it.

        Returns:
          Maps of the input's size; with `original` of the labels', where the batch has labels.
        """
        content, label_content, label_size = _places(batch, self.original)

        def probabilities(x: Array) -> Array:
            return jax.nn.softmax(at_least_float32(logits(x)))

        def at_scale(scale: float) -> Array:
            """Returns the probabilities of one scale at the labels' size."""
            scaled_images, scaled = images, content
            if scale != 1:
                height, width = (max(1, round(side * scale)) for side in images.shape[1:3])
                most = jnp.asarray([[height, width]], content.dtype)
                scaled = jnp.clip(jnp.round(content * scale), 1, most)
                scaled_images = resize_content(images, content, (height, width), scaled)
            shares = self._windows(probabilities, scaled_images)
            if self.flip:
                mirrored = self._windows(probabilities, scaled_images[:, :, ::-1])[:, :, ::-1]
                shares = (shares + mirrored) / 2
            dtype = shares.dtype
            return resize_content(
                shares, scaled.astype(dtype), label_size, label_content.astype(dtype)
            )

        total = sum(at_scale(scale) for scale in self.scales)
        return jnp.log(jnp.maximum(total / len(self.scales), _LEAST))

    def _windows(self, probabilities, images):
        """Returns the probabilities of whole images, seen at once or window by window."""
        if not self.window:
            return probabilities(images)
        height, width = images.shape[1:3]
        fill = [(0, max(0, self.window - side)) for side in (height, width)]
        images = jnp.pad(images, ((0, 0), *fill, (0, 0)))
        stride = self.stride or max(1, 2 * self.window // 3)
        size = (self.window, self.window)
        return over_windows(probabilities, images, size, (stride, stride))[:, :height, :width]


def _places(
    batch: Batch, original: bool
) -> tuple[Float[Array, "b 2"], Float[Array, "b 2"], tuple[int, int]]:
    """Finds where images lie, each at the top left of its row.

    Returns:
      Height and width of the images in the network's input, and among the labels; and those of the
      labels' array.
    """
    rows, height, width = batch.pixels.shape[:3]
    input_size = jnp.broadcast_to(jnp.asarray([[height, width]], jnp.float32), (rows, 2))
    content = input_size
    if batch.size is not None and batch.scale is not None:
        # Rows that only fill the batch have no size; so they take a pixel.
        content = jnp.clip(jnp.round(batch.size * batch.scale), 1, input_size)
    labels = batch.targets.segmentation
    if not original or labels is None or batch.size is None:
        return content, content, (height, width)
    return content, jnp.maximum(batch.size, 1), labels.shape[1:]
