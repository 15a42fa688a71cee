"""COCO's average precision and recall of boxes, masks and keypoints, as pycocotools computes them.

Numbers equal its own to the last digit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vision_jax.config import SettingError, UserError, within
from vision_jax.evaluation import coco_matching
from vision_jax.evaluation.metric import Results
from vision_jax.evaluation.records import (
    Annotated,
    DetectionMetric,
    Record,
    annotated,
    records,
)
from vision_jax.structs import Batch

IOU_TYPES = ("bbox", "segm", "keypoints")
# The names of COCOeval's numbers, in its order; of recalls at its limits of detections.
STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar{}", "ar{}", "ar{}", "ar_small", "ar_medium", "ar_large"),
)
KEYPOINT_STATS = (
    *("ap", "ap50", "ap75", "ap_medium", "ap_large"),
    *("ar", "ar50", "ar75", "ar_medium", "ar_large"),
)
LIMITS, KEYPOINT_LIMIT = (1, 10, 100), 20  # detections per image, COCO's
RECALLS = np.linspace(0, 1, 101)  # at which precision is measured
_SMALL, _MEDIUM, _ALL = 32**2, 96**2, 1e5**2  # areas in square pixels
AREAS = np.array([[0, _ALL], [0, _SMALL], [_SMALL, _MEDIUM], [_MEDIUM, _ALL]])  # least, greatest
_PREFIX = {"bbox": "", "segm": "mask_", "keypoints": "keypoint_"}


class Scores(NamedTuple):
    """Results in COCOeval's form; -1 where there is nothing to measure."""

    stats: np.ndarray  # (12,), or (10,) for keypoints
    precision: np.ndarray  # (IoU 0.5:0.95:0.05, recall 0:1:0.01, category, area, max detections)
    recall: np.ndarray  # (IoU, category, area, max detections)
    scores: np.ndarray  # like precision: the score at which that recall is reached


@dataclass(frozen=True)
class COCO(DetectionMetric):
    """COCO's average precision and recall, from `outputs["detections"]`, for each type of IoU.

    Result: `ap`, `ap50`, `ap75`, `ap_small` ... `ar_large` (masks with the prefix `mask_`,
    keypoints `keypoint_`; a number with nothing to measure is left out), and arrays `per_class_ap`
    (C,), `per_size_ap` (C, sizes: all, small, medium, large) and `precision_at_recall` (C, 101) at
    IoU 0.5, NaN where there is nothing to measure.

    Attributes:
      num_classes: C.
      iou_types: some of 'bbox', 'segm', 'keypoints'.
      source: the evaluation set's source, with 'rle' among its fields for masks. Annotations are
        then taken from there, all of them, and masks are compared at the original's resolution, as
        COCO does. None: the batch's, no more than `max_boxes` and masks as the network saw them.
      max_detections: the best-scored detections per image and class that count: the three limits at
        which recall is reported (`ar1`, `ar10`, `ar100`), rising; everything else is measured at
        the last. COCO's own are the default; crowded images need more, such as (1, 10, 500).
      max_keypoint_detections: the same for keypoints, which have one limit.

    Raises:
      UserError: another type, or limits that do not rise from 1 or more.
    """

    num_classes: int
    iou_types: tuple[str, ...] = ("bbox",)
    source: Annotated | None = None
    max_detections: tuple[int, int, int] = LIMITS
    max_keypoint_detections: int = KEYPOINT_LIMIT

    def __post_init__(self):
        within(self, "[1, inf)", "max_detections", "max_keypoint_detections")
        if len(self.max_detections) != 3 or list(self.max_detections) != sorted(
            {*self.max_detections}
        ):
            problem = f"={self.max_detections!r} must be three rising numbers, such as {LIMITS}"
            raise SettingError("max_detections", problem)
        for iou_type in self.iou_types:
            if iou_type not in IOU_TYPES:
                raise UserError(f"COCO iou_type {iou_type!r}: use some of {', '.join(IOU_TYPES)}")

    def collect(self, state: list[Any], outputs: dict[str, Any], batch: Batch) -> list[Any]:
        rows = records(batch, outputs["detections"], original=self.source is not None)
        if self.source is not None:
            for row in rows:
                row.truth = annotated(self.source, row.id)
        return [*state, *rows]

    def result(self, state: list[Record]) -> Results:
        if not state:
            return {}
        results: Results = {}
        for iou_type in self.iou_types:
            scores = evaluate(state, self.num_classes, iou_type, self._limits(iou_type))
            measured = zip(self._stats(iou_type), scores.stats, strict=True)
            results |= {name: float(value) for name, value in measured if value > -1}
            results |= {_PREFIX[iou_type] + name: table for name, table in tables(scores).items()}
        return results

    def names(self) -> tuple[str, ...]:
        return tuple(name for iou_type in self.iou_types for name in self._stats(iou_type))

    def _limits(self, iou_type: str) -> tuple[int, ...]:
        if iou_type == "keypoints":
            return (self.max_keypoint_detections,)
        return self.max_detections

    def _stats(self, iou_type: str) -> list[str]:
        """Returns the names of a type's numbers, in COCOeval's order."""
        stats = KEYPOINT_STATS if iou_type == "keypoints" else STATS
        limits = iter(self._limits(iou_type))
        named = [name.format(next(limits)) if "{}" in name else name for name in stats]
        return [_PREFIX[iou_type] + name for name in named]


