"""Pictures of a detector that writes its objects: the boxes, and the sequence's text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax import visualize
from vision_jax.evaluation import records
from vision_jax.ops.pix2seq import NOISE, PADDING
from vision_jax.report.gallery import DrawnGallery
from vision_jax.report.gallery_objects import SIDE, THRESHOLD, f1
from vision_jax.report.gallery_semantic import cells
from vision_jax.structs import Batch
from vision_jax.visualize.captions import named

MOST = 8  # objects of a sequence that are told


class SequenceGallery(DrawnGallery):
    """A choice of images with what was written of them: those with the lowest F1, and others."""

    def add(self, outputs: Mapping[str, Any], batch: Batch) -> None:
        """Looks at a batch: `detections` and `written` of `models.Pix2Seq`, NumPy arrays."""
        judged = records(batch, outputs["detections"])
        for row, record in zip(np.flatnonzero(batch.valid).tolist(), judged, strict=True):
            self._kept.offer(
                int(batch.id[row]), f1(record), lambda row=row: self._draw(outputs, batch, row)
            )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures and captions: for `save_arrays(folder, "sequences", …)`."""
        return cells(self._kept.result(), ("found",))

    def _draw(self, outputs: Mapping[str, Any], batch: Batch, row: int) -> tuple:
        image, scale = self._originals.seen(batch, row)
        picture = visualize.fit(image, SIDE)
        scale = scale * image.shape[:2] / picture.shape[:2]
        found = outputs["detections"]
        drawn = visualize.draw_detections(picture, found, row, scale, self._names, (), THRESHOLD)
        return drawn, sequence_text(outputs["written"][row], self._names)


def sequence_text(written: np.ndarray, names: Sequence[str], most: int = MOST) -> str:
    """Returns a sequence as text: bins of top, left, bottom and right, and the class, of each.

    Made-up objects that follow each other are counted; a bin that is none is "·".

    Args:
      written: (n, 5), see `ops.pix2seq.tell_objects`.
      names: of the classes.
      most: parts that are told; "…" stands for the others.
    """
    parts, made_up = [], 0
    for *bins, label in np.asarray(written).tolist():
        if label != NOISE and made_up:
            parts.append(f"{made_up} made up")
            made_up = 0
        if label == PADDING:
            parts.append("end")
            break
        if label == NOISE:
            made_up += 1
        else:
            numbers = " ".join("·" if number < 0 else str(number) for number in bins)
            parts.append(f"{numbers} {named(label, names)}")
    if made_up:
        parts.append(f"{made_up} made up")
    return "; ".join(parts[:most]) + ("; …" if len(parts) > most else "")
