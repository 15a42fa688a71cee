"""A source of large images as one of tiles: a few photographs become a set of many images."""

import dataclasses
import functools

import numpy as np

from vision_jax.config import UserError, within
from vision_jax.data.decode import decode_image
from vision_jax.data.sources import Example, Wrapped


@dataclasses.dataclass(frozen=True)
class Tiles(Wrapped):
    """Squares side by side that the images of a source are cut into; the rest is not used.

    Attributes:
      source: images without annotations.
      size: side of a tile, pixels.

    Raises:
      UserError: on use, no image that is so large.
    """

    size: int = 96

    def __post_init__(self):
        within(self, "[1, inf)", "size")

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, i: int) -> Example:
        number, top, left = self._places[i]
        image = self._image(number)[top : top + self.size, left : left + self.size]
        return {"image": np.ascontiguousarray(image)}

    def describe(self, i: int) -> str:
        number, top, left = self._places[i]
        return f"{self.source.describe(number)}, from row {top} and column {left}"

    def image_id(self, i: int) -> int | str:
        return i

    @functools.cached_property
    def _places(self) -> list[tuple[int, int, int]]:
        """The image, top and left of each tile."""
        places = []
        for number in range(len(self.source)):
            rows, columns = (side // self.size for side in self._image(number).shape[:2])
            corners = np.ndindex(rows, columns)
            places += [(number, self.size * i, self.size * j) for i, j in corners]
        if not places:
            raise UserError(f"Tiles: no image has a tile of size={self.size} pixels")
        return places

    def _image(self, number: int) -> np.ndarray:
        """Returns an image (h, w, c) uint8."""
        image = self.source[number]["image"]
        return decode_image(image) if isinstance(image, bytes) else image
