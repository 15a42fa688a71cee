"""What was there and what was found, image by image, in pixels of the original image."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.ops import rle
from vision_jax.structs import Batch, Detections

CANVAS = 128  # pixels; sides of what masks are pasted onto are multiples of it


def _no_boxes() -> np.ndarray:
    return np.zeros((0, 4))


def _no_numbers() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclass
class Objects:
    """Objects of one image, annotated or found; all lists are of one length n."""

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
    found: Objects


def annotated(source: Any, i: int) -> Objects:
    """The objects of a source's example, in pixels of the original; its image is not decoded.

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
    batch: Batch, found: Detections, mask_threshold: float = 0.5, original: bool = False
) -> list[Record]:
    """The valid rows of a batch (NumPy arrays) with their detections.

    Boxes and keypoints are divided by `batch.scale`.

    Args:
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
    truth_too = found.masks is not None and targets.masks is not None and not original
    rows = []
    for i in np.flatnonzero(batch.valid).tolist():
        scale = np.ones(2) if batch.scale is None else np.asarray(batch.scale[i], np.float64)
        here, there = np.asarray(targets.valid[i]), np.asarray(found.valid[i])
        truth = Objects(
            boxes=_original(targets.boxes[i][here], scale),
            labels=np.asarray(targets.labels[i][here], np.int64),
            difficult=_rows(targets.difficult, i, here, bool),
            crowd=_rows(targets.crowd, i, here, bool),
            area=_rows(targets.area, i, here, np.float64),
            keypoints=_points(targets.keypoints, i, here, scale),
        )
        answer = Objects(
            boxes=_original(found.boxes[i][there], scale),
            labels=np.asarray(found.labels[i][there], np.int64),
            scores=np.asarray(found.scores[i][there], np.float64),
            keypoints=_points(found.keypoints, i, there, scale),
        )
        size = batch.image.shape[1:3] if batch.size is None else batch.size[i].astype(int)
        if truth_too:
            size = targets.masks.shape[2:]
            truth.masks = [rle.encode(np.asarray(m, bool)) for m in targets.masks[i][here]]
        if truth_too or (original and found.masks is not None):
            boxes = answer.boxes if original else found.boxes[i][there]
            answer.masks = _pasted(found.masks[i][there], boxes, *map(int, size), mask_threshold)
        number = len(rows) if batch.id is None else int(batch.id[i])
        rows.append(Record(number, int(size[0]), int(size[1]), truth, answer))
    return rows


def _original(boxes: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.asarray(boxes, np.float64) / np.array([scale[1], scale[0], scale[1], scale[0]])


def _rows(values: np.ndarray | None, row: int, chosen: np.ndarray, kind: type):
    return None if values is None else np.asarray(values[row][chosen], kind)


def _points(values: np.ndarray | None, row: int, chosen: np.ndarray, scale: np.ndarray):
    points = _rows(values, row, chosen, np.float64)
    return None if points is None else points / np.array([scale[1], scale[0], 1.0])


def _pasted(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float
) -> list[bytes]:
    """Run lengths of predicted masks at their place; one at a time, on the host.

    Images of many sizes share few programs: masks are pasted onto a larger canvas and cut.
    """
    import jax
    import jax.numpy as jnp

    from vision_jax.ops.masks import paste_masks

    paste = jax.jit(paste_masks, static_argnums=(2, 3))
    rows, columns = (-(-side // CANVAS) * CANVAS for side in (height, width))
    texts = []
    for mask, box in zip(masks, np.asarray(boxes, np.float32), strict=True):
        whole = np.asarray(paste(jnp.asarray(mask[None]), jnp.asarray(box[None]), rows, columns))
        texts.append(rle.encode(whole[0, :height, :width] > threshold))
    return texts
