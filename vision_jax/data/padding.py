"""Stacks transformed examples into a batch's rows: arrays of fixed shape."""

from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.geometry import VOID
from vision_jax.data.sources import Example

# Fields of a batch, their dtypes, and what fills the rows and objects that are not there.
_PER_IMAGE: dict[str, tuple[Any, int]] = {
    "image": (None, 0),
    "label": (None, -1),
    "segmentation": (np.int32, VOID),
    "size": (np.float32, 0),
    "scale": (np.float32, 0),
    "proposals": (np.float32, 0),
    "proposal_valid": (bool, False),
    "target_image": (np.uint8, 0),
    "tokens": (np.int32, 0),
}
_PER_OBJECT: dict[str, tuple[Any, int]] = {
    "boxes": (np.float32, 0),
    "labels": (np.int32, -1),
    "difficult": (bool, False),
    "crowd": (bool, False),
    "area": (np.float32, 0),
    "masks": (bool, False),
    "keypoints": (np.float32, 0),
}


def stack(examples: list[Example | None], model: Example, max_boxes: int) -> dict[str, np.ndarray]:
    """Stacks examples into the rows of a batch.

    Args:
      examples: transformed; None is a row of padding.
      model: an example that shows which fields there are, and their shapes.
      max_boxes: objects per row; those beyond are cut off.

    Returns:
      `image`, `label`, `segmentation`, `size`, `scale`, `tokens`, `target_image`, proposals where
      examples have them; with boxes the fields of objects as (b, max_boxes, ...), and `objects`
      (b, max_boxes) bool, False on padding.

    Raises:
      UserError: an example lacks a field that another has.
    """
    fields = {**_PER_IMAGE, **_PER_OBJECT}
    names = [name for name in fields if name in model]
    for example in examples:
        if example is not None and [n for n in fields if n in example] != names:
            differing = ", ".join(name for name in fields if name in example)
            raise UserError(f"an example has {differing}; another of its batch {', '.join(names)}")
    stacked = {name: _rows(name, examples, model, max_boxes) for name in names}
    if "boxes" in model:
        counts = [0 if example is None else len(example["boxes"]) for example in examples]
        stacked["objects"] = np.arange(max_boxes) < np.asarray(counts)[:, None]
    return stacked


def _rows(name: str, examples: list[Example | None], model: Example, max_boxes: int) -> np.ndarray:
    """Stacks one field: (b, ...), or (b, max_boxes, ...) for those of objects."""
    one, per_object = np.asarray(model[name]), name in _PER_OBJECT
    dtype, filler = _PER_OBJECT[name] if per_object else _PER_IMAGE[name]
    if name == "label" and one.ndim == 0:
        dtype = np.int32
    elif name == "label":
        filler = 0  # a vector of classes: none
    shape = (max_boxes, *one.shape[1:]) if per_object else one.shape
    rows = np.zeros((len(examples), *shape), dtype or one.dtype)
    if filler:  # not np.full for all: zeros cost nothing until they are written over
        rows[...] = filler
    for row, example in enumerate(examples):
        if example is not None and per_object:
            count = min(len(example[name]), max_boxes)
            rows[row, :count] = example[name][:count]
        elif example is not None:
            rows[row] = example[name]
    return rows
