"""What was there and what was found, image by image, in pixels of the original image."""

from dataclasses import dataclass, field

import numpy as np

from vision_jax.ops import rle
from vision_jax.structs import Batch, Detections


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


def records(batch: Batch, found: Detections, mask_threshold: float = 0.5) -> list[Record]:
    """The valid rows of a batch (NumPy arrays) with their detections.

    Boxes and keypoints are divided by `batch.scale`. Masks are compared as the network saw them:
    predicted ones are pasted at the input's resolution, where the annotated ones are.

    Raises:
      ValueError: the batch has no boxes, or detections have masks and annotations do not.
    """
    targets = batch.targets
    if targets.boxes is None or targets.labels is None or targets.valid is None:
        raise ValueError("detection metrics need targets.boxes, targets.labels and targets.valid")
    with_masks = found.masks is not None and targets.masks is not None
    height, width = batch.image.shape[1:3]
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
        if with_masks:
            truth.masks = [rle.encode(np.asarray(m, bool)) for m in targets.masks[i][here]]
            boxes = np.asarray(found.boxes[i][there])
            answer.masks = _pasted(found.masks[i][there], boxes, height, width, mask_threshold)
        number = len(rows) if batch.id is None else int(batch.id[i])
        size = (height, width) if with_masks or batch.size is None else batch.size[i]
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
    """Run lengths of predicted masks at their place; one at a time, on the host."""
    import jax
    import jax.numpy as jnp

    from vision_jax.ops.masks import paste_masks

    paste = jax.jit(paste_masks, static_argnums=(2, 3))
    return [
        rle.encode(
            np.asarray(paste(jnp.asarray(m[None]), jnp.asarray(b[None]), height, width))[0]
            > threshold
        )
        for m, b in zip(masks, boxes, strict=True)
    ]
