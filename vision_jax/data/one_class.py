"""A data set reduced to one class: one of its own, such as COCO's people, or all as objects."""

import dataclasses
import functools

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data import geometry
from vision_jax.data.sources import Example, Wrapped


@dataclasses.dataclass(frozen=True)
class AnyClass(Wrapped):
    """All objects as label 0, for networks that find objects of no class.

    Attributes:
      source: a source with the field 'objects'.
      name: what an object is called.
    """

    name: str = "object"

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return ()

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        return {**example, "labels": np.zeros_like(example["labels"])}


@dataclasses.dataclass(frozen=True)
class OneClass(Wrapped):
    """The objects of one class, as label 0. Images without any stay, empty.

    Attributes:
      source: a source with the field 'objects'.
      name: the class's name.
      renamed: what it is called here; '' leaves its name.
      filter_empty: leaves out images without any, which are found by reading all examples once.

    Raises:
      UserError: a class that the source does not have, or no image with one.
    """

    name: str = "person"
    renamed: str = ""
    filter_empty: bool = False

    def __post_init__(self):
        if self.name not in self.source.classes:
            known = suggest(self.name, self.source.classes)
            raise UserError(f"OneClass: no class {self.name!r}{known}")

    def __len__(self) -> int:
        return len(self._positions) if self.filter_empty else len(self.source)

    def position(self, i: int) -> int:
        return int(self._positions[i]) if self.filter_empty else i

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.renamed or self.name,)

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return self.source.category_ids[self._label :][:1]

    def __getitem__(self, i: int) -> Example:
        example = super().__getitem__(i)
        of_class = np.asarray(example["labels"]) == self._label
        if "rle" in example:  # not yet masks, which `geometry.keep` cuts
            rles = [rle for rle, keep in zip(example["rle"], of_class, strict=True) if keep]
            example = {**example, "rle": rles}
        example = geometry.keep(example, of_class)
        return {**example, "labels": np.zeros_like(example["labels"])}

    @functools.cached_property
    def _label(self) -> int:
        return self.source.classes.index(self.name)

    @functools.cached_property
    def _positions(self) -> np.ndarray:
        """The source's numbers of the images with an object of the class, increasing."""
        there = [self._label in self.source[i]["labels"] for i in range(len(self.source))]
        if not any(there):
            first = self.source.describe(0) if there else "an empty source"
            raise UserError(f"OneClass: no image has a {self.name!r} ({first} and on)")
        return np.flatnonzero(there)
