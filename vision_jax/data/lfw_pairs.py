"""Pairs of images for verification, as Labeled Faces in the Wild lists them."""

import dataclasses
import functools
import pathlib

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data.checked_values import printable
from vision_jax.data.folders import Folder, Listed, folder_at, is_image, read_text


@dataclasses.dataclass(frozen=True)
class LfwPairs(Folder):
    """Images two by two: the pairs of a pairs.txt, whose images lie in folders of identities.

    A line `NAME 1 4` is a pair of NAME's first and fourth image, `NAME 1 OTHER 2` one of two
    identities; `NAME/NAME_0001.jpg` is the first. The file may begin with a line of folds and pairs
    per fold. Images 2 k and 2 k + 1 are the k-th pair, and label 1 says that they are of one
    identity. For `evaluation.Verification(pairs='listed')`.

    Attributes:
      folder: the folder that holds the identities' folders.
      pairs: the list.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such folder or file, a line that is no pair, an identity or an image that is not
        there; it names file and line.
    """

    folder: str
    pairs: str = "pairs.txt"

    @property
    def _annotations(self) -> str:
        return self.pairs

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        root = folder_at(self.folder)
        listed = []
        for number, line in enumerate(read_text(self.pairs).splitlines(), start=1):
            words = line.split("\t") if "\t" in line else line.split()
            words = [word.strip() for word in words]
            if not any(words) or (number == 1 and all(word.isdigit() for word in words)):
                continue
            same = len(words) == 3
            if len(words) == 4:
                pair = (words[0], words[1]), (words[2], words[3])
            elif same:
                pair = (words[0], words[1]), (words[0], words[2])
            else:
                raise UserError(
                    f"{self.pairs} line {number}: {printable(line)!r} is no pair; "
                    "write NAME 1 2 or NAME 1 OTHER 2"
                )
            for name, image in pair:
                file = self._file(root, name, image, number)
                listed.append(Listed(file, {"label": int(same)}))
        return ("different", "same"), listed

    def image_labels(self) -> np.ndarray | None:
        return np.asarray([listed.fields["label"] for listed in self._listed], int)

    def _file(self, root: pathlib.Path, name: str, image: str, line: int) -> pathlib.Path:
        """Finds the file of an identity's image."""
        of = f"{self.pairs} line {line}"
        if not image.isdigit():
            raise UserError(f"{of}: {printable(image)!r} is no number of an image")
        if name not in self._images:
            close = suggest(name, list(self._images)[:10_000]) if self._images else ""
            raise UserError(f"{of}: {self.folder} has no folder {printable(name)!r}{close}")
        stem = f"{name}_{int(image):04d}"
        file = self._images[name].get(stem)
        if file is None:
            count = len(self._images[name])
            raise UserError(f"{of}: {root / name} has {count} images, none of them {stem}")
        return file

    @functools.cached_property
    def _images(self) -> dict[str, dict[str, pathlib.Path]]:
        """The files of each identity, by their names without suffix."""
        folders = (path for path in folder_at(self.folder).iterdir() if path.is_dir())
        return {
            folder.name: {file.stem: file for file in sorted(folder.iterdir()) if is_image(file)}
            for folder in sorted(folders)
        }
