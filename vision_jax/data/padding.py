"""Transformed examples → arrays of fixed shape, stacked into a batch's rows."""

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.geometry import VOID

# Fields of a batch, their dtypes, and what fills the rows and objects that are not there.
_WHOLE = {
    "image": (None, 0),
    "label": (None, -1),
    "segmentation": (np.int32, VOID),
    "size": (np.float32, 0),
    "scale": (np.float32, 0),
    "proposals": (np.float32, 0),
    "proposal_valid": (bool, False),
}
_OBJECTS = {
    "boxes": (np.float32, 0),
    "labels": (np.int32, -1),
    "difficult": (bool, False),
    "crowd": (bool, False),
    "area": (np.float32, 0),
    "masks": (bool, False),
    "keypoints": (np.float32, 0),
}


def stack(examples: list[dict | None], model: dict, max_boxes: int) -> dict[str, np.ndarray]:
    """The rows of a batch.

    Args:
      examples: transformed; None is a row of padding.
      model: an example that tells which fields there are, and their shapes.
      max_boxes: objects per row; those beyond are cut off.

    Returns:
      `image`, `label`, `segmentation`, `size`, `scale`, proposals where examples have them; with
      boxes the fields of objects as (b, max_boxes, ...), and `objects` (b, max_boxes) bool, False
      on padding.

    Raises:
      UserError: an example lacks a field that another has.
    """
    fields = {**_WHOLE, **_OBJECTS}
    names = [name for name in fields if name in model]
    for example in examples:
        if example is not None and [n for n in fields if n in example] != names:
            found = ", ".join(name for name in fields if name in example)
            raise UserError(f"an example has {found}; another of its batch {', '.join(names)}")
    stacked = {name: _rows(name, examples, model, max_boxes) for name in names}
    if "boxes" in model:
        counts = [0 if example is None else len(example["boxes"]) for example in examples]
        stacked["objects"] = np.arange(max_boxes) < np.asarray(counts)[:, None]
    return stacked


def _rows(name: str, examples: list[dict | None], model: dict, max_boxes: int) -> np.ndarray:
    """One field: (b, ...), or (b, max_boxes, ...) for those of objects."""
    one, per_object = np.asarray(model[name]), name in _OBJECTS
    dtype, filler = _OBJECTS[name] if per_object else _WHOLE[name]
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
