"""PASCAL VOC's average precision, by the rules of its development kit.

Boxes are inclusive pixels counted from 1, as annotated: (10, 10, 12, 12) is 3 pixels wide. A
detection hits an object of its class if their IoU exceeds the threshold and no better-scored
detection had it (a second hit is a false positive); objects marked difficult neither count nor
punish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vision_jax.config import UserError
from vision_jax.evaluation.metric import Results
from vision_jax.evaluation.records import DetectionMetric, Objects, Record


class Ranking(NamedTuple):
    """The detections of one class by falling score, judged."""

    scores: np.ndarray  # (n,)
    hit: np.ndarray  # (n,) bool, true positives
    miss: np.ndarray  # (n,) bool, false positives; neither where the object is difficult
    total: int  # objects to be found


@dataclass(frozen=True)
class VOC(DetectionMetric):
    """The mean average precision over classes, from `outputs["detections"]`.

    Result: `ap50` (for a threshold of 0.5), `ap50_NAME` for each of `groups`, and arrays
    `per_class_ap` (C,) and `precision_at_recall` (C, 101), the envelope at recalls 0, 0.01 ... 1;
    NaN for a class without objects.

    Attributes:
      num_classes: C.
      eleven_points: VOC2007's mean over recalls 0, 0.1 ... 1; else the whole area (VOC2010 on).
      iou_threshold: the IoU that a hit exceeds.
      inclusive: boxes are inclusive pixels, one wider than x1 - x0.
      groups: (name, numbers of classes) pairs, whose means are results of their own.
    """

    num_classes: int
    eleven_points: bool = False
    iou_threshold: float = 0.5
    inclusive: bool = True
    groups: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        for name, classes in self.groups:
            if not classes or not {*classes} <= {*range(self.num_classes)}:
                text = f"groups: {name}={classes}"
                raise UserError(f"{text}: give some of the classes 0 to {self.num_classes - 1}")

    def names(self) -> tuple[str, ...]:
        name = f"ap{round(self.iou_threshold * 100)}"
        return (name, *(f"{name}_{group}" for group, _ in self.groups))

    def result(self, state: list[Record]) -> Results:
        if not state:
            return {}
        rankings = [
            rank(state, label, self.iou_threshold, self.inclusive)
            for label in range(self.num_classes)
        ]
        curves = [precision_recall(ranking) for ranking in rankings]
        ap = np.array([average_precision(r, p, self.eleven_points) for r, p in curves])
        steps = np.linspace(0, 1, 101)
        precision = np.stack([envelope(r, p, steps) for r, p in curves])
        nothing = [not ranking.total for ranking in rankings]
        ap[nothing], precision[nothing] = np.nan, np.nan
        results: Results = {"per_class_ap": ap, "precision_at_recall": precision}
        parts = [range(self.num_classes), *(classes for _, classes in self.groups)]
        for name, classes in zip(self.names(), parts, strict=True):
            if not np.isnan(ap[list(classes)]).all():
                results[name] = float(np.nanmean(ap[list(classes)]))
        return results


def rank(
    images: Sequence[Record], label: int, iou_threshold: float = 0.5, inclusive: bool = True
) -> Ranking:
    """Judges all detections of a class; equal scores are in the order of the images."""
    # Per detection: score, greatest IoU, that object's number, and whether it is difficult.
    columns: list[tuple[np.ndarray, ...]] = []
    total, seen = 0, 0
    for image in images:
        truth, detections = image.truth, image.detections
        true, detected = truth.labels == label, detections.labels == label
        difficult = _difficult(truth)[true]
        iou = pixel_iou(detections.boxes[detected], truth.boxes[true], inclusive)
        nearest = iou.argmax(1) if true.any() else np.zeros(len(iou), np.int64)
        ignored = difficult[nearest] if true.any() else np.zeros(len(iou), bool)
        best = iou.max(1, initial=-np.inf)
        columns.append((detections.scores[detected], best, seen + nearest, ignored))
        total += int((~difficult).sum())
        seen += len(difficult)
    if not columns:
        return Ranking(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 0)
    scores, best, objects, ignored = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    order = np.argsort(-scores, kind="stable")
    best, objects, ignored = best[order], objects[order], ignored[order]
    over = best > iou_threshold
    # Of the detections of one object the first in the ranking has it.
    first = np.zeros(len(order), bool)
    chosen = np.flatnonzero(over)
    first[chosen[np.unique(objects[chosen], return_index=True)[1]]] = True
    hit = over & ~ignored & first
    return Ranking(scores[order], hit, ~hit & ~(over & ignored), total)


def precision_recall(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Returns (recall, precision) after each detection; recall is NaN with nothing to find."""
    hits, misses = np.cumsum(ranking.hit), np.cumsum(ranking.miss)
    recall = hits / ranking.total if ranking.total else np.full(len(hits), np.nan)
    return recall, hits / np.maximum(hits + misses, np.finfo(np.float64).eps)


def average_precision(recall: np.ndarray, precision: np.ndarray, eleven_points: bool) -> float:
    """Returns the area under the precision envelope, or its mean at 11 recalls.

    It is 0 without detections, and means nothing where there is nothing to find (recall NaN).
    """
    if eleven_points:
        return float(envelope(recall, precision, np.arange(0, 1.1, 0.1)).sum() / 11)
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1])
    return float(np.sum((recall[step + 1] - recall[step]) * precision[step + 1]))


def envelope(recall: np.ndarray, precision: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Returns the greatest precision at any recall >= each of `at`; 0 beyond the last."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, at, side="left")]


def pixel_iou(a: np.ndarray, b: np.ndarray, inclusive: bool = True) -> np.ndarray:
    """Returns the IoU (n, m) of xyxy boxes; `inclusive` boxes are a pixel wider and higher."""
    extra = 1.0 if inclusive else 0.0
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low + extra, 0.0), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2] + extra, axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _difficult(objects: Objects) -> np.ndarray:
    """Returns (n,) bool: whether each annotated object is marked difficult."""
    none = np.zeros(len(objects.labels), bool)
    return none if objects.difficult is None else objects.difficult
