"""Explains why one set of detections has three average precisions: VOC2007's, VOC2012's, COCO's.

One scorer with every rule as a field: `VOC07` at one end, `COCO_AP` at the other. `explain`
switches the rules one at a time, in the order of `SWITCHES`, and measures what each switch does to
the number; so the changes add up to the whole difference. Each switch is also made alone, on
VOC2007's rules, since the effects are not independent.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from vision_jax.evaluation.records import Record
from vision_jax.evaluation.voc import (
    Ranking,
    average_precision,
    envelope,
    pixel_iou,
    precision_recall,
)


@dataclasses.dataclass(frozen=True)
class Rules:
    """The rules by which detections are judged and averaged; the defaults are VOC2007's.

    Attributes:
      recalls: where precision is averaged: '11-point', 'area' or '101-point'.
      inclusive: boxes are inclusive pixels, one wider and higher than x1 - x0.
      equal_is_hit: an IoU equal to the threshold is a hit; else it must be exceeded.
      next_best: a detection takes the best object that is still free; else it is judged by its
        best object alone, and is false where another has that.
      ignore_difficult: objects marked difficult neither count nor punish; else they are objects.
      ignore_crowd: crowds neither count nor punish, and overlap with them is the share of the
        detection that lies within; else they are objects.
      max_detections: detections per image and class, the best; None is all.
      iou_thresholds: average precision is averaged over them.
    """

    recalls: str = "11-point"
    inclusive: bool = True
    equal_is_hit: bool = False
    next_best: bool = False
    ignore_difficult: bool = True
    ignore_crowd: bool = False
    max_detections: int | None = None
    iou_thresholds: tuple[float, ...] = (0.5,)


class Switch(NamedTuple):
    """One step on the way from VOC2007's rules to COCO's: a field of `Rules`, and its new value."""

    title: str
    rule: str  # what holds from here on
    field: str
    value: Any

    def applied(self, rules: Rules) -> Rules:
        """Returns the rules with this one switched."""
        return dataclasses.replace(rules, **{self.field: self.value})


# np.linspace and not decimals: COCOeval's thresholds to the last bit.
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
SWITCHES = (
    Switch("area", "precision over the whole recall, not at 11 recalls", "recalls", "area"),
    Switch("101 points", "precision at recalls 0, 0.01 … 1", "recalls", "101-point"),
    Switch("pixels", "a box is x1 - x0 wide, not a pixel more", "inclusive", False),
    Switch("IoU >=", "an IoU of exactly the threshold is a hit", "equal_is_hit", True),
    Switch("matching", "a detection may take its second-best object if free", "next_best", True),
    Switch("difficult", "objects marked difficult count", "ignore_difficult", False),
    Switch("crowd", "crowds no longer count as objects, nor punish", "ignore_crowd", True),
    Switch("most 100", "only the best 100 of a class in an image are seen", "max_detections", 100),
    Switch(
        "thresholds", "mean over IoU 0.50:0.95, not 0.5 alone", "iou_thresholds", COCO_THRESHOLDS
    ),
)
VOC07 = Rules()
VOC12 = Rules(recalls="area")
COCO_AP = functools.reduce(lambda rules, switch: switch.applied(rules), SWITCHES, VOC07)


class Counts(NamedTuple):
    """Numbers of objects and detections, as judged at the lowest IoU threshold."""

    objects: int
    hits: int
    false: int
    ignored: int  # detections that neither count nor punish
    unseen: int  # detections beyond `max_detections`


class Score(NamedTuple):
    """The average precision under one set of rules."""

    ap: np.ndarray  # (C,), NaN for a class without objects
    per_threshold: np.ndarray  # (thresholds,), mean over classes
    counts: Counts

    @property
    def mean(self) -> float:
        """The mean over classes with objects; NaN without any."""
        return _mean(self.ap)


class Step(NamedTuple):
    """The effect of a switch on the average precision."""

    switch: Switch
    before: Score
    after: Score
    alone: Score  # VOC2007's rules with only this one switched


class _Group(NamedTuple):
    """One class in one image, better scores first."""

    scores: np.ndarray  # (n,)
    boxes: np.ndarray  # (n, 4), detected
    gt_boxes: np.ndarray  # (m, 4)
    difficult: np.ndarray  # (m,) bool
    crowd: np.ndarray  # (m,) bool


def explain(images: Sequence[Record], num_classes: int) -> list[Step]:
    """Goes from VOC2007's number (`steps[0].before`) to COCO's (`steps[-1].after`).

    Boxes alone are judged. `steps[0].after` is VOC2012's, `steps[-1].before` COCO's AP at 0.5.
    """
    groups = _grouped(images, num_classes)
    first = before = _score(groups, VOC07)
    rules, steps = VOC07, []
    for switch in SWITCHES:
        rules = switch.applied(rules)
        after = _score(groups, rules)
        alone = after if before is first else _score(groups, switch.applied(VOC07))
        steps.append(Step(switch, before, after, alone))
        before = after
    return steps


def score(images: Sequence[Record], num_classes: int, rules: Rules = VOC07) -> Score:
    """Computes AP per class under any rules; equal scores are in the order of the images."""
    return _score(_grouped(images, num_classes), rules)


def _score(classes: list[list[_Group]], rules: Rules) -> Score:
    """Computes AP per class from each class's groups."""
    ap = np.full((len(classes), len(rules.iou_thresholds)), np.nan)
    total = np.zeros(5, np.int64)
    for label, groups in enumerate(classes):
        seen = [_cut(group, rules) for group in groups]
        ious = [_iou(group, rules) for group in seen]
        for column, threshold in enumerate(rules.iou_thresholds):
            ranking = _ranking(seen, ious, rules, threshold)
            if ranking.total:
                ap[label, column] = _average(ranking, rules.recalls)
            if column == 0:
                hits, false = int(ranking.hit.sum()), int(ranking.miss.sum())
                unseen = sum(len(g.scores) for g in groups) - len(ranking.scores)
                ignored = len(ranking.scores) - hits - false
                total += [ranking.total, hits, false, ignored, unseen]
    per_threshold = np.array([_mean(column) for column in ap.T])
    return Score(ap.mean(1), per_threshold, Counts(*total.tolist()))


