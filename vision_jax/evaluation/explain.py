"""Why one set of detections has three average precisions: VOC2007's, VOC2012's and COCO's.

One scorer with every rule as a field: `VOC07` at one end, `COCO_AP` at the other. `explain`
switches the rules one at a time, in the order of `SWITCHES`, and measures what each switch does to
the number; so the changes add up to the whole difference. Each switch is also made alone, on
VOC2007's rules, since the effects are not independent.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

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
    """How detections are judged and averaged; the defaults are VOC2007's.

    Fields:
      recalls: '11-point', 'area' or '101-point': where precision is averaged.
      inclusive: boxes are inclusive pixels, one wider and higher than x1 - x0.
      reach: an IoU equal to the threshold is a hit; else it must be exceeded.
      free: a detection takes the best object that is still free; else it is judged by its best
        object alone, and is false where another has that.
      spare_difficult: objects marked difficult neither count nor punish; else they are objects.
      spare_crowd: crowds likewise, overlap with them being the share of the detection that lies
        within; else they are objects.
      most: detections per image and class, the best; None is all.
      thresholds: of the IoU; average precision is averaged over them.
    """

    recalls: str = "11-point"
    inclusive: bool = True
    reach: bool = False
    free: bool = False
    spare_difficult: bool = True
    spare_crowd: bool = False
    most: int | None = None
    thresholds: tuple[float, ...] = (0.5,)


class Switch(NamedTuple):
    """One rule, as it is on the way from VOC2007 to COCO."""

    title: str
    rule: str  # what holds from here on
    field: str
    value: object


# np.linspace and not decimals: COCOeval's thresholds to the last bit.
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
SWITCHES = (
    Switch("area", "precision over the whole recall, not at 11 recalls", "recalls", "area"),
    Switch("101 points", "precision at recalls 0, 0.01 … 1", "recalls", "101-point"),
    Switch("pixels", "a box is x1 - x0 wide, not a pixel more", "inclusive", False),
    Switch("IoU >=", "an IoU of exactly the threshold is a hit", "reach", True),
    Switch("matching", "a detection may take its second-best object if free", "free", True),
    Switch("difficult", "objects marked difficult count", "spare_difficult", False),
    Switch("crowd", "crowds no longer count as objects, nor punish", "spare_crowd", True),
    Switch("most 100", "only the best 100 of a class in an image are seen", "most", 100),
    Switch("thresholds", "mean over IoU 0.50:0.95, not 0.5 alone", "thresholds", COCO_THRESHOLDS),
)
VOC07 = Rules()
VOC12 = Rules(recalls="area")
COCO_AP = Rules(**{switch.field: switch.value for switch in SWITCHES})


class Counts(NamedTuple):
    """What is what at the lowest threshold."""

    objects: int
    hits: int
    false: int
    ignored: int  # detections that neither count nor punish
    unseen: int  # detections beyond `most`


class Score(NamedTuple):
    """Average precision under one set of rules."""

    ap: np.ndarray  # (C,), NaN for a class without objects
    per_threshold: np.ndarray  # (thresholds,), mean over classes
    counts: Counts

    @property
    def mean(self) -> float:
        return _mean(self.ap)


class Step(NamedTuple):
    """What a switch does."""

    switch: Switch
    before: Score
    after: Score
    alone: Score  # VOC2007's rules with only this one switched


class _Group(NamedTuple):
    """One class in one image, better scores first."""

    scores: np.ndarray  # (n,)
    found: np.ndarray  # (n, 4)
    truth: np.ndarray  # (m, 4)
    difficult: np.ndarray  # (m,) bool
    crowd: np.ndarray  # (m,) bool


def explain(images: Sequence[Record], num_classes: int) -> list[Step]:
    """The way from VOC2007's number (`steps[0].before`) to COCO's (`steps[-1].after`).

    Boxes alone are judged. `steps[0].after` is VOC2012's, `steps[-1].before` COCO's AP at 0.5.
    """
    groups = _grouped(images, num_classes)
    first = before = _score(groups, VOC07)
    rules, steps = VOC07, []
    for switch in SWITCHES:
        change = {switch.field: switch.value}
        rules = dataclasses.replace(rules, **change)
        after = _score(groups, rules)
        alone = after if before is first else _score(groups, dataclasses.replace(VOC07, **change))
        steps.append(Step(switch, before, after, alone))
        before = after
    return steps


def score(images: Sequence[Record], num_classes: int, rules: Rules = VOC07) -> Score:
    """Average precision per class under any rules; equal scores in the order of the images."""
    return _score(_grouped(images, num_classes), rules)


def _score(classes: list[list[_Group]], rules: Rules) -> Score:
    ap = np.full((len(classes), len(rules.thresholds)), np.nan)
    total = np.zeros(5, np.int64)
    for label, groups in enumerate(classes):
        seen = [_cut(group, rules) for group in groups]
        overlaps = [_overlap(group, rules) for group in seen]
        for column, threshold in enumerate(rules.thresholds):
            ranking = _ranking(seen, overlaps, rules, threshold)
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
    recall, precision = precision_recall(ranking)
    if recalls == "101-point":
        return float(envelope(recall, precision, np.linspace(0, 1, 101)).mean())
    return average_precision(recall, precision, recalls == "11-point")


def _ranking(
    groups: list[_Group], overlaps: list[np.ndarray], rules: Rules, threshold: float
) -> Ranking:
    scores, hits, misses, total = [np.zeros(0)], [np.zeros(0, bool)], [np.zeros(0, bool)], 0
    judge = _by_free_object if rules.free else _by_best_object
    for group, overlap in zip(groups, overlaps, strict=True):
        spared = _spared(group, rules)
        over = overlap >= threshold if rules.reach else overlap > threshold
        hit, ignored = judge(overlap, over, spared)
        scores.append(group.scores)
        hits.append(hit)
        misses.append(~hit & ~ignored)
        total += int((~spared).sum())
    scores, hits, misses = (np.concatenate(parts) for parts in (scores, hits, misses))
    order = np.argsort(-scores, kind="stable")
    return Ranking(scores[order], hits[order], misses[order], total)


def _by_best_object(
    overlap: np.ndarray, over: np.ndarray, spared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(hit, ignored), (n,) each, as VOC's development kit judges."""
    hit, ignored = np.zeros(len(over), bool), np.zeros(len(over), bool)
    if not over.any():
        return hit, ignored
    best = overlap.argmax(1)
    chosen = np.flatnonzero(over[np.arange(len(over)), best])
    ignored[chosen] = spared[best[chosen]]
    # Of the detections of one object the first, the best-scored, has it.
    first = chosen[np.unique(best[chosen], return_index=True)[1]]
    hit[first] = ~ignored[first]
    return hit, ignored


