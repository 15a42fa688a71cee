"""Detections in a file of results in COCO's format: reads and makes them."""

import json
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from vision_jax.config import UserError, printable
from vision_jax.evaluation.metric import Results
from vision_jax.evaluation.records import DetectionMetric, Objects, Record, records
from vision_jax.structs import Batch

Row = dict[str, Any]  # a detection as the file has it
_ABSENT = -1  # the id of a class that a data set's files lack; see `data.ByName`
_NEEDED = ("image_id", "category_id", "bbox", "score")


class _Detection(NamedTuple):
    """One row of the file."""

    label: int
    score: float
    box: list[float]  # xyxy


@runtime_checkable
class Identified(Protocol):
    """A data set whose images and classes have ids in files of results, such as a `data.Source`."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 0..C-1."""

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The id of each class; () where classes have none."""

    def image_id(self, i: int) -> int | str:
        """Returns the id of image i."""


@dataclass(frozen=True)
class ToResults(DetectionMetric):
    """Gathers all detections of an evaluation as rows of a results file, and measures nothing.

    Attributes:
      source: gives ids of images and classes; see `category_ids`.
      write: is given all rows at the end, in the order of the images.
    """

    source: Identified
    write: Callable[[list[Row]], None]

    def collect(self, state: list[Any], outputs: dict[str, Any], batch: Batch) -> list[Any]:
        return [*state, *records(batch, outputs["detections"], original=True)]

    def result(self, state: list[Record]) -> Results:
        categories = category_ids(self.source)
        self.write([row for one in state for row in _rows(one, self.source, categories)])
        return {}


def category_ids(source: Identified) -> list[int | str]:
    """Returns the id of each class in files of results: the source's own, else 1, 2, …"""
    return list(source.category_ids or range(1, len(source.classes) + 1))


def _rows(record: Record, source: Identified, categories: list[int | str]) -> list[Row]:
    """Returns the rows of one image; classes that the data set's own files lack are left out."""
    objects, image_id, rows = record.detections, source.image_id(record.id), []
    scores = np.zeros(0) if objects.scores is None else objects.scores
    for i, label in enumerate(objects.labels.tolist()):
        if not 0 <= label < len(categories) or categories[label] == _ABSENT:
            continue
        x0, y0, x1, y1 = objects.boxes[i].tolist()
        row: Row = {
            "image_id": image_id,
            "category_id": categories[label],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": float(scores[i]),
        }
        if objects.masks is not None:
            size = [record.height, record.width]
            row["segmentation"] = {"size": size, "counts": objects.masks[i].decode()}
        if objects.keypoints is not None:
            row["keypoints"] = objects.keypoints[i].reshape(-1).tolist()
        rows.append(row)
    return rows


def read_results(
    file: str, image_ids: Sequence[int | str], category_ids: Sequence[int | str]
) -> list[Objects]:
    """Returns the detections of a results file, for each image in the order of `image_ids`.

    Args:
      file: JSON, a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}.
      image_ids: the data set's images; 7 and "7" are the same.
      category_ids: the ids of class 0, 1 ... in the file; 7 and "7" are the same.

    Raises:
      UserError: no such file, no JSON list, or a row that lacks a field, names an unknown image or
        category, or has no finite box and score.
    """
    try:
        rows = json.loads(pathlib.Path(file).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--input {file!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"--input {file!r} is no JSON: {printable(error, 100)}") from error
    if not isinstance(rows, list):
        raise UserError(f"--input {file!r}: not a list of detections, as COCO's result files are")
    images = {str(number): i for i, number in enumerate(image_ids)}
    labels = {str(number): i for i, number in enumerate(category_ids)}
    detections: list[list[_Detection]] = [[] for _ in image_ids]
    for number, row in enumerate(rows):
        try:
            image, detection = _read(row, images, labels)
        except ValueError as error:
            raise UserError(f"--input {file!r}, detection {number}: {error}") from error
        detections[image].append(detection)
    return [_objects(of_image) for of_image in detections]


def _read(row: object, images: dict[str, int], labels: dict[str, int]) -> tuple[int, _Detection]:
    """Returns the number of a row's image, and the detection."""
    if not isinstance(row, dict):
        raise ValueError(f"no {_NEEDED[0]!r}")
    missing = [key for key in _NEEDED if key not in row]
    if missing:
        raise ValueError(f"no {missing[0]!r}")
    if str(row["image_id"]) not in images:
        example = next(iter(images), "none")
        shown = _shown(row["image_id"])
        raise ValueError(f"image {shown} is not in the data set (one is {example})")
    category = str(row["category_id"])
    if category not in labels:
        known = ", ".join(list(labels)[:5])
        shown = _shown(row["category_id"])
        raise ValueError(f"category {shown} is not in the data set ({known} …)")
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


def _shown(value: Any) -> str:
    """Returns a value of JSON as a message shows it."""
    return printable(repr(value))
