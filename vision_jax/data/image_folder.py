"""Data sets of your own for classification: a folder of images for each class."""

import dataclasses
import functools
import pathlib

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.folders import (
    Folder,
    Listed,
    choose,
    folder_at,
    images_below,
    is_hidden,
    is_image,
)

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclasses.dataclass(frozen=True)
class ImageFolder(Folder):
    """Images in sub-folders that are named after their classes: `photos/cat/1.jpg`.

    Labels follow the names' order. Images may lie deeper than one folder; hidden files and what
    operating systems leave (`._1.jpg`, `Thumbs.db`, `__MACOSX`) are passed over. A class whose
    folder is empty keeps its label; `python -m vision_jax.data.doctor` names it.

    Attributes:
      folder: the folder that holds the classes' folders.
      names: the classes, in the order of their labels; () is the folders', sorted.
      upright, check_sizes: see `folders.Folder`.

    Raises:
      UserError: no such folder, none within it, no image at all, splits in place of classes, or a
        folder that is not among `names`.
    """

    folder: str
    names: tuple[str, ...] = ()

    @property
    def _annotations(self) -> str:
        return self.folder

    @functools.cached_property
    def _read(self) -> tuple[tuple[str, ...], list[Listed]]:
        root = folder_at(self.folder)
        folders = sorted(p for p in root.iterdir() if p.is_dir() and not is_hidden(p))
        if not folders:
            loose = any(is_image(path) for path in root.iterdir())
            hint = " - move the images of each class into a folder of its own" if loose else ""
            raise UserError(f"{self.folder}: no class folders{hint}")
        found = [folder.name for folder in folders]
        if {name.lower() for name in found} <= _SPLITS:
            raise UserError(
                f"{self.folder}: {', '.join(found)} are splits, not classes; name one of them, "
                f"such as {root / found[0]}"
            )
        classes = choose(found, self.names, self.folder)
        listed = [
            Listed(file, {"label": classes.index(folder.name)})
            for folder in folders
            for file in images_below(folder)
        ]
        return classes, listed

    def image_id(self, i: int) -> int | str:
        """Returns the image's path within the folder, which names it alone."""
        root = pathlib.Path(self.folder).expanduser()
        return self._listed[i].file.relative_to(root).as_posix()

    def image_labels(self) -> np.ndarray | None:
        return np.asarray([listed.fields["label"] for listed in self._listed], int)
