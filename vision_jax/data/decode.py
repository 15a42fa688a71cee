"""Decodes images and label images: encoded bytes → pixels.

OpenCV decodes and resizes without holding Python's lock, so that threads suffice. Its own threads
are switched off on import, which every worker process does too: parallelism comes from the
pipeline, and OpenCV's pool (all cores, per process) would fight with it. Pillow decodes the formats
of which OpenCV makes something else (TIFF multiplied by its transparency, several frames).

No image is decoded whose header tells of more than VISION_JAX_MAX_PIXELS pixels, an environment
variable whose default is 2**28 (16384×16384): a flipped bit in a header must not take all memory.
"""

import io
import os
import struct
from typing import ClassVar

import cv2
import numpy as np
from PIL import Image

from vision_jax.config import UserError

cv2.setNumThreads(0)
# `max_pixels` takes the place of Pillow's own limit, and is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

# Without IGNORE_ORIENTATION OpenCV turns images by their EXIF tag, and boxes no longer fit.
_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_GRAY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_ORIENTATION = 0x0112  # the number of EXIF's tag
_UNTURNED = {6: 8, 8: 6}  # orientations that undo others; the rest undo themselves
_MODES_16 = ("I;16", "I;16B", "I;16L", "I;16N")
_FEW_BYTES = 30  # shorter than the header of any format


class RecordError(UserError):
    """A record that cannot be read; the message names data set, split, number and file.

    Attributes:
      defect: the kind of defect, as the doctor lists it.
    """

    defect: ClassVar[str] = "unreadable image"


class SizeError(RecordError):
    """A record whose annotations state another size than its image has."""

    defect: ClassVar[str] = "stated size differs"


class MaskError(RecordError):
    """A record whose masks cannot be read or do not fit the image or the classes."""

    defect: ClassVar[str] = "unusable mask"


def max_pixels() -> int:
    """Returns the number of pixels beyond which no image is decoded.

    Raises:
      UserError: VISION_JAX_MAX_PIXELS is no number above 0.
    """
    text = os.environ.get("VISION_JAX_MAX_PIXELS", "") or str(2**28)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UserError(f"VISION_JAX_MAX_PIXELS={text!r} is no whole number above 0")
    return int(text)


def decode_image(data: bytes, channels: int = 3) -> np.ndarray:
    """Decodes a JPEG, PNG, ... image into uint8 (h, w, channels) in RGB order.

    Gray images are repeated to three channels, CMYK is converted, 16 bits are cut to the upper 8,
    transparency is dropped, of several frames the first is taken, and an EXIF orientation is
    ignored (see `upright`).

    Args:
      data: an encoded image.
      channels: 3, or 1 for gray.

    Raises:
      ValueError: bytes that are no image, a truncated one, or one of more pixels than allowed.
    """
    image_size(data)
    if not _is_for_opencv(data):
        return _by_pillow(data, channels)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR if channels == 3 else _GRAY)
    except cv2.error as error:
        raise ValueError(f"the image cannot be decoded ({error.err})") from error
    if pixels is None:
        raise ValueError(f"the image cannot be decoded ({_kind(data)}, {len(data)} bytes)")
    return pixels if channels == 3 else pixels[:, :, None]


def decode_labels(data: bytes) -> np.ndarray:
    """Decodes a mask in PNG into integers (h, w): each pixel's palette index or gray value.

    OpenCV would turn a palette's indices into colours, so Pillow reads these.

    Raises:
      ValueError: bytes that are no image, an image with several channels, or one of more pixels
        than allowed.
    """
    image_size(data)
    try:
        with Image.open(io.BytesIO(data)) as image:
            turn = _turn_on_load(image)
            labels = upright(np.array(image), _UNTURNED.get(turn, turn))
            mode = image.mode
    except Exception as error:  # the formats' readers raise kinds of their own
        raise ValueError(
            f"the label image cannot be decoded ({_kind(data)}, {len(data)} bytes)"
        ) from error
    if labels.ndim != 2:
        raise ValueError(f"a label image has one channel, this one is {mode}")
    if labels.dtype.kind not in "biu":
        raise ValueError(f"a label image holds whole numbers, this one is {labels.dtype}")
    return labels


