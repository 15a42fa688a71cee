"""From pictures to the images that a published network was measured on, as its publisher does it.

Each way of resizing is the publisher's to the pixel: Pillow's filters on bytes (torchvision's and
timm's classifiers, detectron2), bilinear without antialiasing on floats (torchvision's detectors),
OpenCV's on bytes (ssd.pytorch), and Darknet's, whose corner pixels stay corners.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data.decode import decode_image

Picture = np.ndarray | str | Path
_PILLOW = {
    "pillow-bilinear": Image.Resampling.BILINEAR,
    "pillow-bicubic": Image.Resampling.BICUBIC,
}


class Prepared(NamedTuple):
    """Images for a network.

    Fields:
      images: (b, h, w, 3) float32, normalised; padding is 0, or the publisher's grey.
      sizes: (b, 2) float32, height and width of the part that a detector shall look at.
      scales: (b, 2) float32, network pixels per pixel of the picture, (y, x).
      offsets: (b, 2) float32, where the picture's top left corner lies, (y, x); below 0 where a
        border was cut off.
    """

    images: jax.Array
    sizes: jax.Array
    scales: np.ndarray
    offsets: np.ndarray

    def boxes_in_picture(self, index: int, boxes: np.ndarray) -> np.ndarray:
        """Returns boxes (n, 4), xyxy in pixels of an image, in pixels of its picture."""
        offset, scale = (np.tile(v[index][::-1], 2) for v in (self.offsets, self.scales))
        return (np.asarray(boxes) - offset) / scale


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a publisher makes a network's images.

    Attributes:
      place: 'crop', the short side to `short`, then the central square of `size`; 'short', the
        short side to `short`, as long as the long one stays within `longest`; 'stretch', to a
        square of `size`; 'letterbox', into the middle of a square of `size`; 'none', as they are.
      filter: how pixels are resampled; see the module.
      short, longest, size: pixels.
      mean, std: of red, green and blue, in shares of 255.
      divisor: padded sides are multiples of it.
      rounding: of the long side: 'down', or to the 'nearest'.
    """

    place: Literal["crop", "short", "stretch", "letterbox", "none"]
    filter: Literal["pillow-bilinear", "pillow-bicubic", "floats", "opencv", "darknet"]
    short: int = 0
    longest: int = 0
    size: int = 0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    divisor: int = 1
    rounding: Literal["down", "nearest"] = "down"

    def __call__(self, pictures: Picture | Sequence[Picture]) -> Prepared:
        """Prepares pictures, each a file or an array (h, w, 3) uint8, red, green, blue.

        Raises:
          UserError: a picture that cannot be read, or is no such array.
        """
        if isinstance(pictures, np.ndarray):
            pictures = list(pictures) if pictures.ndim == 4 else [pictures]
        elif isinstance(pictures, str | Path):
            pictures = [pictures]
        arrays = [_pixels(picture) for picture in pictures]
        if not arrays:
            raise UserError("no picture was given")
        placed = [self._place(array) for array in arrays]
        tall, wide = (max(image.shape[axis] for image, _, _ in placed) for axis in (0, 1))
        tall, wide = (-(-side // self.divisor) * self.divisor for side in (tall, wide))
        images = np.zeros((len(placed), tall, wide, 3), np.float32)
        for row, (image, _, _) in enumerate(placed):
            images[row, : image.shape[0], : image.shape[1]] = image
        sizes, scales, offsets = (
            np.array(values, np.float32)
            for values in (
                [image.shape[:2] for image, _, _ in placed],
                [scale for _, scale, _ in placed],
                [offset for _, _, offset in placed],
            )
        )
        return Prepared(jnp.asarray(images), jnp.asarray(sizes), scales, offsets)

    def __str__(self) -> str:
        what = {
            "crop": f"short side {self.short}, central {self.size}×{self.size}",
            "short": f"short side {self.short}"
            + (f", long side at most {self.longest}" if self.longest else ""),
            "stretch": f"stretched to {self.size}×{self.size}",
            "letterbox": f"in the middle of {self.size}×{self.size}",
            "none": "as they are",
        }[self.place]
        numbers = (", ".join(f"{v:.5g}" for v in values) for values in (self.mean, self.std))
        resampled = "" if self.place == "none" else f", {self.filter}"
        return "{}{}; mean {}; std {}".format(what, resampled, *numbers)

    def _place(self, array: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Returns a picture's normalised image, its scale, and its offset."""
        height, width = self._extent(*array.shape[:2])
        scale = np.array([height, width]) / array.shape[:2]
        if self.filter == "floats":  # normalised first, then resized, as the publisher does
            return _floats(self._normalize(array), height, width), scale, (0, 0)
        image = _resized(array, height, width, self.filter)
        top, left = 0, 0
        if self.place == "crop":
            # Rounded to even, as torchvision does.
            top, left = (-round((side - self.size) / 2) for side in (height, width))
            image = _window(image, -top, -left, self.size)
        elif self.place == "letterbox":
            top, left = (self.size - height) // 2, (self.size - width) // 2
            canvas = np.full((self.size, self.size, 3), 127.5, np.float32)
            canvas[top : top + height, left : left + width] = image
            image = canvas
        return self._normalize(image), scale, (top, left)

    def _extent(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width that a picture is resized to."""
        small, large = min(height, width), max(height, width)
        match self.place:
            case "none":
                return height, width
            case "stretch":
                return self.size, self.size
            case "letterbox":
                side = self.size
                if height < width:
                    return max(1, height * side // width), side
                return side, max(1, width * side // height)
        if self.filter == "floats":
            ratio = self.short / small
            if self.longest:
                ratio = min(ratio, self.longest / large)
            return max(1, int(height * ratio)), max(1, int(width * ratio))
        if self.rounding == "nearest":
            ratio = self.short / small
            if self.longest and ratio * large > self.longest:
                ratio = self.longest / large
            return int(height * ratio + 0.5), int(width * ratio + 0.5)
        long = int(self.short * large / small)
        return (self.short, long) if height <= width else (long, self.short)

    def _normalize(self, image: np.ndarray) -> np.ndarray:
        """Returns the normalised image of one of 0 to 255."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return (image.astype(np.float32) / np.float32(255) - mean) / std


def _pixels(picture: Picture) -> np.ndarray:
    """Returns a picture's pixels."""
    if isinstance(picture, str | Path):
        try:
            return decode_image(Path(picture).expanduser().read_bytes())
        except OSError as error:
            raise UserError(f"{picture}: no readable picture: {error.strerror or error}") from error
        except (UserError, ValueError) as error:
            raise UserError(f"{picture}: {error}") from None
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(
            f"a picture is {array.dtype} {array.shape}: give uint8 (height, width, 3), red, green, "
            "blue"
        )
    return array


def _resized(array: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    """Returns a picture at another size, its pixels 0 to 255."""
    if name == "darknet":
        return _align_corners(array.astype(np.float32), height, width)
    if array.shape[:2] == (height, width):
        return array
    if name == "opencv":
        return cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(Image.fromarray(array).resize((width, height), _PILLOW[name]))


def _floats(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes floats bilinearly without antialiasing, pixels being squares."""
    for axis, size in ((0, height), (1, width)):
        count = image.shape[axis]
        if size != count:
            # Rounded to float32 where torch rounds.
            place = np.float64(np.float32(count / size)) * (np.arange(size) + 0.5) - 0.5
            place = np.maximum(place.astype(np.float32), 0)
            image = _mixed(image, place, axis)
    return image


def _align_corners(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes floats bilinearly, the corner pixels' centres staying corners."""
    for axis, size in ((1, width), (0, height)):
        count = image.shape[axis]
        if size != count:
            step = (count - 1) / (size - 1) if size > 1 else 0.0
            image = _mixed(image, np.arange(size) * step, axis)
    return image


def _mixed(image: np.ndarray, place: np.ndarray, axis: int) -> np.ndarray:
    """Mixes the two neighbours of places along an axis."""
    low = np.minimum(place.astype(int), image.shape[axis] - 1)
    high = np.minimum(low + 1, image.shape[axis] - 1)
    share = (place - low).astype(np.float32)
    share = share.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    return image.take(low, axis) * (1 - share) + image.take(high, axis) * share


def _window(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """Returns the square at a corner, filled up with 0 where the image is smaller."""
    height, width = image.shape[:2]
    if top < 0 or left < 0 or height < size or width < size:
        pad = [(max(0, -s), max(0, size - n + s)) for s, n in ((top, height), (left, width))]
        image = np.pad(image, (*pad, (0, 0)))
        top, left = max(0, top), max(0, left)
    return image[top : top + size, left : left + size]
