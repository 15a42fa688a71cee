"""Pictures of segmentations beside the annotated ones, in VOC's colours."""

from collections.abc import Sequence

import numpy as np

from vision_jax import visualize
from vision_jax.report.gallery import DrawnGallery
from vision_jax.structs import Batch
from vision_jax.visualize.captions import named
from vision_jax.visualize.semantic import VOID, resized_labels

SIDE = 224  # pixels of a picture
_COLORS = visualize.voc_palette()
_COLORS[0] = 255  # what is not tinted


class SemanticGallery(DrawnGallery):
    """A choice of segmented images: those with the fewest right pixels, and others."""

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
                lambda row=row, labels=labels, right=right: self._draw(labels, batch, row, right),
            )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures, captions, and the legend's colours and names.

        It is for `save_arrays(folder, "segmentations", …)`.
        """
        chosen = self._kept.result()
        labels = sorted({label for *_, shown, _ in chosen for label in shown})
        names = [self._named(label) for label in labels]
        pictures = [(*pictures, caption) for *pictures, _, caption in chosen]
        return {
            **cells(pictures, ("image", "truth", "found")),
            "legend_colors": _COLORS[np.array(labels, int)],
            "legend_names": np.array(names, dtype=np.str_),
        }

    def _named(self, label: int) -> str:
        """Names a label in the legend."""
        if label == VOID:
            return "void"
        return named(label, self._names) + (" (not tinted)" if label == 0 else "")

    def _draw(
        self, labels: tuple[np.ndarray, np.ndarray], batch: Batch, row: int, right: float
    ) -> tuple:
        image, scale = self._originals.seen(batch, row)
        picture = visualize.fit(image, SIDE)
        height, width = np.array(image.shape[:2]) * scale
        if labels[0].shape != batch.image.shape[1:3]:  # the original's, on an array of its own
            height, width = batch.size[row]
        parts = [x[: round(float(height)), : round(float(width))] for x in labels]
        resized = [resized_labels(part, *picture.shape[:2]) for part in parts]
        drawn = [visualize.draw_semantic(x, picture, outlined=True) for x in resized]
        shown = np.unique(resized).tolist()
        return picture, *drawn, shown, f"{right:.1%} of pixels"


def cells(chosen: Sequence[tuple], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Puts pictures into arrays, each on a white square, and captions into `caption` (n,).

    Args:
      chosen: per image its pictures (h, w, 3), in the order of the names, and a caption.
      names: the arrays' names, after what the pictures show.
    """
    side = _longest([picture for item in chosen for picture in item[:-1]])
    arrays = {
        name: on_squares([item[place] for item in chosen], side) for place, name in enumerate(names)
    }
    return {**arrays, "caption": np.array([item[-1] for item in chosen], dtype=np.str_)}


def on_squares(pictures: Sequence[np.ndarray], side: int | None = None) -> np.ndarray:
    """Puts pictures (h, w, 3) onto white squares, uint8 (n, side, side, 3).

    Args:
      pictures: uint8.
      side: at least their longest side, which None takes.
    """
    side = _longest(pictures) if side is None else side
    squares = np.full((len(pictures), side, side, 3), 255, np.uint8)
    for square, picture in zip(squares, pictures, strict=True):
        square[: picture.shape[0], : picture.shape[1]] = picture
    return squares


def _longest(pictures: Sequence[np.ndarray]) -> int:
    return max((max(picture.shape[:2]) for picture in pictures), default=1)