def image_size(data: bytes | np.ndarray) -> tuple[int, int]:
    """Returns height and width of an image; of an encoded one as stored, from its header alone.

    Raises:
      ValueError: bytes that are no image, or an image of more pixels than allowed.
    """
    if isinstance(data, np.ndarray):
        return data.shape[0], data.shape[1]
    if not data:
        raise ValueError("the image is empty (0 bytes)")
    try:
        size = _png_size(data) or _jpeg_size(data) or _pillow_size(data)
    except Exception as error:  # the formats' readers raise kinds of their own
        raise ValueError(
            f"the image has no readable header ({_kind(data)}, {len(data)} bytes)"
        ) from error
    check_pixels(*size)
    return size


def check_pixels(height: int, width: int) -> None:
    """Raises ValueError for an image without pixels, or with more than are allowed."""
    if height < 1 or width < 1:
        raise ValueError(f"the image has {width}×{height} pixels")
    if height * width > max_pixels():
        raise ValueError(
            f"the image has {width}×{height} pixels, more than {max_pixels()}; if that is right, "
            "allow it by the environment variable VISION_JAX_MAX_PIXELS"
        )


def orientation(data: bytes) -> int:
    """Returns an encoded image's EXIF orientation, 1 (as stored) to 8; 1 where it has none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged metadata; the pixels may be fine
        return 1
    return value if value in range(1, 9) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image's pixels (h, w, ...) as viewers show them by its EXIF orientation, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _by_pillow(data: bytes, channels: int) -> np.ndarray:
    """Decodes an image as `decode_image` does."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            turn = _turn_on_load(image)
            decoded = np.array(_eight_bits(image).convert("RGB" if channels == 3 else "L"))
    except Exception as error:  # the formats' readers raise kinds of their own
        raise ValueError(f"the image cannot be decoded ({error}, {len(data)} bytes)") from error
    decoded = decoded if channels == 3 else decoded[:, :, None]
    return upright(decoded, _UNTURNED.get(turn, turn))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Returns an image of eight bits per channel, not multiplied by its transparency."""
    if image.mode in _MODES_16:
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are 32-bit numbers, mode {image.mode}")
    straight = {"RGBa": "RGBA", "La": "LA"}
    return image.convert(straight[image.mode]) if image.mode in straight else image


def _turn_on_load(image: Image.Image) -> int:
    """Returns the orientation by which Pillow itself turns an opened image: TIFF's."""
    value = image.getexif().get(_ORIENTATION, 1) if image.format == "TIFF" else 1
    return value if value in range(1, 9) else 1


def _is_for_opencv(data: bytes) -> bool:
    """Returns whether OpenCV decodes that format as `decode_image` promises."""
    if data[:4] == b"RIFF":
        return data[8:12] == b"WEBP" and not (data[12:16] == b"VP8X" and data[20] & 2)  # animated
    return data.startswith((b"\xff\xd8", b"\x89PNG", b"BM"))


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width of a PNG; None for another format or a damaged header."""
    if (
        not data.startswith(b"\x89PNG\r\n\x1a\n")
        or data[12:16] != b"IHDR"
        or len(data) < _FEW_BYTES
    ):
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Returns height and width of a JPEG; None for another format or a damaged header.

    Pillow's own reader also parses what lies before, EXIF and colour profiles, ten times slower.
    """
    if not data.startswith(b"\xff\xd8"):
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a byte of filling
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return height, width
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _pillow_size(data: bytes) -> tuple[int, int]:
    """Returns height and width of an image in any format that Pillow knows."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        return (width, height) if _turn_on_load(image) >= 5 else (height, width)


def _kind(data: bytes) -> str:
    """Guesses the format of an image that cannot be decoded."""
    starts = {b"\xff\xd8": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
    known = [name for start, name in starts.items() if data.startswith(start)]
    return f"truncated or corrupt {known[0]}" if known else "unknown format"
