"""Pictures without annotations: one by its file, or all in a folder.

A file or folder may be named as 'sklearn:china.jpg', 'skimage:astronaut.png' or
'matplotlib:grace_hopper.jpg': photographs that those packages ship, so that everything runs without
a network.
"""

import dataclasses
import functools
import importlib.util
import pathlib

import numpy as np

from vision_jax.config import UserError, suggest, within
from vision_jax.data import geometry
from vision_jax.data.decode import RecordError, decode_image, orientation, upright
from vision_jax.data.folders import folder_at, images_below, is_image
from vision_jax.data.sources import Example, LazySource

_PACKAGES = {
    "sklearn": ("scikit-learn", "datasets/images"),
    "skimage": ("scikit-image", "data"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture, such as a style, read when it is needed.

    Attributes:
      file: an image file, turned by its EXIF tag as viewers show it; or a package's, see the
        module.
      side: pixels of the longer side that it is brought to; 0 leaves it as it is.

    Raises:
      UserError: a negative side.
    """

    file: str
    side: int = 0

    def __post_init__(self):
        within(self, "[0, inf)", "side")

    def read(self) -> np.ndarray:
        """Returns float32 (h, w, 3), RGB in 0..255.

        Raises:
          UserError: no such file, or one that cannot be decoded.
        """
        image = _read(place(self.file))
        if self.side:
            image = geometry.resize_image(image, *longest_side(image.shape[:2], self.side))
        return image.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class PictureFolder(LazySource):
    """Images without annotations: of a folder and its sub-folders, or one image file.

    Hidden files are passed over. Images are turned by their EXIF tag, as viewers show them.

    Attributes:
      folder: the folder or the file; or a package's, see the module ('sklearn:' is both of its
        photographs).

    Raises:
      UserError: it does not exist, or holds no image.
    """

    folder: str

    def __post_init__(self):
        if not self._files:
            raise UserError(f"{self.folder}: it holds no image")

    @property
    def classes(self) -> tuple[str, ...]:
        """Returns (): pictures alone have no classes."""
        return ()

    @functools.cached_property
    def _files(self) -> list[pathlib.Path]:
        path = place(self.folder)
        if path.is_file():
            return [path]
        return images_below(folder_at(str(path)))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, i: int) -> Example:
        try:
            return {"image": _read(self._files[i])}
        except UserError as error:
            raise RecordError(str(error)) from error

    def describe(self, i: int) -> str:
        """Returns the file's path."""
        return str(self._files[i])

    def image_id(self, i: int) -> int | str:
        """Returns the file's path within the folder, or its name."""
        root, file = place(self.folder), self._files[i]
        return file.name if file == root else file.relative_to(root).as_posix()


def place(name: str) -> pathlib.Path:
    """Returns the path that a name stands for; see the module.

    Raises:
      UserError: a package that is not installed, or that has no such picture.
    """
    package, colon, rest = name.partition(":")
    if not colon or package not in _PACKAGES or pathlib.Path(name).exists():
        return pathlib.Path(name).expanduser()
    project, folder = _PACKAGES[package]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"{name}: {package} is not installed; pip install {project}")
    root = pathlib.Path(spec.submodule_search_locations[0]) / folder
    if not (root / rest).exists():
        known = [path.name for path in root.iterdir() if is_image(path)]
        raise UserError(f"{name}: {project} has no such picture{suggest(rest, known)}")
    return root / rest


def longest_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Returns height and width of the longer side's length, in proportion; at least a pixel."""
    longest = max(size)
    height, width = (max(1, round(length * side / longest)) for length in size)
    return height, width


def _read(file: pathlib.Path) -> np.ndarray:
    """Returns an image (h, w, 3), upright; raises UserError, which names the file."""
    try:
        encoded = file.read_bytes()
        return upright(decode_image(encoded, 3), orientation(encoded))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
