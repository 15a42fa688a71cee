"""Annotated and detected objects, image by image, in pixels of the original image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from vision_jax.config import UserError
from vision_jax.evaluation.metric import GatheredMetric
from vision_jax.ops import rle
from vision_jax.structs import Array, Batch, Detections


def _no_boxes() -> np.ndarray:
    return np.zeros((0, 4))


def _no_numbers() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass
class Objects:
    """Objects of one image, annotated or detected; all lists are of one length n."""

    boxes: np.ndarray = field(default_factory=_no_boxes)  # (n, 4) float64 xyxy
    labels: np.ndarray = field(default_factory=_no_numbers)  # (n,) int64, 0..C-1
    scores: np.ndarray | None = None  # (n,) float64, of detections
    difficult: np.ndarray | None = None  # (n,) bool, of annotations; None means none is
    crowd: np.ndarray | None = None  # (n,) bool, of annotations; None means none is
    area: np.ndarray | None = None  # (n,) float64, of annotations; None means the box's
    masks: list[bytes] | None = None  # COCO's run lengths
    keypoints: np.ndarray | None = None  # (n, k, 3) float64: x, y, visibility or score


@dataclass
class Record:
    """One image of a data set. `height` and `width` are those of its masks."""

    id: int
    height: int
    width: int
    truth: Objects
    detections: Objects


@runtime_checkable
class Annotated(Protocol):
    """A data set from which annotations can be read, such as a `data.Source`."""

    def __getitem__(self, i: int) -> Mapping[str, Any]:
        """Returns example i."""


class DetectionMetric(GatheredMetric):
    """A metric of `outputs["detections"]`; its state is a list of `Record`s."""

    outputs: ClassVar[tuple[str, ...] | None] = ("detections",)

    def collect(self, state: list[Any], outputs: dict[str, Any], batch: Batch) -> list[Any]:
        return [*state, *records(batch, outputs["detections"])]


def annotated(source: Annotated, i: int) -> Objects:
    """Returns the objects of a source's example, in pixels of the original.

    Its image is not decoded.

    Raises:
      UserError: an example without boxes.
    """
    example = source[i]
    if "boxes" not in example:
        raise UserError("the evaluation set has no boxes; does its source ask for 'objects'?")

    def read(key: str, kind: type) -> np.ndarray | None:
        return np.asarray(example[key], kind) if key in example else None

    return Objects(
        boxes=np.asarray(example["boxes"], np.float64),
        labels=np.asarray(example["labels"], np.int64),
        difficult=read("difficult", bool),
        crowd=read("crowd", bool),
        area=read("area", np.float64),
        masks=list(example["rle"]) if "rle" in example else None,
        keypoints=read("keypoints", np.float64),
    )


def records(
    batch: Batch, detections: Detections, mask_threshold: float = 0.5, original: bool = False
) -> list[Record]:
    """Returns the valid rows of a batch (NumPy arrays) with their detections.

    Boxes and keypoints are divided by `batch.scale`.

    Args:
      batch: with boxes, labels and valid among its targets.
      detections: in pixels of the network's input.
      mask_threshold: probability that a predicted mask's pixels exceed.
      original: paste predicted masks at the original's resolution, for annotated ones that come
        from elsewhere. Else they are pasted where the batch's annotated masks are, at the
        resolution of the network's input; without such masks they are left out.

    Raises:
      ValueError: the batch has no boxes, or for `original` no sizes.
    """
    targets = batch.targets
    if targets.boxes is None or targets.labels is None or targets.valid is None:
        raise ValueError("detection metrics need targets.boxes, targets.labels and targets.valid")
    if original and batch.size is None:
        raise ValueError("masks at the original's resolution need batch.size")
    gt_masks = None if original or detections.masks is None else targets.masks
    rows = []
    for i in np.flatnonzero(batch.valid).tolist():
        scale = np.ones(2) if batch.scale is None else np.asarray(batch.scale[i], np.float64)
        truth, detected = _truth(batch, i, scale), _detected(detections, i, scale)
        size = batch.image.shape[1:3] if batch.size is None else batch.size[i].astype(int)
        valid = np.asarray(detections.valid[i])
        if gt_masks is not None:
            size = gt_masks.shape[2:]
            gt_valid = np.asarray(targets.valid[i])
            truth.masks = [rle.encode(np.asarray(m, bool)) for m in gt_masks[i][gt_valid]]
        height, width = int(size[0]), int(size[1])
        if gt_masks is not None or (original and detections.masks is not None):
            boxes = detected.boxes if original else detections.boxes[i][valid]
            masks = detections.masks[i][valid]
            detected.masks = _pasted(masks, boxes, height, width, mask_threshold)
        number = len(rows) if batch.id is None else int(batch.id[i])
        rows.append(Record(number, height, width, truth, detected))
    return rows


def _truth(batch: Batch, row: int, scale: np.ndarray) -> Objects:
    """Returns a row's annotated objects, without masks."""
    targets, valid = batch.targets, np.asarray(batch.targets.valid[row])
    return Objects(
        boxes=_original(targets.boxes[row][valid], scale),
        labels=np.asarray(targets.labels[row][valid], np.int64),
        difficult=_chosen(targets.difficult, row, valid, bool),
        crowd=_chosen(targets.crowd, row, valid, bool),
        area=_chosen(targets.area, row, valid, np.float64),
        keypoints=_points(targets.keypoints, row, valid, scale),
    )


def _detected(detections: Detections, row: int, scale: np.ndarray) -> Objects:
    """Returns a row's detected objects, without masks."""
    valid = np.asarray(detections.valid[row])
    return Objects(
        boxes=_original(detections.boxes[row][valid], scale),
        labels=np.asarray(detections.labels[row][valid], np.int64),
        scores=np.asarray(detections.scores[row][valid], np.float64),
        keypoints=_points(detections.keypoints, row, valid, scale),
    )


def _original(boxes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Converts boxes to pixels of the original, in float64."""
    return np.asarray(boxes, np.float64) / np.array([scale[1], scale[0], scale[1], scale[0]])


def _chosen(values: Array | None, row: int, chosen: np.ndarray, kind: type) -> np.ndarray | None:
    """Returns a row's values of the chosen objects; None where there are no values."""
    return None if values is None else np.asarray(values[row][chosen], kind)


def _points(
    values: Array | None, row: int, chosen: np.ndarray, scale: np.ndarray
) -> np.ndarray | None:
    """Returns a row's keypoints of the chosen objects in pixels of the original, in float64."""
    points = _chosen(values, row, chosen, np.float64)
    return None if points is None else points / np.array([scale[1], scale[0], 1.0])


def _pasted(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float
) -> list[bytes]:
    """Returns predicted masks as run lengths at their place."""
    from vision_jax.ops.masks import paste_on_host

    pasted = paste_on_host(masks, boxes, height, width)
    return [rle.encode(mask > threshold) for mask in pasted]
