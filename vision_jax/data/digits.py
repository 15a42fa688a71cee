"""Real images without a download: the handwritten digits that come with scikit-learn."""

import dataclasses
import functools
import re
from typing import ClassVar

import cv2
import numpy as np

from vision_jax.config import UserError, suggest, within
from vision_jax.data.sources import Example, LazySource

_SPLIT = re.compile(r"(?P<name>\w+)(\[(?P<first>-?\d+%?)?:(?P<last>-?\d+%?)?\])?")


@dataclasses.dataclass(frozen=True)
class Digits(LazySource):
    """scikit-learn's handwritten digits: 1797 real 8×8 gray images that come with the package.

    The validation split is the last fifth: neighbours come from one writer, so that most of its
    writers are not in the training split.

    Attributes:
      split: 'train' (1437 images) or 'validation' (360), or a part, e.g. 'train[:64]'.
      size: height and width in pixels to which images are enlarged (bilinear).
      channels: 1, or 3 for the same gray three times.

    Raises:
      UserError: another split, or a part that is empty.
    """

    split: str
    size: int = 8
    channels: int = 1

    classes: ClassVar[tuple[str, ...]] = tuple("0123456789")

    def __post_init__(self):
        within(self, "[1, inf)", "size", "channels")
        if not len(self):
            raise UserError(f"digits: the split {self.split!r} is empty")

    def __len__(self) -> int:
        return len(self._part)

    def __getitem__(self, i: int) -> Example:
        return {"image": self._decoded["image"][i], "label": int(self._decoded["label"][i])}

    def describe(self, i: int) -> str:
        return f"digits {self.split} record {i}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns all images (n, size, size, channels) uint8 and labels (n,) int32."""
        return self._decoded

    @functools.cached_property
    def _part(self) -> range:
        """The rows of scikit-learn's table."""
        splits = {"train": range(1437), "validation": range(1437, 1797)}
        match = _SPLIT.fullmatch(self.split)
        if match is None or match["name"] not in splits:
            raise UserError(f"digits has no split {self.split!r}{suggest(self.split, splits)}")
        rows = splits[match["name"]]
        first, last = (_bound(match[end], len(rows)) for end in ("first", "last"))
        return rows[first:last]

    @functools.cached_property
    def _decoded(self) -> dict[str, np.ndarray]:
        from sklearn.datasets import load_digits

        data = load_digits()
        rows = np.asarray(self._part)
        small = np.round(data.images[rows] * (255 / 16)).astype(np.uint8)
        shape = (self.size, self.size)
        large = [cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR) for image in small]
        image = np.repeat(np.stack(large)[..., None], self.channels, -1)
        return {"image": image, "label": data.target[rows].astype(np.int32)}


def _bound(text: str | None, count: int) -> int | None:
    """Returns an end of a split's part, written as a number or a percentage of its examples."""
    if text and text.endswith("%"):
        return round(int(text[:-1]) * count / 100)
    return int(text) if text else None
