"""Why detections are wrong: kinds of error and what each costs (Bolya 2020, sections 2 and 3).

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
from typing import ClassVar, NamedTuple

import numpy as np

from vision_jax.evaluation.records import Record, records
from vision_jax.evaluation.voc import Ranking, average_precision, pixel_iou, precision_recall
from vision_jax.structs import Batch

KINDS = ("localization", "confusion", "both", "duplicate", "background", "missed")
HIT, IGNORED = "hit", "ignored"


@dataclass(frozen=True)
class Errors:
    """Counts of each error, and the average precision that its repair would add.

    Reads `outputs["detections"]`. A repair puts a localization or confusion right (or removes it
    where another detection has the object), removes a duplicate, background or both, and takes the
    missed objects away.

    Result: floats `errors/<kind>` (counts) and `errors/<kind>_cost` (added mean AP at IoU 0.5, all
    points; each repair alone, so that costs do not add up), and the array `errors` (C, 6) of counts
    per class of the detection (of the object for `missed`), columns as in `KINDS`.

    Fields:
      num_classes: C.
      overlap: IoU of a hit.
      near: least IoU that is not background.
    """

    num_classes: int
    overlap: float = 0.5
    near: float = 0.1
    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("detections",)

    def empty(self) -> list:
        return []

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        return [*state, *records(batch, outputs["detections"])]

    def result(self, state: list) -> dict[str, float | np.ndarray]:
        if not state:
            return {}
        judged = [judge(image, self.overlap, self.near) for image in state]
        table = np.zeros((self.num_classes, len(KINDS)), np.int64)
        for image, judgement in zip(state, judged, strict=True):
            for column, kind in enumerate(KINDS[:-1]):
                np.add.at(table[:, column], image.found.labels[judgement.kinds == kind], 1)
            np.add.at(table[:, -1], image.truth.labels[judgement.missed], 1)
        whole = self._mean(state, judged, None)
        results: dict[str, float | np.ndarray] = {"errors": table}
        for column, kind in enumerate(KINDS):
            results[f"errors/{kind}"] = float(table[:, column].sum())
            repaired = self._mean(state, judged, kind)
            results[f"errors/{kind}_cost"] = float(repaired - whole)
        return results

    def _mean(self, images: Sequence[Record], judged: list, repaired: str | None) -> float:
        """Mean AP over classes with objects, with one kind of error repaired."""
        values = []
        for label in range(self.num_classes):
            ranking = _ranking(images, judged, label, repaired)
            if ranking.total:
                values.append(average_precision(*precision_recall(ranking), False))
        return float(np.mean(values)) if values else 0.0


class Judgement(NamedTuple):
    """Of one image."""

    kinds: np.ndarray  # (n,) str, of each detection: one of KINDS, 'hit' or 'ignored'
    target: np.ndarray  # (n,) int, the object meant by a hit, localization or confusion; else -1
    missed: np.ndarray  # (m,) bool, of each object


def judge(image: Record, overlap: float = 0.5, near: float = 0.1) -> Judgement:
    """What each detection of an image is, better scores first.

    Crowds and difficult objects make a detection of theirs `ignored`, and are never missed.
    """
    truth, found = image.truth, image.found
    spared = _spared(image)
    iou = pixel_iou(found.boxes, truth.boxes, inclusive=False)
    same = found.labels[:, None] == truth.labels[None]
    kinds = np.full(len(found.labels), "background", dtype="<U12")
    target = np.full(len(found.labels), -1)
    taken = np.zeros(len(truth.labels), bool)
    for i in np.argsort(-found.scores, kind="stable"):
        own, other = np.where(same[i], iou[i], -1.0), np.where(same[i], -1.0, iou[i])
        free = np.where(taken | spared, -1.0, own)
        best_own, best_other = own.max(initial=-1), other.max(initial=-1)
        if free.max(initial=-1) >= overlap:
            kinds[i], target[i] = HIT, free.argmax()
            taken[target[i]] = True
        elif np.where(spared, own, -1.0).max(initial=-1) >= overlap:
            kinds[i] = IGNORED
        elif near <= best_own < overlap:
            kinds[i], target[i] = "localization", own.argmax()
        elif best_other >= overlap:
            kinds[i], target[i] = "confusion", other.argmax()
        elif best_own >= overlap:
            kinds[i] = "duplicate"
        elif best_other >= near:
            kinds[i] = "both"
    touched = np.isin(np.arange(len(truth.labels)), target[target >= 0])
    return Judgement(kinds, target, ~touched & ~spared)


def _ranking(
    images: Sequence[Record], judged: Sequence[Judgement], label: int, repaired: str | None
) -> Ranking:
    scores, hits, total = [], [], 0
    for image, (kinds, target, missed) in zip(images, judged, strict=True):
        truth, found, spared = image.truth, image.found, _spared(image)
        mine = truth.labels == label
        total += int((~spared & mine).sum())
        total -= int((missed & mine).sum()) if repaired == "missed" else 0
        plain = (found.labels == label) & (kinds != IGNORED) & (kinds != repaired)
        hit = kinds == HIT
        scores.append(found.scores[plain])
        hits.append(hit[plain])
        if repaired in ("localization", "confusion"):
            wrong = np.flatnonzero(kinds == repaired)
            wrong = wrong[np.argsort(-found.scores[wrong], kind="stable")]
            # Of several that mean one object the best is put right, if nothing hits it already.
            first = wrong[np.sort(np.unique(target[wrong], return_index=True)[1])]
            free = ~np.isin(target[first], target[hit]) & ~spared[target[first]]
            right = first[free & (truth.labels[target[first]] == label)]
            scores.append(found.scores[right])
            hits.append(np.ones(len(right), bool))
    scores, hits = np.concatenate(scores), np.concatenate(hits)
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], hits[order], ~hits[order], total)


def _spared(image: Record) -> np.ndarray:
    spared = np.zeros(len(image.truth.labels), bool)
    for flag in (image.truth.crowd, image.truth.difficult):
        spared = spared if flag is None else spared | flag
    return spared
