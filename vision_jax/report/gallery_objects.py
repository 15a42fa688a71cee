"""Detected objects beside the annotated ones."""

from collections.abc import Sequence

import numpy as np

from vision_jax import visualize
from vision_jax.evaluation import Record, records
from vision_jax.evaluation.voc import rank
from vision_jax.report.gallery import HardAndEven
from vision_jax.report.gallery_semantic import cells, content
from vision_jax.structs import Batch, Detections
from vision_jax.visualize.detection import COCO_SKELETON

SIDE = 288  # pixels of a picture
LEAST = 0.5  # score of a detection that is shown and judged


class ObjectGallery:
    """Images with their objects: those with the lowest F1, and others."""

    def __init__(self, names: Sequence[str] = (), count: int = 12):
        """
        Args:
          names: of the classes.
          count: how many images to keep.
        """
        self._names = tuple(names)
        self._kept = HardAndEven(count)

    def add(self, found: Detections, batch: Batch) -> None:
        """Looks at a batch (NumPy arrays) that has targets."""
        plain = found.replace(masks=None, keypoints=None)
        judged = records(batch, plain)
        for row, record in zip(np.flatnonzero(batch.valid).tolist(), judged, strict=True):
            quality = f1(record)
            self._kept.offer(
                int(batch.id[row]),
                quality,
                lambda row=row, quality=quality: self._draw(found, batch, row, quality),
            )

    def result(self) -> dict[str, np.ndarray]:
        """For `save_arrays(folder, "detections", …)`: see there."""
        return cells(self._kept.result(), ("truth", "found"))

    def _draw(self, found: Detections, batch: Batch, row: int, quality: float) -> tuple:
        whole = content(batch, row)
        picture = visualize.fit(whole, SIDE)
        scale = np.array(whole.shape[:2]) / picture.shape[:2]
        points = batch.targets.keypoints
        human = points is not None and points.shape[2] == 17
        skeleton = COCO_SKELETON if human else ()
        truth = visualize.draw_targets(picture, batch.targets, row, scale, self._names, skeleton)
        drawn = visualize.draw_detections(
            picture, found, row, scale, self._names, skeleton, least=LEAST
        )
        return truth, drawn, f"F1 {quality:.2f}"


def f1(record: Record) -> float:
    """2 · hits / (annotated + found) by VOC's rules at IoU 0.5, of detections with `LEAST` score.

    1 where there is nothing and nothing is found.
    """
    hits = misses = total = 0
    for label in np.union1d(record.truth.labels, record.found.labels):
        ranking = rank([record], int(label), inclusive=False)
        sure = ranking.scores >= LEAST
        hits += int((ranking.hit & sure).sum())
        misses += int((ranking.miss & sure).sum())
        total += ranking.total
    return 2 * hits / (hits + misses + total) if hits + misses + total else 1.0
