"""PASCAL VOC's average precision, by the rules of its development kit.

Boxes are inclusive pixels counted from 1, as annotated: (10, 10, 12, 12) is 3 pixels wide. A
detection hits an object of its class if their IoU exceeds the threshold and no better-scored
detection had it (a second hit is a false positive); objects marked difficult neither count nor
punish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from vision_jax.evaluation.records import Objects, Record, records
from vision_jax.structs import Batch


class Ranking(NamedTuple):
    """Detections of one class by falling score."""

    scores: np.ndarray  # (n,)
    hit: np.ndarray  # (n,) bool, true positives
    miss: np.ndarray  # (n,) bool, false positives; neither where the object is difficult
    total: int  # objects to be found


@dataclass(frozen=True)
class VOC:
    """Mean average precision over classes, from `outputs["detections"]`.

    Result: `ap50` (for a threshold of 0.5), and arrays `per_class_ap` (C,) and
    `precision_at_recall` (C, 101), the envelope at recalls 0, 0.01 ... 1; NaN for a class without
    objects.

    Fields:
      num_classes: C.
      eleven_points: VOC2007's mean over recalls 0, 0.1 ... 1; else the whole area (VOC2010 on).
      threshold: of the IoU, to be exceeded.
      inclusive: boxes are inclusive pixels, one wider than x1 - x0.
    """

    num_classes: int
    eleven_points: bool = False
    threshold: float = 0.5
    inclusive: bool = True
    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("detections",)

    def empty(self) -> list:
        return []

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        return [*state, *records(batch, outputs["detections"])]

    def result(self, state: list) -> dict[str, float | np.ndarray]:
        if not state:
            return {}
        rankings = [
            rank(state, label, self.threshold, self.inclusive) for label in range(self.num_classes)
        ]
        curves = [precision_recall(ranking) for ranking in rankings]
        ap = np.array([average_precision(r, p, self.eleven_points) for r, p in curves])
        steps = np.linspace(0, 1, 101)
        precision = np.stack([envelope(r, p, steps) for r, p in curves])
        nothing = [not ranking.total for ranking in rankings]
        ap[nothing], precision[nothing] = np.nan, np.nan
        results = {"per_class_ap": ap, "precision_at_recall": precision}
        if not np.isnan(ap).all():
            results[f"ap{round(self.threshold * 100)}"] = float(np.nanmean(ap))
        return results


def rank(
    images: Sequence[Record], label: int, threshold: float = 0.5, inclusive: bool = True
) -> Ranking:
    """All detections of a class, judged; equal scores in the order of the images."""
    best, scores, objects, ignored, total, seen = [], [], [], [], 0, 0
    for image in images:
        mine, found = image.truth.labels == label, image.found.labels == label
        difficult = _difficult(image.truth)[mine]
        overlap = pixel_iou(image.found.boxes[found], image.truth.boxes[mine], inclusive)
        which = overlap.argmax(1) if mine.any() else np.zeros(len(overlap), np.int64)
        best.append(overlap.max(1, initial=-np.inf))
        ignored.append(difficult[which] if mine.any() else np.zeros(len(overlap), bool))
        objects.append(seen + which)
        scores.append(image.found.scores[found])
        total += int((~difficult).sum())
        seen += len(difficult)
    if not scores:
        return Ranking(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), 0)
    best, scores, objects, ignored = (np.concatenate(x) for x in (best, scores, objects, ignored))
    order = np.argsort(-scores, kind="stable")
    best, objects, ignored = best[order], objects[order], ignored[order]
    over = best > threshold
    # Of the detections of one object the first in the ranking has it.
    first = np.zeros(len(order), bool)
    chosen = np.flatnonzero(over)
    first[chosen[np.unique(objects[chosen], return_index=True)[1]]] = True
    hit = over & ~ignored & first
    return Ranking(scores[order], hit, ~hit & ~(over & ignored), total)


def precision_recall(ranking: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) after each detection; recall is NaN where there is nothing to find."""
    hits, misses = np.cumsum(ranking.hit), np.cumsum(ranking.miss)
    recall = hits / ranking.total if ranking.total else np.full(len(hits), np.nan)
    return recall, hits / np.maximum(hits + misses, np.finfo(np.float64).eps)


def average_precision(recall: np.ndarray, precision: np.ndarray, eleven_points: bool) -> float:
    """Area under the precision envelope, or its mean at 11 recalls; 0 without detections.

    Says nothing where there is nothing to find (recall NaN).
    """
    if eleven_points:
        return float(envelope(recall, precision, np.arange(0, 1.1, 0.1)).sum() / 11)
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1])
    return float(np.sum((recall[step + 1] - recall[step]) * precision[step + 1]))


def envelope(recall: np.ndarray, precision: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The greatest precision at any recall >= each of `at`; 0 beyond the last."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, at, side="left")]


def pixel_iou(a: np.ndarray, b: np.ndarray, inclusive: bool = True) -> np.ndarray:
    """(n, m) IoU of xyxy boxes, in float64; `inclusive` boxes are a pixel wider and higher."""
    more = 1.0 if inclusive else 0.0
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.prod(np.maximum(high - low + more, 0.0), axis=2)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2] + more, axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _difficult(objects: Objects) -> np.ndarray:
    none = np.zeros(len(objects.labels), bool)
    return none if objects.difficult is None else objects.difficult
