"""Pictures of segmentations beside the annotated ones, in VOC's colours."""

from collections.abc import Sequence

import numpy as np

from vision_jax import visualize
from vision_jax.report.gallery import HardAndEven
from vision_jax.structs import Batch
from vision_jax.visualize.semantic import VOID

SIDE = 224  # pixels of a picture


class SemanticGallery:
    """A choice of segmented images: those with the fewest right pixels, and others."""

    def __init__(self, count: int = 12):
        """
        Args:
          count: how many images to keep.
        """
        self._kept = HardAndEven(count)

    def add(self, predicted: np.ndarray, batch: Batch) -> None:
        """Looks at a batch: labels (b, h, w), and NumPy arrays with targets."""
        truth = np.asarray(batch.targets.segmentation)
        for row in np.flatnonzero(batch.valid).tolist():
            known = truth[row] != VOID
            right = float((predicted[row] == truth[row])[known].mean()) if known.any() else 1.0
            labels = (truth[row], predicted[row])
            self._kept.offer(
                int(batch.id[row]),
                right,
                lambda row=row, labels=labels, right=right: self._draw(*labels, batch, row, right),
            )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures and captions: for `save_arrays(folder, "segmentations", …)`."""
        return cells(self._kept.result(), ("image", "truth", "found"))

    def _draw(
        self, truth: np.ndarray, predicted: np.ndarray, batch: Batch, row: int, right: float
    ) -> tuple:
        image = content(batch, row)
        height, width = image.shape[:2]
        if truth.shape != batch.image.shape[1:3]:  # labels of the original, on an array of its own
            height, width = batch.size[row].astype(int)
        pictures = [image]
        pictures += [visualize.draw_semantic(x[:height, :width]) for x in (truth, predicted)]
        return *(visualize.fit(picture, SIDE) for picture in pictures), f"{right:.1%} of pixels"


def content(batch: Batch, row: int) -> np.ndarray:
    """Cuts an image as the network saw it out of the padding at its right and bottom."""
    image = np.asarray(batch.image[row])
    if batch.size is None or batch.scale is None:
        return image
    height, width = np.maximum(1, np.round(batch.size[row] * batch.scale[row])).astype(int)
    return image[:height, :width]


def cells(chosen: Sequence[tuple], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Puts pictures into arrays, each on a white square, and captions into `caption` (n,).

    Args:
      chosen: per image its pictures (h, w, 3), in the order of the names, and a caption.
      names: the arrays' names, after what the pictures show.
    """
    side = max((max(p.shape[:2]) for item in chosen for p in item[:-1]), default=1)
    arrays = {name: np.full((len(chosen), side, side, 3), 255, np.uint8) for name in names}
    for number, (*pictures, _) in enumerate(chosen):
        for name, picture in zip(names, pictures, strict=True):
            height, width = picture.shape[:2]
            arrays[name][number, :height, :width] = picture
    return {**arrays, "caption": np.array([item[-1] for item in chosen], dtype=np.str_)}
