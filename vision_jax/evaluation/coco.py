"""COCO's average precision and recall of boxes, masks and keypoints, computed by pycocotools."""

import contextlib
import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vision_jax.config import UserError
from vision_jax.evaluation.records import Record, annotated, records
from vision_jax.structs import Batch

KINDS = ("bbox", "segm", "keypoints")
# The names of COCOeval's numbers, in its order.
STATS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)
KEYPOINT_STATS = (
    *("ap", "ap50", "ap75", "ap_medium", "ap_large"),
    *("ar", "ar50", "ar75", "ar_medium", "ar_large"),
)
_PREFIX = {"bbox": "", "segm": "mask_", "keypoints": "keypoint_"}
_OWN_FIELD = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
_AREAS = {"bbox": 4, "segm": 4, "keypoints": 3}  # all, small, medium, large; or all, medium, large


class Scores(NamedTuple):
    """COCOeval's results; -1 where there is nothing to measure."""

    stats: np.ndarray  # (12,), or (10,) for keypoints
    precision: np.ndarray  # (IoU 0.5:0.95:0.05, recall 0:1:0.01, category, area, max detections)
    recall: np.ndarray  # (IoU, category, area, max detections)
    scores: np.ndarray  # like precision: the score at which that recall is reached


@dataclass(frozen=True)
class COCO:
    """COCO's numbers from `outputs["detections"]`, for each kind.

    Result: `ap`, `ap50`, `ap75`, `ap_small` ... `ar_large` (masks with the prefix `mask_`,
    keypoints `keypoint_`; a number with nothing to measure is left out), and arrays `per_class_ap`
    (C,), `per_size_ap` (C, sizes: all, small, medium, large) and `precision_at_recall` (C, 101) at
    IoU 0.5, NaN where there is nothing to measure.

    Fields:
      num_classes: C.
      kinds: of bbox, segm, keypoints.
      truth: the evaluation set's source, with 'rle' among its fields for masks. Annotations are
        then taken from there, all of them, and masks are compared at the original's resolution, as
        COCO does. None: the batch's, no more than `max_boxes` and masks as the network saw them.
    """

    num_classes: int
    kinds: tuple[str, ...] = ("bbox",)
    truth: Any = None
    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("detections",)

    def __post_init__(self):
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(f"COCO kind {kind!r}: use some of {', '.join(KINDS)}")

    def empty(self) -> list:
        return []

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        rows = records(batch, outputs["detections"], original=self.truth is not None)
        for row in rows if self.truth is not None else ():
            row.truth = annotated(self.truth, row.id)
        return [*state, *rows]

    def result(self, state: list) -> dict[str, float | np.ndarray]:
        if not state:
            return {}
        results = {}
        dataset, detections = to_coco(state, self.num_classes)
        for kind in self.kinds:
            scores = evaluate(dataset, detections, kind)
            names = KEYPOINT_STATS if kind == "keypoints" else STATS
            measured = zip(names, scores.stats, strict=True)
            found = {name: float(value) for name, value in measured if value > -1}
            found |= tables(scores)
            results |= {_PREFIX[kind] + name: value for name, value in found.items()}
        return results


def evaluate(
    dataset: dict[str, Any], detections: Sequence[dict[str, Any]], kind: str = "bbox"
) -> Scores:
    """COCOeval on a data set and detections in COCO's own format (boxes x, y, w, h).

    As with files of results, only the kind's own field of a detection counts: areas are those of
    its boxes, masks or keypoints.
    """
    from pycocotools.coco import COCO as Truth
    from pycocotools.cocoeval import COCOeval

    own = ("image_id", "category_id", "score", _OWN_FIELD[kind])
    given = [copy.deepcopy({key: one[key] for key in own}) for one in detections]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = Truth()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        if given:
            found = truth.loadRes(given)
        else:  # loadRes needs at least one
            found = Truth()
            found.dataset = {**copy.deepcopy(dataset), "annotations": []}
            found.createIndex()
        run = COCOeval(truth, found, kind)
        if kind == "keypoints" and given:
            run.params.kpt_oks_sigmas = _sigmas(len(given[0]["keypoints"]) // 3)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return Scores(run.stats, run.eval["precision"], run.eval["recall"], run.eval["scores"])


def tables(scores: Scores) -> dict[str, np.ndarray]:
    """Per class and per size, at the largest number of detections; NaN: nothing to measure."""
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
    """(data set, detections) in COCO's format; class c is category c + 1, ids count from 1.

    Images keep their order, and get numbers of their own: `Record.id` may repeat.
    """
    infos, annotations, detections = [], [], []
    for number, image in enumerate(images, 1):
        infos.append({"id": number, "height": image.height, "width": image.width})
        truth, found = image.truth, image.found
        for i, (box, label) in enumerate(zip(truth.boxes, truth.labels.tolist(), strict=True)):
            one = _annotation(number, box, label) | {"id": len(annotations) + 1}
            one["iscrowd"] = int(truth.crowd is not None and bool(truth.crowd[i]))
            one["area"] = float(truth.area[i]) if truth.area is not None else _area(box)
            if truth.masks is not None:
                one["segmentation"] = _segmentation(truth.masks[i], image)
            if truth.keypoints is not None:
                one["keypoints"] = truth.keypoints[i].reshape(-1).tolist()
                one["num_keypoints"] = int((truth.keypoints[i][:, 2] > 0).sum())
            annotations.append(one)
        for i, (box, label) in enumerate(zip(found.boxes, found.labels.tolist(), strict=True)):
            one = _annotation(number, box, label) | {"score": float(found.scores[i])}
            if found.masks is not None:
                one["segmentation"] = _segmentation(found.masks[i], image)
            if found.keypoints is not None:
                one["keypoints"] = found.keypoints[i].reshape(-1).tolist()
            detections.append(one)
    categories = [{"id": c + 1, "name": str(c)} for c in range(num_classes)]
    dataset = {"info": {}, "images": infos, "annotations": annotations, "categories": categories}
    return dataset, detections


def _annotation(image: int, box: np.ndarray, label: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return {"image_id": image, "category_id": label + 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _segmentation(text: bytes, image: Record) -> dict[str, Any]:
    return {"size": [image.height, image.width], "counts": text.decode()}


def _sigmas(count: int) -> np.ndarray:
    """COCO's spreads for its 17 body points; for other sets of points their mean."""
    body = (26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89)
    sigmas = np.array(body) / 1000
    return sigmas if count == len(body) else np.full(count, sigmas.mean())
