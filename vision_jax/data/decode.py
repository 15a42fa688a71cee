"""Encoded bytes → pixels.

OpenCV decodes and resizes without holding Python's lock, so that threads suffice. Its own threads
are switched off on import, which every worker process does too: parallelism comes from the
pipeline, and OpenCV's pool (all cores, per process) would fight with it.
"""

import io

import cv2
import numpy as np
from PIL import Image

from vision_jax.config import UserError

cv2.setNumThreads(0)

# Without IGNORE_ORIENTATION OpenCV turns images by their EXIF tag, and boxes no longer fit.
_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_GRAY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION


class RecordError(UserError):
    """A record that cannot be read; the message names data set, split, number and file."""


def decode_image(data: bytes, channels: int = 3) -> np.ndarray:
    """JPEG, PNG, ... → uint8 (h, w, channels) in RGB order.

    Gray images are repeated to three channels, CMYK is converted, 16 bits are cut to the upper 8,
    transparency is dropped, and an EXIF orientation is ignored.

    Args:
      data: an encoded image.
      channels: 3, or 1 for gray.

    Raises:
      ValueError: what is not an image, or a truncated one.
    """
    if not data:
        raise ValueError("the image is empty (0 bytes)")
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR if channels == 3 else _GRAY)
    if pixels is None:
        raise ValueError(f"the image cannot be decoded ({_kind(data)}, {len(data)} bytes)")
    return pixels if channels == 3 else pixels[:, :, None]


def decode_labels(data: bytes) -> np.ndarray:
    """A mask in PNG → integer (h, w): the palette's index or the gray value of every pixel.

    OpenCV would turn a palette's indices into colours, so Pillow reads these.

    Raises:
      ValueError: what is not an image, or has several channels.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            labels = np.array(image)
            mode = image.mode
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"the label image cannot be decoded ({_kind(data)}, {len(data)} bytes)"
        ) from error
    if labels.ndim != 2:
        raise ValueError(f"a label image has one channel, this one is {mode}")
    return labels


def image_size(data: bytes) -> tuple[int, int]:
    """Height and width of an encoded image, from its header alone.

    Raises:
      ValueError: what is not an image.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.height, image.width
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the image has no readable header ({len(data)} bytes)") from error


def _kind(data: bytes) -> str:
    starts = {b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
    known = [name for start, name in starts.items() if data.startswith(start)]
    return f"truncated or corrupt {known[0]}" if known else "unknown format"