def _by_free_object(
    overlap: np.ndarray, over: np.ndarray, spared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(hit, ignored), (n,) each, as COCOeval judges: objects that count come first."""
    hit, ignored = np.zeros(len(over), bool), np.zeros(len(over), bool)
    open_ = ~spared
    for i in np.flatnonzero(over.any(1)):
        able = np.where(over[i] & open_, overlap[i], -1.0)
        if able.max() >= 0:
            hit[i] = True
            # Of equal overlaps COCOeval takes the last.
            open_[len(able) - 1 - able[::-1].argmax()] = False
        else:
            ignored[i] = bool((over[i] & spared).any())
    return hit, ignored


def _overlap(group: _Group, rules: Rules) -> np.ndarray:
    """(n, m) IoU; for spared crowds the share of the detection that lies within."""
    overlap = pixel_iou(group.found, group.truth, rules.inclusive)
    if rules.spare_crowd and group.crowd.any():
        crowd = group.truth[group.crowd]
        more = 1.0 if rules.inclusive else 0.0
        low = np.maximum(group.found[:, None, :2], crowd[None, :, :2])
        high = np.minimum(group.found[:, None, 2:], crowd[None, :, 2:])
        both = np.prod(np.maximum(high - low + more, 0.0), axis=2)
        area = np.prod(group.found[:, 2:] - group.found[:, :2] + more, axis=1)[:, None]
        overlap[:, group.crowd] = np.divide(both, area, out=np.zeros_like(both), where=area > 0)
    return overlap


def _spared(group: _Group, rules: Rules) -> np.ndarray:
    return (group.difficult & rules.spare_difficult) | (group.crowd & rules.spare_crowd)


def _cut(group: _Group, rules: Rules) -> _Group:
    return group._replace(scores=group.scores[: rules.most], found=group.found[: rules.most])


def _grouped(images: Sequence[Record], num_classes: int) -> list[list[_Group]]:
    """By class, in the order of the images; only what has an object or a detection."""
    classes: list[list[_Group]] = [[] for _ in range(num_classes)]
    for image in images:
        truth, found = image.truth, image.found
        none = np.zeros(len(truth.labels), bool)
        difficult = none if truth.difficult is None else truth.difficult
        crowd = none if truth.crowd is None else truth.crowd
        order = np.argsort(-found.scores, kind="stable")
        for label in np.union1d(truth.labels, found.labels).tolist():
            here, mine = truth.labels == label, order[found.labels[order] == label]
            boxes = found.boxes[mine], truth.boxes[here]
            group = _Group(found.scores[mine], *boxes, difficult[here], crowd[here])
            classes[label].append(group)
    return classes


def _mean(ap: np.ndarray) -> float:
    """Over the classes with objects; NaN without any."""
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else float("nan")
