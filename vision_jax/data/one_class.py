"""A data set of one of its classes, such as COCO's people, who alone have keypoints."""

import dataclasses
import functools
from typing import Any

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data.geometry import kept


@dataclasses.dataclass(frozen=True)
class OneClass:
    """The objects of one class, as label 0. Images without any stay, empty.

    Attributes:
      source: with the field 'objects'.
      name: of the class.

    Raises:
      UserError: a class that the source has not.
    """

    source: Any
    name: str = "person"

    def __post_init__(self):
        if self.name not in self.source.classes:
            known = suggest(self.name, self.source.classes)
            raise UserError(f"OneClass: no class {self.name!r}{known}")

    @property
    def classes(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(getattr(self.source, "category_ids", ()))[self._label :][:1]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        example = self.source[i]
        keep = np.asarray(example["labels"]) == self._label
        if "rle" in example:  # not yet masks, of which `kept` knows
            own = [rle for rle, keeps in zip(example["rle"], keep, strict=True) if keeps]
            example = {**example, "rle": own}
        example = kept(example, keep)
        return {**example, "labels": np.zeros_like(example["labels"])}

    def describe(self, i: int) -> str:
        return self.source.describe(i)

    def image_id(self, i: int) -> int | str:
        return self.source.image_id(i) if hasattr(self.source, "image_id") else i

    def arrays(self) -> None:
        """Never held in memory; see `Source`."""

    @functools.cached_property
    def _label(self) -> int:
        return self.source.classes.index(self.name)
