"""Data sets of your own: images in a folder, and a CSV file with one object a row."""

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.checked_values import number, printable
from vision_jax.data.decode import RecordError, image_size
from vision_jax.data.folders import Folder, Listed, choose, file_at, folder_at, read_text
from vision_jax.data.sources import Example

_DELIMITERS = ",;\t"  # the first of those that fit


@dataclasses.dataclass(frozen=True)
class Csv(Folder):
    """Images in a folder, with a CSV file: a header, then one object a row.

    An image without objects has one row, whose category and box are empty. Cells are parted by
    commas, semicolons (numbers may then have a decimal comma) or tabs, as the header shows.

    Attributes:
      file: the CSV file.
      images: the folder that its file names are in.
      format: the boxes' format: 'xyxy', 'xywh' (corner and size), 'cxcywh' (centre and size) or
        'yxyx'.
      relative: whether boxes are shares of the image's width and height, else pixels.
      columns: the header's names for file name, category and the box's four numbers, in order.
      names: the classes, in the order of their labels; () is those annotated, sorted.
      encoding: the file's, such as 'latin-1', unless it begins with a byte order mark.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such file, a column or a cell that is missing or no number, an image that is
        not there, an unknown format, a class that is not among `names`.
    """

    file: str
    images: str
    format: str
    relative: bool = False
    columns: tuple[str, ...] = ("filename", "category", "x0", "y0", "x1", "y1")
    names: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def __post_init__(self):
        if len(self.columns) != 6 or len(set(self.columns)) != 6:
            raise UserError(f"columns={self.columns}: name six, for file, category and box")
        super().__post_init__()

    @property
    def _annotations(self) -> str:
        return self.file

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        folder = folder_at(self.images)
        try:
            geometry.to_xyxy(np.zeros((0, 4), np.float32), self.format)
        except ValueError as error:
            raise UserError(f"{self.file}: {error}") from error
        rows: dict[str, list[tuple[str, list[float]]]] = {}
        files: dict[str, pathlib.Path] = {}
        for row, cells in self._rows():
            objects = rows.setdefault(cells[0], [])
            if cells[0] not in files:
                try:
                    files[cells[0]] = file_at(folder, cells[0])
                except ValueError as error:
                    raise UserError(f"{self.file} row {row}: {error}") from error
            if any(cells[1:]):
                objects.append((cells[1], self._numbers(row, cells[2:])))
        names = sorted({name for objects in rows.values() for name, _ in objects})
        classes = choose(names, self.names, self.file)
        listed = [Listed(files[name], self._fields(o, classes)) for name, o in rows.items()]
        return classes, listed

    def _rows(self) -> list[tuple[int, list[str]]]:
        """Returns each row's line in the file, and its cells in the order of `columns`."""
        text = read_text(self.file, self.encoding)
        delimiter = self._delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows: list[tuple[int, list[str]]] = []
        places: list[int] = []
        try:
            for cells in reader:
                cells = [cell.strip() for cell in cells]
                if not any(cells):
                    continue
                if not places:
                    places, width = self._places(cells), len(cells)
                elif any(cells[width:]):
                    raise UserError(
                        f"{self.file} row {reader.line_num}: {len(cells)} cells, the header has "
                        f"{width}; quote a cell that holds {delimiter!r}"
                    )
                else:
                    cells += [""] * (width - len(cells))
                    rows.append((reader.line_num, self._checked(reader.line_num, cells, places)))
        except csv.Error as error:
            raise UserError(f"{self.file} row {reader.line_num}: {error}") from error
        if not places:
            raise UserError(f"{self.file}: it is empty")
        if delimiter != ",":  # where commas part decimals
            rows = [
                (line, [*c[:2], *(side.replace(",", ".") for side in c[2:])]) for line, c in rows
            ]
        return rows

    def _delimiter(self, text: str) -> str:
        """Returns the character that parts the header's cells into `columns`."""
        header = text.lstrip("\r\n").partition("\n")[0]
        return max(_DELIMITERS, key=lambda d: len({*self.columns} & {*_cells(header, d)}))

    def _places(self, header: list[str]) -> list[int]:
        """Returns the number of each column in the file."""
        for name in self.columns:
            if header.count(name) != 1:
                has = ", ".join(printable(cell) for cell in header if cell) or "nothing"
                problem = "two columns" if name in header else "no column"
                raise UserError(f"{self.file} row 1: {problem} {name!r} - it has: {has}")
        return [header.index(name) for name in self.columns]

    def _checked(self, row: int, cells: list[str], places: list[int]) -> list[str]:
        """Returns a row's cells in the order of `columns`; raises UserError where one is empty."""
        cells = [cells[place] for place in places]
        if not cells[0] or (any(cells[1:]) and not all(cells)):
            raise UserError(f"{self.file} row {row}: {self.columns[cells.index('')]} is empty")
        return cells

    def _numbers(self, row: int, cells: Sequence[str]) -> list[float]:
        """Returns a box's cells as numbers; raises UserError where one is none."""
        try:
            return [number(*pair) for pair in zip(cells, self.columns[2:], strict=True)]
        except ValueError as error:
            raise UserError(f"{self.file} row {row}: {error}") from error

    def _fields(
        self, objects: list[tuple[str, list[float]]], classes: tuple[str, ...]
    ) -> dict[str, np.ndarray]:
        """Returns an image's objects, (class, box) each, as an example's fields."""
        boxes = np.asarray([box for _, box in objects], np.float64).reshape(-1, 4)
        labels = np.asarray([classes.index(name) for name, _ in objects], np.int32)
        return {"boxes": geometry.to_xyxy(boxes, self.format), "labels": labels}

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        boxes = example["boxes"]
        if self.relative and len(boxes):
            try:
                height, width = image_size(example["image"])
            except ValueError as error:
                raise RecordError(f"{self.describe(i)}: {error}") from error
            boxes = boxes * [width, height, width, height]
        with np.errstate(over="ignore"):  # an absurd box becomes infinite, so degenerate
            return {**example, "boxes": boxes.astype(np.float32)}


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []
