"""Which detection finds which object by COCO's rules: all images, classes and IoUs side by side.

Within an image and a class the best-scored detection chooses first, and an object is found once;
images and classes have nothing to do with each other. So all detections that are the r-th best of
theirs choose together, and only the few pairs that overlap enough are looked at. The overlaps of
masks are pycocotools'.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as codec

from vision_jax.config import UserError
from vision_jax.evaluation.records import Objects, Record

IOUS = np.linspace(0.5, 0.95, 10)  # from which a detection counts
_EXACT = 1 - 1e-10  # what is asked for in place of an IoU of 1, since sums are rounded
_PAIRS = 1 << 22  # that are compared at once
# COCO's spreads of its 17 body points, in thousandths of the root of a person's area.
_BODY = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)

Numbers = Int[np.ndarray, "n"]
Reals = Float[np.ndarray, "n"]
Flags = Bool[np.ndarray, "n"]


class Truth(NamedTuple):
    """All annotated objects, sorted by image and class, in their order there."""

    group: Numbers  # image × classes + class
    shape: np.ndarray  # boxes x, y, w, h (n, 4); COCO's run lengths (n,); or keypoints (n, k, 3)
    boxes: Float[np.ndarray, "n 4"]  # x, y, w, h
    area: Reals
    crowd: Flags
    ignored: Flags  # neither to be found nor wrong to find


class Found(NamedTuple):
    """All detections that count, sorted by image, class and falling score."""

    group: Numbers
    shape: np.ndarray
    area: Reals
    score: Reals
    rank: Numbers  # within its image and class, from 0


class Pairs(NamedTuple):
    """Detections and objects of the same image and class whose overlap is at least `IOUS[0]`."""

    found: Int[np.ndarray, "p"]
    truth: Int[np.ndarray, "p"]
    overlap: Float[np.ndarray, "p"]


class Matches(NamedTuple):
    """What became of each detection, for each range of areas and each of `IOUS`."""

    is_right: Bool[np.ndarray, "a t n"]  # it found an object
    is_ignored: Bool[np.ndarray, "a t n"]  # it counts neither as right nor as wrong
    counts: Bool[np.ndarray, "a m"]  # objects that are to be found


def annotated(images: Sequence[Record], num_classes: int, iou_type: str) -> Truth:
    """Lists the annotated objects; those of labels outside 0..num_classes-1 are left out.

    Args:
      images: of the whole evaluation set.
      num_classes: C.
      iou_type: 'bbox', 'segm' or 'keypoints'.

    Raises:
      UserError: objects without what the type compares.
    """
    sides = [image.truth for image in images]
    group, order = _grouped(sides, num_classes)
    boxes = _boxes(sides)[order]
    shape = boxes if iou_type == "bbox" else _shapes(images, sides, iou_type)[order]
    areas = [_box_areas(side) if side.area is None else side.area for side in sides]
    crowds = [np.zeros(len(s.labels), bool) if s.crowd is None else s.crowd for s in sides]
    crowd = _joined(crowds, bool)[order]
    ignored = crowd | ~(shape[..., 2] > 0).any(1) if iou_type == "keypoints" else crowd
    return Truth(group, shape, boxes, _joined(areas, float)[order], crowd, ignored)


def detected(images: Sequence[Record], num_classes: int, iou_type: str, limit: int) -> Found:
    """Lists the `limit` best-scored detections of each image and class; see `annotated`."""
    sides = [image.detections for image in images]
    group, order = _grouped(sides, num_classes)
    score = _joined([[] if side.scores is None else side.scores for side in sides], float)[order]
    best = np.lexsort((-score, group))
    group = group[best]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    counts = rank < limit
    group, rank, score, order = (x[counts] for x in (group, rank, score[best], order[best]))
    shape = _boxes(sides) if iou_type == "bbox" else _shapes(images, sides, iou_type)
    shape = shape[order]
    if iou_type == "bbox":
        area = shape[:, 2] * shape[:, 3]
    elif iou_type == "segm":
        area = np.array([codec.area(one) for one in shape], float)
    else:
        area = np.ptp(shape[..., :2], 1).prod(1) if len(shape) else np.zeros(0)
    return Found(group, shape, area, score, rank)


def overlapping(truth: Truth, found: Found, iou_type: str) -> Pairs:
    """Finds the pairs that overlap enough: by IoU, or by COCO's similarity of keypoints.

    A crowd's overlap is the part of the detection that lies in it.
    """
    parts = list((_box_pairs if iou_type == "bbox" else _block_pairs)(truth, found, iou_type))
    one, other, overlap = ([part[i] for part in parts] for i in range(3))
    return Pairs(_joined(one, int), _joined(other, int), _joined(overlap, float))


def match(truth: Truth, found: Found, pairs: Pairs, areas: Float[np.ndarray, "a 2"]) -> Matches:
    """Lets detections choose objects, the best-scored ones first.

    A detection takes the object that it overlaps most among those that are free and, if any does,
    count; of equal overlaps the last. Crowds are always free.

    Args:
      truth, found, pairs: as listed above.
      areas: least and greatest area of objects that count, and of detections that are wrong.
    """
    ignored = truth.ignored | _outside(truth.area, areas)
    taken = np.zeros((len(areas), len(IOUS), len(truth.area)), bool)
    is_right = np.zeros((len(areas), len(IOUS), len(found.area)), bool)
    is_ignored = np.zeros_like(is_right)
    least = np.minimum(IOUS, _EXACT)[:, None]
    rank = found.rank[pairs.found]
    order = np.lexsort((pairs.truth, pairs.overlap, pairs.found, rank))
    ends = np.searchsorted(rank[order], np.arange(rank.max(initial=-1) + 2))
    for start, end in itertools.pairwise(ends.tolist()):
        chooses, chosen, overlap = (x[order[start:end]] for x in pairs)
        if len(chooses) == 0:
            continue
        firsts = np.flatnonzero(np.diff(chooses, prepend=-1))
        is_free = ~taken[..., chosen] | truth.crowd[chosen]
        # Pairs lie in the order of overlaps, so that the last that will do is the best.
        place = np.arange(1, end - start + 1) + ~ignored[:, None, chosen] * (end - start)
        place = np.where(is_free & (overlap >= least), place, 0)
        best = np.maximum.reduceat(place, firsts, axis=-1)
        area, iou, which = np.nonzero(best)
        takes = (best[area, iou, which] - 1) % (end - start)
        taken[area, iou, chosen[takes]] = True
        is_right[area, iou, chooses[takes]] = True
        is_ignored[area, iou, chooses[takes]] = ignored[area, chosen[takes]]
    is_ignored |= ~is_right & _outside(found.area, areas)[:, None]
    return Matches(is_right, is_ignored, ~ignored)


def _outside(area: Reals, areas: Float[np.ndarray, "a 2"]) -> Bool[np.ndarray, "a n"]:
    return (area < areas[:, :1]) | (area > areas[:, 1:])


def _box_pairs(truth: Truth, found: Found, _: str) -> Iterator[tuple[Numbers, Numbers, Reals]]:
    """Compares boxes, some millions of pairs at once."""
    first = np.searchsorted(truth.group, found.group)
    count = np.searchsorted(truth.group, found.group, "right") - first
    total = np.cumsum(count)
    cuts = np.searchsorted(total, np.arange(_PAIRS, total[-1:].sum() + _PAIRS, _PAIRS))
    start = 0
    for end in (*(cuts + 1).tolist(), len(count)):
        part = slice(start, min(end, len(count)))
        one = np.repeat(np.arange(len(count))[part], count[part])
        within = np.arange(len(one)) - np.repeat(np.cumsum(count[part]) - count[part], count[part])
        other = np.repeat(first[part], count[part]) + within
        overlap = _box_overlaps(found.shape[one], truth.shape[other], truth.crowd[other])
        enough = overlap >= IOUS[0]
        yield one[enough], other[enough], overlap[enough]
        start = part.stop


def _box_overlaps(d: Float[np.ndarray, "n 4"], g: Float[np.ndarray, "n 4"], crowd: Flags) -> Reals:
    """Computes the IoU of boxes x, y, w, h, in the order of pycocotools' operations."""
    sides = np.minimum(d[:, 2:] + d[:, :2], g[:, 2:] + g[:, :2]) - np.maximum(d[:, :2], g[:, :2])
    shared = np.where((sides > 0).all(1), sides[:, 0] * sides[:, 1], 0)
    area = d[:, 2] * d[:, 3]
    union = np.where(crowd, area, area + g[:, 2] * g[:, 3] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _block_pairs(
    truth: Truth, found: Found, iou_type: str
) -> Iterator[tuple[Numbers, Numbers, Reals]]:
    """Compares masks or keypoints, one image and class after the other."""
    for group in np.intersect1d(truth.group, found.group):
        t, f = (slice(*np.searchsorted(x.group, [group, group + 1])) for x in (truth, found))
        if iou_type == "segm":
            crowd = truth.crowd[t].astype(np.uint8).tolist()
            overlap = codec.iou(found.shape[f].tolist(), truth.shape[t].tolist(), crowd)
        else:
            rows = zip(truth.shape[t], truth.boxes[t], truth.area[t], strict=True)
            overlap = np.stack([_similarity(found.shape[f], *row) for row in rows], 1)
        one, other = np.nonzero(overlap >= IOUS[0])
        yield one + f.start, other + t.start, overlap[one, other]


def _similarity(
    points: Float[np.ndarray, "n k 3"],
    given: Float[np.ndarray, "k 3"],
    box: Float[np.ndarray, "4"],
    area: float,
) -> Reals:
    """Computes COCO's object keypoint similarity of detections with one object.

    Where none of its points is annotated, points of detections should lie in a region three times
    as wide and high as its box.
    """
    away = points[..., :2] - given[None, :, :2]
    seen = given[:, 2] > 0
    if not seen.any():
        low, high = box[:2] - box[2:], box[:2] + box[2:] * 2
        away = np.maximum(0, low - points[..., :2]) + np.maximum(0, points[..., :2] - high)
        seen = np.ones(len(given), bool)
    variances = (_spreads(len(given)) * 2) ** 2
    error = (away[..., 0] ** 2 + away[..., 1] ** 2) / variances / (area + np.spacing(1)) / 2
    return np.exp(-error[:, seen]).sum(1) / seen.sum()


def _spreads(count: int) -> Float[np.ndarray, "k"]:
    """Returns COCO's spreads of its 17 body points; for other sets of points their mean."""
    spreads = np.array(_BODY) / 1000
    return spreads if count == len(_BODY) else np.full(count, spreads.mean())


def _grouped(sides: Sequence[Objects], num_classes: int) -> tuple[Numbers, Numbers]:
    """Returns the sorted groups of all objects, and the place of each in the list of all."""
    label = _joined([side.labels for side in sides], int)
    image = np.repeat(np.arange(len(sides)), [len(side.labels) for side in sides])
    group = image * num_classes + label
    order = np.argsort(group, kind="stable")
    order = order[(label[order] >= 0) & (label[order] < num_classes)]
    return group[order], order


def _boxes(sides: Sequence[Objects]) -> Float[np.ndarray, "n 4"]:
    """Lists boxes as x, y, w, h."""
    corners = _joined([side.boxes for side in sides], float).reshape(-1, 4)
    return np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)


