"""Turns the features of TFDS's data sets into the fields of an example."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Each field of a source, and the features it needs, the first of which must be there.
_OBJECTS = ("bbox", "box", "label", "is_difficult", "is_truncated", "is_crowd", "area")
_PARTS = {
    "multilabel": ("label", "is_difficult"),
    "objects": (*_OBJECTS, "category_id"),
    "rle": ("rle",),
    "keypoints": ("keypoints",),
}


def feature(field: str, label_key: str, objects: Sequence[str]) -> str:
    """Returns the feature without which a data set cannot give a field, such as 'objects/rle'."""
    if field == "objects":  # boxes in pixels, or TFDS's over the image's size
        return "objects/box" if "box" in objects else "objects/bbox"
    if field in _PARTS:
        return f"objects/{_PARTS[field][0]}"
    return label_key if field == "label" else field


def parts(fields: Sequence[str], objects: Sequence[str]) -> list[str]:
    """Returns those features in `objects` that the fields need; parsing others takes time."""
    needed = {part for field in fields for part in _PARTS.get(field, ())}
    return [name for name in objects if name in needed]


def boxes_and_labels(objects: dict[str, Any], size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Returns `boxes`, `labels` and what else is known of each object.

    Args:
      objects: as TFDS gives them, with `box` (xyxy in pixels) or `bbox` (ymin, xmin, ymax, xmax
        over the image's size).
      size: height and width.
    """
    if "box" in objects:
        boxes = np.asarray(objects["box"], np.float32).reshape(-1, 4)
    else:
        height, width = size
        boxes = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
        boxes = boxes * np.asarray([width, height, width, height], np.float32)
    example = {"boxes": boxes, "labels": np.asarray(objects["label"], np.int32)}
    for key, name, dtype in (
        ("difficult", "is_difficult", bool),
        ("truncated", "is_truncated", bool),
        ("crowd", "is_crowd", bool),
        ("area", "area", np.float32),
        ("category_ids", "category_id", np.int32),
    ):
        if name in objects:
            example[key] = np.asarray(objects[name], dtype)
    return example


def multi_hot(objects: dict[str, Any], classes: int) -> np.ndarray:
    """Returns (classes,) float32: 1 for each class with an object that is not difficult."""
    labels = np.asarray(objects["label"], np.int32)
    if "is_difficult" in objects:
        labels = labels[~np.asarray(objects["is_difficult"], bool)]
    hot = np.zeros(classes, np.float32)
    hot[labels] = 1
    return hot


def text(value: Any) -> str:
    """Returns a text feature, bytes or a number, as a string."""
    return value.decode() if isinstance(value, bytes) else str(value)