def _average(ranking: Ranking, recalls: str) -> float:
    """Averages a class's precision over recalls; see `Rules`."""
    recall, precision = precision_recall(ranking)
    if recalls == "101-point":
        return float(envelope(recall, precision, np.linspace(0, 1, 101)).mean())
    return average_precision(recall, precision, recalls == "11-point")


def _ranking(
    groups: list[_Group], ious: list[np.ndarray], rules: Rules, threshold: float
) -> Ranking:
    """Ranks a class's detections, judged at one IoU threshold."""
    # Per detection: score, whether it is a hit, and whether a miss.
    columns: list[tuple[np.ndarray, ...]] = [(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool))]
    total = 0
    judge = _by_free_object if rules.next_best else _by_best_object
    for group, iou in zip(groups, ious, strict=True):
        spared = _spared(group, rules)
        over = iou >= threshold if rules.equal_is_hit else iou > threshold
        hit, ignored = judge(iou, over, spared)
        columns.append((group.scores, hit, ~hit & ~ignored))
        total += int((~spared).sum())
    scores, hits, misses = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], hits[order], misses[order], total)


def _by_best_object(
    iou: np.ndarray, over: np.ndarray, spared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (hit, ignored), (n,) each, as VOC's development kit judges.

    Args:
      iou: (n, m) of detections, better scores first, and objects.
      over: (n, m) bool, whether it is enough for a hit.
      spared: (m,) bool, objects that neither count nor punish.
    """
    hit, ignored = np.zeros(len(over), bool), np.zeros(len(over), bool)
    if not over.any():
        return hit, ignored
    best = iou.argmax(1)
    chosen = np.flatnonzero(over[np.arange(len(over)), best])
    ignored[chosen] = spared[best[chosen]]
    # Of the detections of one object the first, the best-scored, has it.
    first = chosen[np.unique(best[chosen], return_index=True)[1]]
    hit[first] = ~ignored[first]
    return hit, ignored


def _by_free_object(
    iou: np.ndarray, over: np.ndarray, spared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (hit, ignored), (n,) each, as COCOeval judges: objects that count come first.

    The arguments are those of `_by_best_object`.
    """
    hit, ignored = np.zeros(len(over), bool), np.zeros(len(over), bool)
    open_ = ~spared
    for i in np.flatnonzero(over.any(1)):
        free = np.where(over[i] & open_, iou[i], -1.0)
        if free.max() >= 0:
            hit[i] = True
            # Of equal IoUs COCOeval takes the last.
            open_[len(free) - 1 - free[::-1].argmax()] = False
        else:
            ignored[i] = bool((over[i] & spared).any())
    return hit, ignored


def _iou(group: _Group, rules: Rules) -> np.ndarray:
    """Returns the IoU (n, m); for spared crowds the share of the detection that lies within."""
    iou = pixel_iou(group.boxes, group.gt_boxes, rules.inclusive)
    if rules.ignore_crowd and group.crowd.any():
        crowd = group.gt_boxes[group.crowd]
        extra = 1.0 if rules.inclusive else 0.0
        low = np.maximum(group.boxes[:, None, :2], crowd[None, :, :2])
        high = np.minimum(group.boxes[:, None, 2:], crowd[None, :, 2:])
        both = np.prod(np.maximum(high - low + extra, 0.0), axis=2)
        area = np.prod(group.boxes[:, 2:] - group.boxes[:, :2] + extra, axis=1)[:, None]
        iou[:, group.crowd] = np.divide(both, area, out=np.zeros_like(both), where=area > 0)
    return iou


def _spared(group: _Group, rules: Rules) -> np.ndarray:
    """Returns (m,) bool: objects that neither count nor punish."""
    return (group.difficult & rules.ignore_difficult) | (group.crowd & rules.ignore_crowd)


def _cut(group: _Group, rules: Rules) -> _Group:
    """Leaves out the detections beyond `max_detections`."""
    count = rules.max_detections
    return group._replace(scores=group.scores[:count], boxes=group.boxes[:count])


def _grouped(images: Sequence[Record], num_classes: int) -> list[list[_Group]]:
    """Groups by class, in the order of the images, all that has an object or a detection."""
    classes: list[list[_Group]] = [[] for _ in range(num_classes)]
    for image in images:
        truth, detections = image.truth, image.detections
        none = np.zeros(len(truth.labels), bool)
        difficult = none if truth.difficult is None else truth.difficult
        crowd = none if truth.crowd is None else truth.crowd
        order = np.argsort(-detections.scores, kind="stable")
        for label in np.union1d(truth.labels, detections.labels).tolist():
            true, detected = truth.labels == label, order[detections.labels[order] == label]
            boxes = detections.boxes[detected], truth.boxes[true]
            group = _Group(detections.scores[detected], *boxes, difficult[true], crowd[true])
            classes[label].append(group)
    return classes


def _mean(ap: np.ndarray) -> float:
    """Averages over the classes with objects; NaN without any."""
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else float("nan")
