"""Images that networks make, beside those that they were given."""

import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.report.gallery import DrawnGallery
from vision_jax.report.gallery_semantic import cells
from vision_jax.structs import Batch

SIDE = 320  # pixels of a picture
COUNT = 6  # pairs
MADE = "made"  # the name of the arrays that hold the first image as it was made


class ImageGallery(DrawnGallery):
    """The first images of an evaluation, as they were given and as the network made them."""

    def __init__(self):
        super().__init__(count=COUNT)
        self._first: np.ndarray | None = None

    def add(self, made: np.ndarray, batch: Batch) -> None:
        """Looks at a batch: images (b, h, w, 3) in 0..255, and NumPy arrays."""
        for row in np.flatnonzero(batch.valid).tolist():
            number = int(batch.id[row])
            if number == 0:
                self._first = as_pixels(made[row])
            self._kept.offer(number, number, lambda row=row: self._draw(made, batch, row))

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures side by side for `save_arrays(folder, "images", …)`.

        They are what was given and what was made; where it is known what should have been made,
        the bicubic enlargement and that too.
        """
        chosen = self._kept.result()
        with_truth = bool(chosen) and len(chosen[0]) > len(("image", "found", "caption"))
        names = ("image", "bicubic", "truth", "found") if with_truth else ("image", "found")
        return cells(chosen, names)

    @property
    def first(self) -> np.ndarray | None:
        """What was made of the first example, uint8 (h, w, 3); None if it was not seen."""
        return self._first

    def _draw(self, made: np.ndarray, batch: Batch, row: int) -> tuple:
        picture, given = as_pixels(made[row]), np.asarray(batch.image[row])
        text = f"{picture.shape[1]}×{picture.shape[0]}"
        if batch.targets.target_image is None:
            return visualize.fit(given, SIDE), visualize.fit(picture, SIDE), text
        target = np.asarray(batch.targets.target_image[row])
        size, ways = target.shape[1::-1], (Image.Resampling.NEAREST, Image.Resampling.BICUBIC)
        # The small image as large as the others, so that all stand in one line.
        enlarged = (np.asarray(Image.fromarray(given).resize(size, way)) for way in ways)
        return *(visualize.fit(x, SIDE) for x in (*enlarged, target, picture)), text


def as_pixels(image: np.ndarray) -> np.ndarray:
    """Rounds an image in 0..255 to uint8; what lies beyond is clipped, NaN is black."""
    return np.clip(np.round(np.nan_to_num(np.asarray(image))), 0, 255).astype(np.uint8)
