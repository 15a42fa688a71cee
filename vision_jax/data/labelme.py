"""Data sets of your own that were annotated with labelme: a JSON file beside each image."""

import base64
import binascii
import dataclasses
import functools
import json
import math
import pathlib
from typing import Any, ClassVar

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import run_lengths
from vision_jax.data.checked_values import all_finite, filled, printable, shown, size
from vision_jax.data.decode import RecordError, image_size
from vision_jax.data.folders import Listed, ObjectFolder, choose, folder_at, is_hidden, read_text
from vision_jax.data.sources import Example

_CIRCLE = 64  # corners of the polygon that stands for a circle
_SHAPES = {"polygon": 3, "rectangle": 2, "circle": 2}  # with an area, and their fewest points
_WITHOUT_AREA = ("point", "points", "line", "linestrip")


@dataclasses.dataclass(frozen=True)
class _Shape:
    """A shape with an area."""

    label: str
    group: Any  # what the shapes of one object share; None for a shape alone
    corners: np.ndarray  # (n, 2) x, y in pixels


@dataclasses.dataclass(frozen=True)
class Labelme(ObjectFolder):
    """Images with labelme's JSON files: polygons, rectangles and circles with a label each.

    Shapes of one label and one `group_id` are one object. Points, lines and strips have no area and
    are left out. An image that is not where its file says is looked for beside the file, then in
    the file itself (`imageData`).

    Attributes:
      folder: the folder of the JSON files, whose sub-folders are read too.
      fields: 'objects', and 'rle' for masks.
      names: the classes, in the order of their labels; () is those annotated, sorted.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such folder, a damaged file, a shape of an unknown kind, an image that is not
        there, a label that is not among `names`.
    """

    offers: ClassVar[tuple[str, ...]] = ("objects", "rle")

    folder: str
    fields: tuple[str, ...] = ("objects",)
    names: tuple[str, ...] = ()

    @property
    def _annotations(self) -> str:
        return self.folder

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        root = folder_at(self.folder)
        annotated = []
        for file in sorted(p for p in root.rglob("*") if p.suffix.lower() == ".json"):
            if not any(is_hidden(root / part) for part in file.relative_to(root).parts):
                document = _document(file)
                shapes = [_shape(file, number, s) for number, s in enumerate(document["shapes"])]
                objects = _grouped([shape for shape in shapes if shape is not None])
                annotated.append((file, document, objects))
        names = sorted({parts[0].label for _, _, objects in annotated for parts in objects})
        classes = choose(names, self.names, self.folder)
        listed = []
        for file, document, objects in annotated:
            try:
                stated = size(document.get("imageHeight"), document.get("imageWidth"))
                image, data = _image(file, document)
            except ValueError as error:
                raise UserError(f"{file}: {error}") from error
            listed.append(Listed(image, {"objects": objects}, stated, data))
        return classes, listed

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        objects = example.pop("objects")
        try:
            return {**example, **self._objects(objects, *image_size(example["image"]))}
        except ValueError as error:
            raise RecordError(f"{self.describe(i)}: {error}") from error

    def _objects(self, objects: list[list[_Shape]], height: int, width: int) -> dict[str, Any]:
        """Returns an image's objects as an example's fields; boxes are cut at its border."""
        corners = [np.concatenate([part.corners for part in parts]) for parts in objects]
        corners = [points.clip(0, [width, height]) for points in corners]
        boxes = [[*points.min(0), *points.max(0)] for points in corners]
        labels = [self.classes.index(parts[0].label) for parts in objects]
        example: dict[str, Any] = {
            "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
            "labels": np.asarray(labels, np.int32),
        }
        if "rle" in self.fields:
            polygons = [[part.corners.ravel().tolist() for part in parts] for parts in objects]
            example["rle"] = [run_lengths.encode(p, height, width) for p in polygons]
        return example


def _document(file: pathlib.Path) -> dict[str, Any]:
    """Returns a file's content, whose `shapes` is a list; raises UserError otherwise."""
    try:
        document = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"{file} row {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: it cannot be read as JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise UserError(f"{file}: no list 'shapes'; is it labelme's?")
    return document


def _grouped(shapes: list[_Shape]) -> list[list[_Shape]]:
    """Returns the shapes of each object, in the order of their first ones."""
    objects: dict[Any, list[_Shape]] = {}
    for number, shape in enumerate(shapes):
        key = (number,) if shape.group is None else (shape.label, str(shape.group))
        objects.setdefault(key, []).append(shape)
    return list(objects.values())


def _shape(file: pathlib.Path, number: int, shape: Any) -> _Shape | None:
    """Reads a shape; None is one without an area.

    Raises:
      UserError: names file, shape and value.
    """
    where = f"{file}, shapes[{number}]"
    if not isinstance(shape, dict):
        raise UserError(f"{where} is {shown(shape)}, not an object")
    kind = shape.get("shape_type") or "polygon"
    if kind in _WITHOUT_AREA:
        return None
    if not isinstance(kind, str) or kind not in _SHAPES:
        raise UserError(f"{where}: shape_type {shown(kind)}{suggest(str(kind), _SHAPES)}")
    try:
        label = shape.get("label")
        label = str(label) if type(label) is int else filled(label, "label")
        points = _points(shape.get("points"))
        if len(points) < _SHAPES[kind]:
            raise ValueError(f"points are {len(points)}, too few for a {kind}")
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(0), points.max(0)
        points = np.asarray([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind == "circle":
        centre, rim = points[:2]
        angle = np.arange(_CIRCLE) * (2 * math.pi / _CIRCLE)
        radius = math.hypot(*(rim - centre))
        points = centre + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return _Shape(label, shape.get("group_id"), points)


def _points(values: Any) -> np.ndarray:
    """Returns points (n, 2); raises ValueError where they are no pairs of finite numbers."""
    if not isinstance(values, list):
        raise ValueError(f"points is {shown(values)}, not a list")
    for place, point in enumerate(values):
        if not isinstance(point, list) or len(point) != 2:
            raise ValueError(f"points[{place}] is {shown(point)}, not [x, y]")
    sides = all_finite([side for point in values for side in point], "points: number")
    return np.asarray(sides, np.float64).reshape(-1, 2)


def _image(file: pathlib.Path, document: dict[str, Any]) -> tuple[pathlib.Path, bytes | None]:
    """Returns an annotation's image file, and its bytes where the annotation holds them itself.

    Raises:
      ValueError: the image is in neither place.
    """
    given = document.get("imagePath")
    if not isinstance(given, str | None):
        raise ValueError(f"imagePath is {shown(given)}, not a text")
    name = (given or "").replace("\\", "/")
    for spelling in (name, pathlib.PurePosixPath(name).name):
        try:
            if spelling and (file.parent / spelling).is_file():
                return file.parent / spelling, None
        except (OSError, ValueError):  # a name too long, or a zero byte in it
            continue
    data = document.get("imageData")
    if not isinstance(data, str):
        raise ValueError(f"no image {printable(name) or 'named'}, and no imageData")
    try:
        return file, base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"imageData is damaged ({error})") from error
