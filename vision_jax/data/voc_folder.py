"""Data sets of your own: images in a folder, with one XML file each in VOC's format."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import voc_xml
from vision_jax.data.folders import (
    SUFFIXES,
    Folder,
    Listed,
    choose,
    folder_at,
    is_hidden,
    is_image,
    read_text,
)

# VOC's lists of one class tell after each name whether the class is there: -1, 0 or 1.
_WITH_COLUMN = re.compile(r"(.*\S)\s+(?:-1|0|1)")


@dataclasses.dataclass(frozen=True)
class VocFolder(Folder):
    """Images with one XML file each, in VOC's format.

    Attributes:
      folder: a folder with `Annotations` and `JPEGImages`, as a year of VOC's has; or with images
        and XML files side by side.
      split: the name of a list in ImageSets/Main, such as 'train'; '' is every annotated image.
      names: the classes, in the order of their labels; () is those annotated, sorted.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such folder or list, an XML that is damaged or no annotation, a missing image,
        two images of one name, a class that is not among `names`.
    """

    folder: str
    split: str = ""
    names: tuple[str, ...] = ()

    @property
    def _annotations(self) -> str:
        return f"{self.folder} {self.split}".strip()

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        folder = folder_at(self.folder)
        nested = (folder / "Annotations").is_dir()
        notes_folder = folder / "Annotations" if nested else folder
        images_folder = folder / "JPEGImages" if nested else folder
        if not images_folder.is_dir():
            raise UserError(f"{self.folder}: no folder JPEGImages beside Annotations")
        notes = _by_stem(p for p in notes_folder.iterdir() if p.suffix.lower() == ".xml")
        images = _by_stem(p for p in images_folder.iterdir() if is_image(p))
        stems = self._split_stems(folder, images) if self.split else sorted(notes)
        annotated = []
        for stem in stems:
            if stem not in images:
                raise UserError(f"{images_folder}: no image {stem} ({', '.join(SUFFIXES)})")
            image = _only(images[stem])
            file = _only(notes.get(stem, [notes_folder / f"{stem}.xml"]))
            try:
                annotation = voc_xml.read(file.read_bytes())
            except OSError as error:
                raise UserError(f"{file}: {error.strerror}") from error
            except ValueError as error:
                raise UserError(f"{file}: {error}") from error
            annotated.append((image, annotation))
        names = sorted({thing.name for _, note in annotated for thing in note.things})
        classes = choose(names, self.names, self._annotations)
        listed = [
            Listed(image, _fields(note.things, classes), note.size) for image, note in annotated
        ]
        return classes, listed

    def _split_stems(self, folder: pathlib.Path, images: dict[str, list]) -> list[str]:
        """Returns the names without suffix that the split's list holds."""
        path = folder / "ImageSets" / "Main" / f"{self.split}.txt"
        lines = [line.strip() for line in read_text(path).splitlines()]
        stems = []
        for line in filter(None, lines):
            column = _WITH_COLUMN.fullmatch(line)
            spellings = [line, *([column[1]] if column else [])]
            paths = [pathlib.PurePath(spelling) for spelling in spellings]
            spellings += [path.stem for path in paths if path.suffix.lower() in SUFFIXES]
            stems.append(next((s for s in spellings if s in images), spellings[-1]))
        return stems


def _by_stem(files: Iterable[pathlib.Path]) -> dict[str, list[pathlib.Path]]:
    """Returns files by their names without suffix; those that systems leave are left out."""
    stems: dict[str, list[pathlib.Path]] = {}
    for file in sorted(files):
        if not is_hidden(file):
            stems.setdefault(file.stem, []).append(file)
    return stems


def _only(files: list[pathlib.Path]) -> pathlib.Path:
    """Returns the only file of a name; raises UserError where there are two."""
    if len(files) > 1:
        raise UserError(f"{files[0]} and {files[1].name}: two files of one name; rename one")
    return files[0]


def _fields(things: list[voc_xml.Thing], classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Returns the objects as an example's fields."""
    with np.errstate(over="ignore"):  # an absurd box becomes infinite, so degenerate
        boxes = np.asarray([thing.box for thing in things], np.float64).astype(np.float32)
    return {
        "boxes": boxes.reshape(-1, 4),
        "labels": np.asarray([classes.index(thing.name) for thing in things], np.int32),
        "difficult": np.asarray([thing.difficult for thing in things], bool),
        "truncated": np.asarray([thing.truncated for thing in things], bool),
    }
