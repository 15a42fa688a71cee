"""Own data in one config line: images in a folder, and a CSV file with one object a row."""

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.decode import image_size
from vision_jax.data.folders import Folder, choose, folder_at, read_text


@dataclasses.dataclass(frozen=True)
class Csv(Folder):
    """Images with a CSV file: a header, then one object a row. An image without objects has one
    row, whose category and box are empty.

    Attributes:
      file: the CSV file.
      images: the folder that its file names are in.
      format: of the boxes: 'xyxy', 'xywh' (corner and size), 'cxcywh' (centre and size) or 'yxyx'.
      relative: whether they are shares of the image's width and height, else pixels.
      columns: the header's names for file name, category and the box's four numbers, in order.
      names: the classes, in the order of their labels; () is those found, sorted.

    Raises:
      UserError: no such file, a column or a cell that is missing or no number, an image that is
        not there, an unknown format, a class that is not among `names`.
    """

    file: str
    images: str
    format: str
    relative: bool = False
    columns: tuple = ("filename", "category", "x0", "y0", "x1", "y1")
    names: tuple = ()

    @property
    def _annotations(self) -> str:
        return self.file

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list]:
        folder = folder_at(self.images)
        try:
            geometry.to_xyxy(np.zeros((0, 4), np.float32), self.format)
        except ValueError as error:
            raise UserError(f"{self.file}: {error}") from error
        rows: dict[str, list[tuple[str, list[float]]]] = {}
        for number, cells in self._rows():
            objects = rows.setdefault(cells[0], [])
            if not objects and not (folder / cells[0]).is_file():
                raise UserError(f"{self.file} row {number}: no image {folder / cells[0]}")
            if any(cells[1:]):
                objects.append((cells[1], self._numbers(number, cells[2:])))
        names = sorted({name for objects in rows.values() for name, _ in objects})
        classes = choose(names, self.names, self.file)
        listed = [
            (folder / file, self._fields(folder / file, o, classes)) for file, o in rows.items()
        ]
        return classes, listed

    def _rows(self) -> list[tuple[int, list[str]]]:
        """The wanted cells of each row, and its line in the file."""
        reader = csv.DictReader(io.StringIO(read_text(self.file), newline=""))
        missing = [name for name in self.columns if name not in (reader.fieldnames or ())]
        if missing:
            has = ", ".join(reader.fieldnames or ("nothing",))
            raise UserError(f"{self.file} row 1: no column {missing[0]!r} - it has: {has}")
        rows = []
        for row in reader:
            cells = [(row[name] or "").strip() for name in self.columns]
            if not cells[0] or (any(cells[1:]) and not all(cells)):
                empty = self.columns[cells.index("")]
                raise UserError(f"{self.file} row {reader.line_num}: {empty} is empty")
            rows.append((reader.line_num, cells))
        return rows

    def _numbers(self, row: int, cells: Sequence[str]) -> list[float]:
        for name, cell in zip(self.columns[2:], cells, strict=True):
            try:
                float(cell)
            except ValueError as error:
                text = f"{self.file} row {row}: {name} is {cell!r}, not a number"
                raise UserError(text) from error
        return [float(cell) for cell in cells]

    def _fields(self, file: pathlib.Path, objects: list, classes: tuple[str, ...]) -> dict:
        boxes = np.asarray([box for _, box in objects], np.float64).reshape(-1, 4)
        boxes = geometry.to_xyxy(boxes, self.format)
        if self.relative and objects:
            try:
                height, width = image_size(file.read_bytes())
            except ValueError as error:
                raise UserError(f"{file}: {error}") from error
            boxes = boxes * [width, height, width, height]
        labels = np.asarray([classes.index(name) for name, _ in objects], np.int32)
        return {"boxes": boxes.astype(np.float32), "labels": labels}
