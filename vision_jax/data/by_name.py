"""A data set whose labels are renumbered by the names of its classes."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import geometry
from vision_jax.data.decode import decode_labels
from vision_jax.data.sources import Example, Wrapped

_ABSENT = -1


@dataclasses.dataclass(frozen=True)
class ByName(Wrapped):
    """A source with the classes `names`, whatever order and number its own have.

    So sources that number the same classes differently agree, a source gets another one's classes,
    and a run gets a subset of them. Objects of other classes are left out; pixels of other classes
    become void. An image's single label has to be one of `names`.

    Attributes:
      source: the source within.
      names: the classes, in the order of their labels.
      rename: pairs (the source's name, another name), which comes before all else; two classes may
        get one name.

    Raises:
      UserError: `names` has one name twice, or `rename` one that is not the source's.
    """

    names: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()

    def __post_init__(self):
        if len({*self.names}) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise UserError(f"names: {twice!r} is there twice")
        for name, _ in self.rename:
            if name not in self.source.classes:
                raise UserError(
                    f"rename: the data have no class {name!r}{suggest(name, self.source.classes)}"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.names) or tuple(dict.fromkeys(self._renamed))

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        """The number of each class in the source's files; -1 for those that it lacks."""
        numbers = dict(zip(self._renamed, self.source.category_ids, strict=False))
        return tuple(numbers.get(name, _ABSENT) for name in self.classes) if numbers else ()

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        if "label" in example:
            example = {**example, "label": self._label(i, example["label"])}
        if "segmentation" in example:
            example = {**example, "segmentation": self._pixels(example["segmentation"])}
        if "labels" not in example:
            return example
        labels = self._numbers[np.asarray(example["labels"], np.int64)]
        chosen = labels != _ABSENT
        if "rle" in example:  # not yet masks, which `geometry.keep` cuts
            rles = [rle for rle, keep in zip(example["rle"], chosen, strict=True) if keep]
            example = {**example, "rle": rles}
        return geometry.keep({**example, "labels": labels.astype(np.int32)}, chosen)

    @functools.cached_property
    def _renamed(self) -> tuple[str, ...]:
        """The source's classes under their other names."""
        others = dict(self.rename)
        return tuple(others.get(name, name) for name in self.source.classes)

    @functools.cached_property
    def _numbers(self) -> np.ndarray:
        """The label of each of the source's classes, _ABSENT for those that are left out."""
        place = {name: label for label, name in enumerate(self.classes)}
        return np.asarray([place.get(name, _ABSENT) for name in self._renamed], np.int64)

    def _label(self, i: int, label: int | np.ndarray) -> int | np.ndarray:
        """Returns an image's label, or its vector of labels, in the new order."""
        if np.ndim(label):
            vector = np.zeros(len(self.classes), np.float32)
            for number, value in zip(self._numbers, np.asarray(label), strict=True):
                if number != _ABSENT:
                    vector[number] = max(vector[number], value)
            return vector
        number = int(self._numbers[int(label)])
        if number == _ABSENT:
            name = self._renamed[int(label)]
            raise ValueError(f"its class {name!r} is none of {', '.join(self.classes)}")
        return number

    def _pixels(self, segmentation: bytes | np.ndarray) -> np.ndarray:
        """Returns semantic labels in the new order, void where their class is left out."""
        if isinstance(segmentation, bytes):
            segmentation = decode_labels(segmentation)
        table = np.full(256, geometry.VOID, np.uint8)
        known = self._numbers != _ABSENT
        table[: len(known)][known] = self._numbers[known]
        return table[segmentation]


def missing_names(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Returns those of `names` that are not among the others, in order."""
    others = {*among}
    return [name for name in names if name not in others]
