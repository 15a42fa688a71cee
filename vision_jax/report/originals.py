"""Images of an evaluation as they are in the data set, for pictures of boxes and labels."""

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.decode import decode_image
from vision_jax.data.sources import Source
from vision_jax.structs import Batch

# Raised where an example cannot be read; training and evaluation name it, pictures do without.
UNREADABLE = (UserError, ValueError, OSError)


class Originals:
    """The original images of a source's examples, where they can be had."""

    def __init__(self, source: Source | None):
        """
        Args:
          source: that of the evaluation; None has no originals.
        """
        self._source = source

    def seen(self, batch: Batch, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image to draw on, and how its pixels lie in the network's input.

        It is the original, or else, as of an image that is turned on reading, what the network saw.

        Args:
          batch: NumPy arrays.
          row: the image's number in it.

        Returns:
          The image (h, w, 1 or 3), and (2,) network pixels per pixel of it (y, x).
        """
        original = self._original(batch, row)
        if original is None:
            return content(batch, row), np.ones(2)
        return original, np.asarray(batch.scale[row], np.float64)

    def _original(self, batch: Batch, row: int) -> np.ndarray | None:
        """Reads the image from the source; None where that is another one than was measured."""
        if self._source is None or batch.size is None or batch.scale is None:
            return None
        try:
            image = self._source[int(batch.id[row])]["image"]
            if isinstance(image, bytes):
                image = decode_image(image)
        except UNREADABLE:
            return None
        is_same = image.shape[:2] == tuple(np.asarray(batch.size[row]).astype(int))
        return in_colors(image) if is_same else None


def content(batch: Batch, row: int) -> np.ndarray:
    """Cuts an image as the network saw it out of the padding at its right and bottom."""
    image = in_colors(np.asarray(batch.image[row]))
    if batch.size is None or batch.scale is None:
        return image
    height, width = np.maximum(1, np.round(batch.size[row] * batch.scale[row])).astype(int)
    return image[:height, :width]


def in_colors(image: np.ndarray) -> np.ndarray:
    """Returns the channels of an image (h, w, c) that can be shown: three, or else the first."""
    return image if image.shape[-1] in (1, 3) else image[..., : 3 if image.shape[-1] > 3 else 1]