def evaluate(
    images: Sequence[Record],
    num_classes: int,
    iou_type: str = "bbox",
    limits: tuple[int, ...] | None = None,
) -> Scores:
    """Measures the detections of a whole evaluation set.

    Areas of detections are those of boxes, masks or keypoints, as the type compares them.

    Args:
      images: annotated and detected objects of all images.
      num_classes: C; objects of other labels are left out.
      iou_type: one of `IOU_TYPES`.
      limits: detections per image and class, three rising numbers, or one for keypoints; None is
        COCO's own.

    Raises:
      UserError: objects without the masks or keypoints that are to be compared.
    """
    is_keypoints = iou_type == "keypoints"
    limits = limits or ((KEYPOINT_LIMIT,) if is_keypoints else LIMITS)
    areas = AREAS[[0, 2, 3]] if is_keypoints else AREAS
    truth = coco_matching.annotated(images, num_classes, iou_type)
    found = coco_matching.detected(images, num_classes, iou_type, limits[-1])
    pairs = coco_matching.overlapping(truth, found, iou_type)
    matches = coco_matching.match(truth, found, pairs, areas)
    shape = (len(coco_matching.IOUS), len(RECALLS), num_classes, len(areas), len(limits))
    precision, scores = np.full(shape, -1.0), np.full(shape, -1.0)
    recall = np.full((shape[0], *shape[2:]), -1.0)
    for label in range(num_classes):
        objects = matches.counts[:, truth.group % num_classes == label].sum(1)
        own = np.flatnonzero(found.group % num_classes == label)
        own = own[np.argsort(-found.score[own], kind="stable")]
        measured = objects > 0
        for k, limit in enumerate(limits):
            best = own[found.rank[own] < limit]
            right, ignored = matches.is_right[measured], matches.is_ignored[measured]
            several = right[..., best], ignored[..., best]
            curve = _curve(*several, objects[measured], found.score[best])
            for table, values in zip((precision, scores), curve[:2], strict=True):
                table[:, :, label, measured, k] = np.moveaxis(values, 0, -1)
            recall[:, label, measured, k] = curve[2].T
    return Scores(_stats(precision, recall), precision, recall, scores)


def _curve(
    is_right: np.ndarray, is_ignored: np.ndarray, objects: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measures a class's detections (a, IoU, n), the best-scored first.

    Returns:
      Precision and score at each of `RECALLS` (a, IoU, 101), and the greatest recall (a, IoU).
    """
    right = np.cumsum(is_right & ~is_ignored, -1, dtype=np.float64)
    wrong = np.cumsum(~is_right & ~is_ignored, -1, dtype=np.float64)
    recall = right / objects[:, None, None]
    # From each recall on, the best precision; the least number is COCO's guard against 0 / 0.
    precision = right / (wrong + right + np.spacing(1))
    precision = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
    precision = np.concatenate([precision, np.zeros((*precision.shape[:2], 1))], -1)
    score = np.append(score, 0)
    at = np.array([[np.searchsorted(row, RECALLS) for row in rows] for rows in recall], int)
    at = at.reshape(*recall.shape[:2], len(RECALLS))
    greatest = recall[..., -1] if recall.shape[-1] else np.zeros(recall.shape[:2])
    return np.take_along_axis(precision, at, -1), score[at], greatest


def _stats(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Computes COCOeval's numbers, in its order, at any limits of detections.

    (Its own `summarize` looks for some of them at 100 or 20 detections, whatever the limits are.)
    """
    areas, limits = range(1, precision.shape[3]), range(precision.shape[4])
    rows = [precision[..., 0, -1], *(precision[iou, ..., 0, -1] for iou in (0, 5))]
    rows += [precision[..., area, -1] for area in areas]
    if len(limits) == 1:  # keypoints
        rows += [recall[..., 0, 0], *(recall[iou, ..., 0, 0] for iou in (0, 5))]
    else:
        rows += [recall[..., 0, limit] for limit in limits]
    rows += [recall[..., area, -1] for area in areas]
    return np.array([row[row > -1].mean() if (row > -1).any() else -1 for row in rows])


def tables(scores: Scores) -> dict[str, np.ndarray]:
    """Tabulates precision at the largest number of detections; NaN where nothing is measured."""
    precision = np.where(scores.precision[..., -1] < 0, np.nan, scores.precision[..., -1])
    per_size = precision.mean((0, 1))  # a class is measured at all recalls and IoUs, or at none
    return {
        "per_class_ap": per_size[:, 0],
        "per_size_ap": per_size,
        "precision_at_recall": precision[0, :, :, 0].T,
    }
