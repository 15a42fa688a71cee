"""Reads detections from a file of results in COCO's format."""

import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vision_jax.config import UserError
from vision_jax.evaluation.records import Objects

_NEEDED = ("image_id", "category_id", "bbox", "score")


class _Detection(NamedTuple):
    """One row of the file."""

    label: int
    score: float
    box: list[float]  # xyxy


def read_results(
    file: str, image_ids: Sequence[int | str], category_ids: Sequence[int]
) -> list[Objects]:
    """Returns the detections of a results file, for each image in the order of `image_ids`.

    Args:
      file: JSON, a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.
      image_ids: the data set's images; 7 and "7" are the same.
      category_ids: the numbers of class 0, 1 ... in the file.

    Raises:
      UserError: no such file, no JSON list, or a row that lacks a field, names an unknown image or
        category, or has no finite box and score.
    """
    try:
        rows = json.loads(pathlib.Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--input {file!r}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"--input {file!r} is no JSON: {error}") from error
    if not isinstance(rows, list):
        raise UserError(f"--input {file!r}: not a list of detections, as COCO's result files are")
    images = {str(number): i for i, number in enumerate(image_ids)}
    labels = {number: i for i, number in enumerate(category_ids)}
    detections: list[list[_Detection]] = [[] for _ in image_ids]
    for number, row in enumerate(rows):
        try:
            image, detection = _read(row, images, labels)
        except ValueError as error:
            raise UserError(f"--input {file!r}, detection {number}: {error}") from error
        detections[image].append(detection)
    return [_objects(of_image) for of_image in detections]


def _read(row: object, images: dict[str, int], labels: dict[int, int]) -> tuple[int, _Detection]:
    """Returns the number of a row's image, and the detection."""
    if not isinstance(row, dict):
        raise ValueError(f"no {_NEEDED[0]!r}")
    missing = [key for key in _NEEDED if key not in row]
    if missing:
        raise ValueError(f"no {missing[0]!r}")
    if str(row["image_id"]) not in images:
        example = next(iter(images), "none")
        raise ValueError(f"image {row['image_id']!r} is not in the data set (one is {example})")
    category = row["category_id"]
    if not isinstance(category, int) or category not in labels:
        known = ", ".join(map(str, list(labels)[:5]))
        raise ValueError(f"category {category!r} is not in the data set ({known} …)")
    try:
        x, y, width, height = (float(side) for side in row["bbox"])
        box, score = [x, y, x + width, y + height], float(row["score"])
    except (TypeError, ValueError):
        raise ValueError("bbox must be 4 numbers and score one") from None
    if not np.isfinite([*box, score]).all():
        raise ValueError("its box and score are not all finite")
    return images[str(row["image_id"])], _Detection(labels[category], score, box)


def _objects(detections: list[_Detection]) -> Objects:
    """Returns one image's detections as arrays."""
    labels, scores, boxes = zip(*detections, strict=True) if detections else ((), (), ())
    return Objects(
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        scores=np.array(scores, np.float64),
    )
