"""What data sets of your own have in common: annotated image files in folders.

Annotations are read once, when a source is made; images are opened when they are asked for.
Mistakes in an annotation file are UserErrors that name file and row. Boxes that no network can
learn are left for the pipeline (`degenerate`) and for `python -m vision_jax.data.doctor`.
"""

import abc
import codecs
import dataclasses
import json
import pathlib
from typing import Any, ClassVar, NamedTuple

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data.checked_values import printable
from vision_jax.data.decode import (
    RecordError,
    SizeError,
    decode_image,
    image_size,
    orientation,
    upright,
)
from vision_jax.data.sources import Example, LazySource

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif")
_LEFT_BY_SYSTEMS = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_LONGEST_PATH = 4096
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16"}
_BYTE_ORDER_MARKS[codecs.BOM_UTF16_BE] = "utf-16"


class Listed(NamedTuple):
    """An image that annotations list."""

    file: pathlib.Path
    fields: dict[str, Any]  # of its example
    stated: tuple[int, int] | None = None  # height and width by the annotations
    data: bytes | None = None  # the encoded image, where the annotations hold it themselves


@dataclasses.dataclass(frozen=True)
class Folder(LazySource, abc.ABC):
    """A source of annotated image files; a derived class reads the annotations.

    Attributes:
      upright: whether images are turned by their EXIF orientation, as viewers show them and as
        some tools annotate them; else they stay as they are stored.
      check_sizes: whether an image must have the size that its annotations state.
    """

    upright: bool = dataclasses.field(default=False, kw_only=True)
    check_sizes: bool = dataclasses.field(default=True, kw_only=True)

    @property
    @abc.abstractmethod
    def _annotations(self) -> str:
        """The name of the annotations in error messages."""

    @property
    @abc.abstractmethod
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        """The classes and the listed images; read once."""

    @property
    def classes(self) -> tuple[str, ...]:
        return self._read[0]

    @property
    def _listed(self) -> list[Listed]:
        return self._read[1]

    def __post_init__(self):
        if not self._listed:
            raise UserError(f"{self._annotations}: it lists no image")

    def __len__(self) -> int:
        return len(self._listed)

    def __getitem__(self, i: int) -> Example:
        listed = self._listed[i]
        try:
            data = listed.file.read_bytes() if listed.data is None else listed.data
            image = self._turned(data) if self.upright else data
            if listed.stated is not None and self.check_sizes:
                self._check_size(i, listed.stated, data, image)
        except OSError as error:
            raise RecordError(f"{self.describe(i)}: {error.strerror}") from error
        except ValueError as error:
            raise RecordError(f"{self.describe(i)}: {error}") from error
        return {"image": image, **listed.fields}

    def describe(self, i: int) -> str:
        """Returns a text such as 'train.csv record 3 (photos/dog.jpg)'."""
        return printable(f"{self._annotations} record {i} ({self._listed[i].file})", _LONGEST_PATH)

    def image_id(self, i: int) -> int | str:
        """Returns the image's id in the annotation file, else its name without suffix."""
        return self._listed[i].file.stem

    def annotated(self, i: int) -> dict[str, Any]:
        """Returns the fields of example i but its image, which is not read."""
        return self._listed[i].fields

    def states_size(self, i: int) -> bool:
        """Returns whether the annotations state the image's size, which is then compared."""
        return self._listed[i].stated is not None and self.check_sizes

    def _turned(self, data: bytes) -> bytes | np.ndarray:
        """Returns an encoded image, decoded and upright if it is stored otherwise."""
        turn = orientation(data)
        return data if turn == 1 else upright(decode_image(data), turn)

    def _check_size(
        self, i: int, stated: tuple[int, int], data: bytes, image: bytes | np.ndarray
    ) -> None:
        """Raises SizeError where the annotations state another size than the image has."""
        size = image_size(image)
        if size == stated:
            return
        hint = "resize it, correct the annotations, or set check_sizes=False if boxes fit the image"
        if size == stated[::-1] and not self.upright and orientation(data) >= 5:
            hint = "its EXIF tag turns it: set upright=True"
        raise SizeError(
            f"{self.describe(i)}: the annotations state the size {stated[1]}×{stated[0]}, the "
            f"image has {size[1]}×{size[0]} - {hint}"
        )

    def _size_of(self, file: pathlib.Path, data: bytes | None = None) -> tuple[int, int]:
        """Returns height and width of an image as examples have it.

        Raises:
          ValueError: a file that cannot be read; the message names it.
        """
        try:
            data = file.read_bytes() if data is None else data
            height, width = image_size(data)
        except OSError as error:
            raise ValueError(f"{file}: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        return (width, height) if self.upright and orientation(data) >= 5 else (height, width)


class ObjectFolder(Folder):
    """A `Folder` whose derived class has a setting `fields`: what its examples hold.

    It is no dataclass itself, so that `fields` may stand behind the derived class's own settings.
    """

    offers: ClassVar[tuple[str, ...]]  # the fields that the format may have
    fields: tuple[str, ...]

    @property
    def annotated_fields(self) -> tuple[str, ...]:
        """The fields of objects that there are annotations for."""
        return self.offers

    def __post_init__(self):
        for field in self.fields:
            if field not in self.offers:
                raise UserError(f"source field {field!r}{suggest(field, self.offers)}")
        super().__post_init__()


def choose(annotated: list[str], names: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Returns the classes' names: `names` where there are any, else the annotated ones.

    Args:
      annotated: the names that annotations use.
      names: the names that a config lists.
      where: the annotations' name in error messages.

    Raises:
      UserError: an annotated name that is not among `names`, or a name that is there twice.
    """
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise UserError(f"{where}: names lists {twice[0]!r} twice")
    if not names:
        return tuple(annotated)
    unknown = [name for name in annotated if name not in names]
    if unknown:
        raise UserError(
            f"{where}: class {unknown[0]!r} is not among names{suggest(unknown[0], names)}"
        )
    return tuple(names)


def folder_at(path: str) -> pathlib.Path:
    """Returns the folder of that path ('~' is expanded); raises UserError where there is none."""
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"no folder {path!r}")
    return folder


def file_at(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the image of that name in a folder; names that Windows wrote are understood.

    Raises:
      ValueError: there is no such file.
    """
    for spelling in (name, name.replace("\\", "/")):
        try:
            if (folder / spelling).is_file():
                return folder / spelling
        except (OSError, ValueError):  # a name too long, or a zero byte in it
            pass
    raise ValueError(f"no image {printable(str(folder / name))}")


def read_text(path: str | pathlib.Path, encoding: str = "utf-8") -> str:
    """Returns a file's text, whose byte order mark goes before `encoding`.

    Raises:
      UserError: a file that cannot be read, or is not in that encoding.
    """
    try:
        data = pathlib.Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{printable(str(path), _LONGEST_PATH)}: {reason}") from error
    marks = [name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)]
    try:
        return data.decode(marks[0] if marks else encoding)
    except LookupError as error:
        raise UserError(f"{path}: unknown encoding {encoding!r}") from error
    except UnicodeError as error:
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise UserError(f"{path}: it is not {name} text") from error


def read_json(path: str | pathlib.Path) -> Any:
    """Returns what a JSON file holds.

    Raises:
      UserError: a file that cannot be read, or is no JSON; it names file and row.
    """
    name, text = printable(str(path), _LONGEST_PATH), read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name} row {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise UserError(f"{name}: its lists and objects lie too deep within each other") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{name}: a number cannot be read ({error})") from error


def is_image(path: pathlib.Path) -> bool:
    """Returns whether a file's name is that of an image."""
    return path.suffix.lower() in SUFFIXES


def is_hidden(path: pathlib.Path) -> bool:
    """Returns whether a file is none of the user's, such as '._a.jpg' of an archive from a Mac."""
    return path.name.startswith(".") or path.name in _LEFT_BY_SYSTEMS


def images_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the images in a folder and its sub-folders, hidden ones left out, in order."""

    def is_visible(path: pathlib.Path) -> bool:
        return not any(is_hidden(folder / part) for part in path.relative_to(folder).parts)

    return sorted(p for p in folder.rglob("*") if is_image(p) and p.is_file() and is_visible(p))