def _box_areas(side: Objects) -> Reals:
    return (side.boxes[:, 2] - side.boxes[:, 0]) * (side.boxes[:, 3] - side.boxes[:, 1])


def _shapes(images: Sequence[Record], sides: Sequence[Objects], iou_type: str) -> np.ndarray:
    """Lists masks as COCO's run lengths (n,), or keypoints (n, k, 3).

    Raises:
      UserError: objects that have none.
    """
    for image, side in zip(images, sides, strict=True):
        given, what = (side.masks, "masks") if iou_type == "segm" else (side.keypoints, "keypoints")
        if given is None and len(side.labels):
            who = "annotations" if side.scores is None else "detections"
            raise UserError(f"COCO iou_type {iou_type!r}: {who} of image {image.id} have no {what}")
    if iou_type == "keypoints":
        points = [side.keypoints for side in sides if side.keypoints is not None]
        points = [one for one in points if len(one)]
        return np.concatenate(points) if points else np.zeros((0, 1, 3))
    masks = [
        {"size": [image.height, image.width], "counts": counts}
        for image, side in zip(images, sides, strict=True)
        for counts in side.masks or ()
    ]
    listed = np.empty(len(masks), object)
    listed[:] = masks
    return listed


def _joined(parts: Sequence[Any], kind: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, kind), *(np.ravel(part) for part in parts)]).astype(kind)
