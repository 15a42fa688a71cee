"""Kinds of wrong detections, and the cost of each (Bolya 2020, sections 2 and 3).

Every detection that is no hit is one of, in this order of testing:
  localization  its class, IoU between 0.1 and 0.5
  confusion     another class, IoU of at least 0.5
  duplicate     its class, IoU of at least 0.5, but a better-scored detection has the object
  background    IoU below 0.1 with everything
  both          another class, IoU between 0.1 and 0.5
and an object that no detection hits, nor nearly (localization or confusion), is `missed`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vision_jax.evaluation.metric import Results
from vision_jax.evaluation.records import DetectionMetric, Record
from vision_jax.evaluation.voc import Ranking, average_precision, pixel_iou, precision_recall

KINDS = ("localization", "confusion", "both", "duplicate", "background", "missed")
HIT, IGNORED = "hit", "ignored"


@dataclass(frozen=True)
class Errors(DetectionMetric):
    """The counts of each error, and the average precision that its repair would add.

    Reads `outputs["detections"]`. A repair puts a localization or confusion right (or removes it
    where another detection has the object), removes a duplicate, background or both, and takes the
    missed objects away.

    Result: floats `errors/<kind>` (counts) and `errors/<kind>_cost` (added mean AP at IoU 0.5, all
    points; each repair alone, so that costs do not add up), and the array `errors` (C, 6) of counts
    per class of the detection (of the object for `missed`), columns as in `KINDS`.

    Attributes:
      num_classes: C.
      positive_iou: least IoU of a hit.
      background_iou: least IoU that is not background.
    """

    num_classes: int
    positive_iou: float = 0.5
    background_iou: float = 0.1

    def names(self) -> tuple[str, ...]:
        return tuple(f"errors/{kind}{cost}" for kind in KINDS for cost in ("", "_cost"))

    def result(self, state: list[Record]) -> Results:
        if not state:
            return {}
        judged = [judge(image, self.positive_iou, self.background_iou) for image in state]
        table = np.zeros((self.num_classes, len(KINDS)), np.int64)
        for image, judgement in zip(state, judged, strict=True):
            for column, kind in enumerate(KINDS[:-1]):
                labels = image.detections.labels[judgement.kinds == kind]
                np.add.at(table[:, column], labels, 1)
            np.add.at(table[:, -1], image.truth.labels[judgement.missed], 1)
        as_detected = self._mean_ap(state, judged, None)
        results: Results = {"errors": table}
        for column, kind in enumerate(KINDS):
            results[f"errors/{kind}"] = float(table[:, column].sum())
            repaired = self._mean_ap(state, judged, kind)
            results[f"errors/{kind}_cost"] = float(repaired - as_detected)
        return results

    def _mean_ap(
        self, images: Sequence[Record], judged: "Sequence[Judgement]", repaired: str | None
    ) -> float:
        """Returns the mean AP over classes with objects, with one kind of error repaired."""
        values = []
        for label in range(self.num_classes):
            ranking = _ranking(images, judged, label, repaired)
            if ranking.total:
                values.append(average_precision(*precision_recall(ranking), False))
        return float(np.mean(values)) if values else 0.0


class Judgement(NamedTuple):
    """The judgement of one image's detections and objects."""

    kinds: np.ndarray  # (n,) str, of each detection: one of KINDS, 'hit' or 'ignored'
    target: np.ndarray  # (n,) int, the object meant by a hit, localization or confusion; else -1
    missed: np.ndarray  # (m,) bool, of each object


def judge(image: Record, positive_iou: float = 0.5, background_iou: float = 0.1) -> Judgement:
    """Judges each detection of an image, better scores first.

    Crowds and difficult objects make a detection of theirs `ignored`, and are never missed.
    """
    truth, detections = image.truth, image.detections
    spared = _spared(image)
    iou = pixel_iou(detections.boxes, truth.boxes, inclusive=False)
    same = detections.labels[:, None] == truth.labels[None]
    kinds = np.full(len(detections.labels), "background", dtype="<U12")
    target = np.full(len(detections.labels), -1)
    taken = np.zeros(len(truth.labels), bool)
    for i in np.argsort(-detections.scores, kind="stable"):
        of_class, of_others = np.where(same[i], iou[i], -1.0), np.where(same[i], -1.0, iou[i])
        free = np.where(taken | spared, -1.0, of_class)
        best, best_of_others = of_class.max(initial=-1), of_others.max(initial=-1)
        if free.max(initial=-1) >= positive_iou:
            kinds[i], target[i] = HIT, free.argmax()
            taken[target[i]] = True
        elif np.where(spared, of_class, -1.0).max(initial=-1) >= positive_iou:
            kinds[i] = IGNORED
        elif background_iou <= best < positive_iou:
            kinds[i], target[i] = "localization", of_class.argmax()
        elif best_of_others >= positive_iou:
            kinds[i], target[i] = "confusion", of_others.argmax()
        elif best >= positive_iou:
            kinds[i] = "duplicate"
        elif best_of_others >= background_iou:
            kinds[i] = "both"
    touched = np.isin(np.arange(len(truth.labels)), target[target >= 0])
    return Judgement(kinds, target, ~touched & ~spared)


def _ranking(
    images: Sequence[Record], judged: Sequence[Judgement], label: int, repaired: str | None
) -> Ranking:
    """Ranks a class's detections, with one kind of error repaired."""
    score_parts, hit_parts, total = [], [], 0
    for image, (kinds, target, missed) in zip(images, judged, strict=True):
        truth, detections, spared = image.truth, image.detections, _spared(image)
        of_class = truth.labels == label
        total += int((~spared & of_class).sum())
        total -= int((missed & of_class).sum()) if repaired == "missed" else 0
        plain = (detections.labels == label) & (kinds != IGNORED) & (kinds != repaired)
        hit = kinds == HIT
        score_parts.append(detections.scores[plain])
        hit_parts.append(hit[plain])
        if repaired in ("localization", "confusion"):
            wrong = np.flatnonzero(kinds == repaired)
            wrong = wrong[np.argsort(-detections.scores[wrong], kind="stable")]
            # Of several that mean one object the best is put right, if nothing hits it already.
            first = wrong[np.sort(np.unique(target[wrong], return_index=True)[1])]
            free = ~np.isin(target[first], target[hit]) & ~spared[target[first]]
            right = first[free & (truth.labels[target[first]] == label)]
            score_parts.append(detections.scores[right])
            hit_parts.append(np.ones(len(right), bool))
    scores, hits = np.concatenate(score_parts), np.concatenate(hit_parts)
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], hits[order], ~hits[order], total)


def _spared(image: Record) -> np.ndarray:
    """Returns (m,) bool: whether each object is a crowd or difficult."""
    spared = np.zeros(len(image.truth.labels), bool)
    for flag in (image.truth.crowd, image.truth.difficult):
        spared = spared if flag is None else spared | flag
    return spared
