"""Sources of examples: random access to a data set, one example at a time.

An example is a dict: `image` (encoded bytes, or uint8 (h, w, c)) and what was asked for of `label`,
`boxes`, `labels`, `difficult`, `crowd`, `truncated`, `area`, `category_ids`, `rle` or `masks`,
`keypoints`, `segmentation`, `captions`. Boxes are float32 (n, 4) xyxy in pixels of the original
image, as annotated: VOC's count from one.
"""

import dataclasses
from typing import Any, Protocol

import numpy as np

Example = dict[str, Any]


class Source(Protocol):
    """The interface between a data set and all that reads it.

    A source of your own derives from `BaseSource` and defines `classes`, `__len__` and
    `__getitem__`; the other members have defaults there. Sources are picklable: worker processes
    get a copy.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 0..C-1."""

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The id of each class in COCO's result files; () where classes have none."""

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, i: int) -> Example:
        """Returns example i; raises RecordError where it cannot be read."""

    def describe(self, i: int) -> str:
        """Returns a description of example i for error messages, with its file's name if known."""

    def image_id(self, i: int) -> int | str:
        """Returns the identifier of image i in the data set's own files of results."""

    @property
    def version(self) -> str:
        """The version of the data set, '' where it has none."""

    def image_labels(self) -> np.ndarray | None:
        """Returns the label (n,) of each image, where it is known without reading images."""

    def arrays(self) -> dict[str, np.ndarray] | None:
        """Returns all examples as `image` (n, h, w, c) uint8 and `label` (n,) int32.

        None where they are not small, not of one size, or have more than a label.
        """


class BaseSource:
    """A source's optional members; a derived class adds `classes`, `__len__` and `__getitem__`.

    By default examples are identified by their numbers, classes have no category numbers, and
    nothing is held in memory. A derived class overrides what it knows better.
    """

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    def describe(self, i: int) -> str:
        return f"{type(self).__name__} example {i}"

    def image_id(self, i: int) -> int | str:
        return i

    @property
    def version(self) -> str:
        return ""

    def image_labels(self) -> np.ndarray | None:
        return None

    def arrays(self) -> dict[str, np.ndarray] | None:
        return None


@dataclasses.dataclass(frozen=True)
class LazySource(BaseSource):
    """A source whose fields are its settings, and which opens and caches all else when needed.

    Its pickle holds the fields alone, so open files and caches stay in their process.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True)
class Wrapped(LazySource):
    """A source made from another one, to which it passes on what a derived class leaves out.

    Nothing is held in memory: the examples may differ from those of the source within.

    Attributes:
      source: the source within.
    """

    source: Source

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return self.source.category_ids

    @property
    def version(self) -> str:
        return self.source.version

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        return self.source[self.position(i)]

    def describe(self, i: int) -> str:
        return self.source.describe(self.position(i))

    def image_id(self, i: int) -> int | str:
        return self.source.image_id(self.position(i))

    def position(self, i: int) -> int:
        """Returns the number that image i has in the source within."""
        return i
