"""Pictures of detected objects beside the annotated ones."""

import numpy as np

from vision_jax import visualize
from vision_jax.evaluation import Record, records
from vision_jax.evaluation.voc import rank
from vision_jax.report.gallery import DrawnGallery
from vision_jax.report.gallery_semantic import cells
from vision_jax.structs import Batch, Detections
from vision_jax.visualize.detection import COCO_SKELETON

SIDE = 288  # pixels of a picture
THRESHOLD = 0.5  # score from which a detection is shown and judged
SHOWN = 10  # detections that are drawn at least, before a crowd hides the picture


class ObjectGallery(DrawnGallery):
    """A choice of images with their objects: those with the lowest F1, and others."""

    def add(self, detections: Detections, batch: Batch) -> None:
        """Looks at a batch (NumPy arrays) that has targets."""
        plain = detections.replace(masks=None, keypoints=None)
        judged = records(batch, plain)
        for row, record in zip(np.flatnonzero(batch.valid).tolist(), judged, strict=True):
            quality = f1(record)
            self._kept.offer(
                int(batch.id[row]),
                quality,
                lambda row=row, quality=quality: self._draw(detections, batch, row, quality),
            )

    def result(self) -> dict[str, np.ndarray]:
        """Returns pictures and captions: for `save_arrays(folder, "detections", …)`."""
        return cells(self._kept.result(), ("truth", "found"))

    def _draw(self, detections: Detections, batch: Batch, row: int, quality: float) -> tuple:
        image, scale = self._originals.seen(batch, row)
        picture = visualize.fit(image, SIDE)
        scale = scale * image.shape[:2] / picture.shape[:2]
        points = batch.targets.keypoints
        human = points is not None and points.shape[2] == 17
        skeleton = COCO_SKELETON if human else ()
        truth = visualize.draw_targets(picture, batch.targets, row, scale, self._names, skeleton)
        shown, caption = _best(detections, batch, row), f"F1 {quality:.2f}"
        drawn = visualize.draw_detections(
            picture, shown, row, scale, self._names, skeleton, THRESHOLD
        )
        few, all_of_them = _count(shown, row), _count(detections, row)
        return truth, drawn, caption + (f", {few} of {all_of_them}" if few < all_of_them else "")


def _best(detections: Detections, batch: Batch, row: int) -> Detections:
    """Leaves out what comes after the best few, or twice as many as are annotated."""
    most = max(SHOWN, 2 * int(batch.targets.valid[row].sum()))
    return detections.replace(
        valid=detections.valid & (np.arange(detections.valid.shape[1]) < most)
    )


def _count(detections: Detections, row: int) -> int:
    return int((detections.valid[row] & (detections.scores[row] >= THRESHOLD)).sum())


def f1(record: Record) -> float:
    """Computes an image's F1, 2 · hits / (annotated + found), by VOC's rules at IoU 0.5.

    Detections below `THRESHOLD` are left out. An image without objects and detections has 1.
    """
    hits = misses = total = 0
    for label in np.union1d(record.truth.labels, record.detections.labels):
        ranking = rank([record], int(label), inclusive=False)
        sure = ranking.scores >= THRESHOLD
        hits += int((ranking.hit & sure).sum())
        misses += int((ranking.miss & sure).sum())
        total += ranking.total
    return 2 * hits / (hits + misses + total) if hits + misses + total else 1.0
