"""Data sets of your own in the format of YOLO's tools: a data.yaml, and a .txt file per image."""

import dataclasses
import functools
import math
import pathlib
from typing import Any, ClassVar

import numpy as np
import yaml

from vision_jax.config import UserError, suggest
from vision_jax.data import run_lengths
from vision_jax.data.checked_values import all_finite, number, printable, shown, whole
from vision_jax.data.decode import RecordError, image_size
from vision_jax.data.folders import Listed, ObjectFolder, choose, file_at, images_below, read_text
from vision_jax.data.sources import Example

_SLACK = 0.01  # share of the image by which tools' rounding exceeds its border

Row = tuple[int, list[float]]  # an object's class number, and its numbers


@dataclasses.dataclass(frozen=True)
class Yolo(ObjectFolder):
    """Images that a data.yaml lists, with a row of numbers for each object.

    An image `…/images/…/1.jpg` has its objects in `…/labels/…/1.txt`; without that file it has
    none. A row is the class's number and, as shares of the image's width and height, a box's
    centre and size (four numbers), a polygon (six or more), or with `kpt_shape` in data.yaml a box
    and its keypoints.

    Attributes:
      file: data.yaml, with `names`, and for each split a folder, a list of images or several.
      split: the key in data.yaml: 'train', 'val' or 'test'.
      fields: some of 'objects', 'rle' (masks of polygons), 'keypoints'.
      names: the classes, in the order of their labels; () is the file's.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such file, key or image, a row that is damaged, a class's number beyond
        `names`, a class that is not among `names`, or no image with a file of objects.
    """

    offers: ClassVar[tuple[str, ...]] = ("objects", "rle", "keypoints")

    file: str
    split: str = "train"
    fields: tuple[str, ...] = ("objects",)
    names: tuple[str, ...] = ()

    @property
    def _annotations(self) -> str:
        return f"{self.file} {self.split}"

    @property
    def annotated_fields(self) -> tuple[str, ...]:
        """The fields of objects that there are annotations for."""
        return ("objects", "rle") if self._keypoint_shape is None else ("objects", "keypoints")

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        """The file's content, whose scalars are texts: a class may be called `no`."""
        try:
            document = yaml.load(read_text(self.file), Loader=yaml.BaseLoader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
            where = f" row {mark.line + 1}" if mark else ""
            raise UserError(f"{self.file}{where}: it is no YAML") from error
        if not isinstance(document, dict):
            raise UserError(f"{self.file}: no keys such as names, train and val")
        return document

    @functools.cached_property
    def _own_names(self) -> tuple[str, ...]:
        """The file's classes, by number."""
        names = self._document.get("names")
        if isinstance(names, dict):
            if {*names} != {str(number) for number in range(len(names))}:
                raise UserError(f"{self.file}: the keys of names are not 0, 1, 2, …")
            names = [names[str(number)] for number in range(len(names))]
        if not isinstance(names, list) or not names:
            raise UserError(f"{self.file}: no list of names")
        for place, name in enumerate(names):
            if not isinstance(name, str) or not name.strip():
                raise UserError(f"{self.file}: names[{place}] is {shown(name)}, not a text")
            if name in names[:place]:
                raise UserError(f"{self.file}: names lists {shown(name)} twice")
        count = self._document.get("nc")
        if count is not None and count != str(len(names)):
            raise UserError(f"{self.file}: nc is {shown(count)}, but names are {len(names)}")
        return tuple(names)

    @functools.cached_property
    def _keypoint_shape(self) -> tuple[int, int] | None:
        """The number of keypoints, and of each one's numbers: 2, or 3 with a visibility."""
        shape = self._document.get("kpt_shape")
        if shape is None:
            return None
        if not isinstance(shape, list) or len(shape) != 2 or shape[1] not in ("2", "3"):
            raise UserError(f"{self.file}: kpt_shape={shown(shape)} is not [number, 2 or 3]")
        try:
            return whole(shape[0], "kpt_shape", least=1), int(shape[1])
        except ValueError as error:
            raise UserError(f"{self.file}: {error}") from error

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        if "keypoints" in self.fields and self._keypoint_shape is None:
            raise UserError(f"{self.file}: keypoints are asked for, but it has no kpt_shape")
        classes = choose(list(self._own_names), self.names, self.file)
        images = self._images()
        labels = [_labels_of(image) for image in images]
        if images and not any(file.is_file() for file in labels):
            raise UserError(
                f"{self._annotations}: none of {len(images)} images has a file of objects, such as "
                f"{labels[0]}"
            )
        listed = [
            Listed(image, {"rows": self._rows(file)})
            for image, file in zip(images, labels, strict=True)
        ]
        return classes, listed

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        rows = example.pop("rows")
        try:
            return {**example, **self._objects(rows, *image_size(example["image"]))}
        except ValueError as error:
            raise RecordError(f"{self.describe(i)}: {error}") from error

    def _images(self) -> list[pathlib.Path]:
        """Returns the split's images."""
        given = self._document.get(self.split)
        if not given:
            known = [key for key in ("train", "val", "test") if self._document.get(key)]
            raise UserError(f"{self.file}: no {self.split!r}{suggest(self.split, known)}")
        files: list[pathlib.Path] = []
        for entry in given if isinstance(given, list) else [given]:
            where = f"{self.file}: {self.split}"
            if not isinstance(entry, str):
                raise UserError(f"{where} is {shown(entry)}, neither a folder nor a list of images")
            path = self._existing(entry)
            if path is None:
                raise UserError(f"{where}: no folder or list {printable(entry)}")
            if path.is_dir():
                files += images_below(path)
                continue
            for line in filter(None, map(str.strip, read_text(path).splitlines())):
                try:
                    files.append(file_at(path.parent, line))
                except ValueError as error:
                    raise UserError(f"{path}: {error}") from error
        return files

    def _existing(self, entry: str) -> pathlib.Path | None:
        """Returns the folder or list that an entry names; None where there is none.

        Entries count from `path`, or from the file's own folder; Roboflow's from a sub-folder.
        """
        here = pathlib.Path(self.file).expanduser().parent
        root = self._document.get("path")
        roots = [here / root, here] if isinstance(root, str) else [here]
        entry = entry.replace("\\", "/")
        for spelling in (entry, entry.removeprefix("../")):
            for root in roots:
                path = root / spelling
                try:
                    if path.is_dir() or (path.is_file() and path.suffix == ".txt"):
                        return path
                except (OSError, ValueError):  # a name too long, or a zero byte in it
                    continue
        return None

    def _rows(self, file: pathlib.Path) -> list[Row]:
        """Returns each object's class number and numbers; [] without a file.

        Raises:
          UserError: names file, row and value.
        """
        if not file.is_file():
            return []
        rows = []
        for line_number, line in enumerate(read_text(file).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                rows.append(self._row(line.split()))
            except ValueError as error:
                raise UserError(f"{file} row {line_number}: {error}") from error
        return rows

    def _row(self, cells: list[str]) -> Row:
        """Reads an object; raises ValueError for one that is damaged."""
        label = whole(cells[0], "the class")
        if label >= len(self._own_names):
            raise ValueError(f"class {cells[0]}, but there are {len(self._own_names)} names")
        shares = [number(cell, "a coordinate") for cell in cells[1:]]
        all_finite(shares, "number")
        places = self._keypoint_shape
        if places is not None:
            right = len(shares) == 4 + math.prod(places)
        else:
            right = len(shares) == 4 or (len(shares) >= 6 and len(shares) % 2 == 0)
        if not right:
            raise ValueError(f"{len(shares)} numbers after the class are no box or polygon")
        for value in shares[:4] if places is not None else shares:
            if not -_SLACK <= value <= 1 + _SLACK:
                raise ValueError(f"{value:g} is no share of the image's side, 0 to 1")
        return label, shares

    def _objects(self, rows: list[Row], height: int, width: int) -> dict[str, Any]:
        """Returns an image's objects as an example's fields, in pixels."""
        boxes, rles, points = [], [], []
        for _, shares in rows:
            corners = []
            if len(shares) == 4 or self._keypoint_shape is not None:
                x, y, w, h = (np.asarray(shares[:4]) * [width, height, width, height]).tolist()
                box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            else:
                polygon = np.reshape(shares, (-1, 2)).clip(0, 1) * [width, height]
                box = [*polygon.min(0), *polygon.max(0)]
                corners = [polygon.ravel().tolist()]
            boxes.append(box)
            if "rle" in self.fields:
                rles.append(run_lengths.encode(corners, height, width))
            if "keypoints" in self.fields and self._keypoint_shape is not None:
                points.append(_keypoints(shares[4:], self._keypoint_shape, height, width))
        numbers = [self.classes.index(self._own_names[label]) for label, _ in rows]
        example: dict[str, Any] = {
            "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
            "labels": np.asarray(numbers, np.int32),
        }
        if "rle" in self.fields:
            example["rle"] = rles
        if "keypoints" in self.fields and self._keypoint_shape is not None:
            shape = (-1, self._keypoint_shape[0], 3)
            example["keypoints"] = np.asarray(points, np.float32).reshape(shape)
        return example


def _keypoints(shares: list[float], shape: tuple[int, int], height: int, width: int) -> np.ndarray:
    """Returns x, y in pixels and the visibility 0 / 1 / 2 of an object's keypoints."""
    places = np.reshape(shares, shape)
    seen = places[:, 2] if shape[1] == 3 else 2.0 * (places > 0).any(1)
    return np.stack([places[:, 0] * width, places[:, 1] * height, seen], 1)


def _labels_of(image: pathlib.Path) -> pathlib.Path:
    """Returns the file of an image's objects: `labels` for the last `images` in its path."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return pathlib.Path(*parts).with_suffix(".txt")
