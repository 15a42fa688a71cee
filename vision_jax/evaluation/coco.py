"""COCO's average precision and recall of boxes, masks and keypoints, computed by pycocotools."""

import contextlib
import copy
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vision_jax.config import SettingError, UserError, within
from vision_jax.evaluation.metric import Results
from vision_jax.evaluation.records import (
    Annotated,
    DetectionMetric,
    Objects,
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
_PREFIX = {"bbox": "", "segm": "mask_", "keypoints": "keypoint_"}
_FIELD = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


class Scores(NamedTuple):
    """COCOeval's results; -1 where there is nothing to measure."""

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
        dataset, detections = to_coco(state, self.num_classes)
        for iou_type in self.iou_types:
            scores = evaluate(dataset, detections, iou_type, self._limits(iou_type))
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
    dataset: dict[str, Any],
    detections: Sequence[dict[str, Any]],
    iou_type: str = "bbox",
    limits: tuple[int, ...] | None = None,
) -> Scores:
    """Runs COCOeval on a data set and detections in COCO's own format (boxes x, y, w, h).

    It treats detections as a file of results: only the type's own field counts, so areas are those
    of boxes, masks or keypoints.

    Args:
      dataset, detections: in COCO's format.
      iou_type: some of `IOU_TYPES`.
      limits: detections per image and class, three rising numbers, or one for keypoints; None is
        COCO's own.
    """
    from pycocotools.coco import COCO as DataSet
    from pycocotools.cocoeval import COCOeval

    keys = ("image_id", "category_id", "score", _FIELD[iou_type])
    rows = [copy.deepcopy({key: one[key] for key in keys}) for one in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = DataSet()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        if rows:
            results = truth.loadRes(rows)
        else:  # loadRes needs at least one
            results = DataSet()
            results.dataset = {**copy.deepcopy(dataset), "annotations": []}
            results.createIndex()
        run = COCOeval(truth, results, iou_type)
        if iou_type == "keypoints" and rows:
            run.params.kpt_oks_sigmas = _sigmas(len(rows[0]["keypoints"]) // 3)
        if limits is not None:
            run.params.maxDets = list(limits)
        run.evaluate()
        run.accumulate()
    precision, recall = run.eval["precision"], run.eval["recall"]
    return Scores(_stats(precision, recall), precision, recall, run.eval["scores"])


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


def to_coco(
    images: Sequence[Record], num_classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns (data set, detections) in COCO's format; class c is category c + 1.

    Images keep their order, and get numbers of their own from 1: `Record.id` may repeat.
    """
    infos = []
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        infos.append({"id": number, "height": image.height, "width": image.width})
        truth = image.truth
        for i, one in enumerate(_entries(number, image, truth)):
            one["id"] = len(annotations) + 1
            one["iscrowd"] = int(truth.crowd is not None and bool(truth.crowd[i]))
            one["area"] = float(truth.area[i]) if truth.area is not None else _area(truth.boxes[i])
            if truth.keypoints is not None:
                one["num_keypoints"] = int((truth.keypoints[i][:, 2] > 0).sum())
            annotations.append(one)
        for i, one in enumerate(_entries(number, image, image.detections)):
            one["score"] = float(image.detections.scores[i])
            detections.append(one)
    categories = [{"id": c + 1, "name": str(c)} for c in range(num_classes)]
    dataset = {"info": {}, "images": infos, "annotations": annotations, "categories": categories}
    return dataset, detections


def _entries(number: int, image: Record, objects: Objects) -> Iterator[dict[str, Any]]:
    """Yields the entry of each annotated or detected object, in the fields that both have."""
    for i, (box, label) in enumerate(zip(objects.boxes, objects.labels.tolist(), strict=True)):
        x0, y0, x1, y1 = (float(v) for v in box)
        bbox = [x0, y0, x1 - x0, y1 - y0]
        entry: dict[str, Any] = {"image_id": number, "category_id": label + 1, "bbox": bbox}
        if objects.masks is not None:
            counts = objects.masks[i].decode()
            entry["segmentation"] = {"size": [image.height, image.width], "counts": counts}
        if objects.keypoints is not None:
            entry["keypoints"] = objects.keypoints[i].reshape(-1).tolist()
        yield entry


def _area(box: np.ndarray) -> float:
    """Returns the area of an xyxy box."""
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _sigmas(count: int) -> np.ndarray:
    """Returns COCO's spreads for its 17 body points; for other sets of points their mean."""
    body = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
    sigmas = np.array(body) / 1000
    return sigmas if count == len(body) else np.full(count, sigmas.mean())
