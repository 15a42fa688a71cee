"""Several sources as one."""

import dataclasses
import functools

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.sources import Example, LazySource, Source


@dataclasses.dataclass(frozen=True)
class Concat(LazySource):
    """One source after the other, such as VOC 2007 and 2012: "07+12".

    Attributes:
      sources: sources with the same classes, and examples of the same fields.

    Raises:
      UserError: no source, or different classes.
    """

    sources: tuple[Source, ...]

    def __post_init__(self):
        if not self.sources:
            raise UserError("Concat: give it at least one source")
        for source in self.sources[1:]:
            if source.classes != self.classes:
                first, other = self.sources[0].describe(0), source.describe(0)
                raise UserError(f"Concat: the classes differ between {first} and {other}")

    @property
    def classes(self) -> tuple[str, ...]:
        return self.sources[0].classes

    @property
    def category_ids(self) -> tuple[int | str, ...]:
        return self.sources[0].category_ids

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> Example:
        source, position = self._at(i)
        return source[position]

    def describe(self, i: int) -> str:
        source, position = self._at(i)
        return source.describe(position)

    def image_id(self, i: int) -> int | str:
        source, position = self._at(i)
        return source.image_id(position)

    def arrays(self) -> dict[str, np.ndarray] | None:
        """Returns all examples, where every source holds its own and images have one size."""
        every = [source.arrays() for source in self.sources]
        parts = [arrays for arrays in every if arrays is not None]
        shapes = {part["image"].shape[1:] for part in parts}
        if len(parts) < len(every) or len(shapes) > 1:
            return None
        return {key: np.concatenate([part[key] for part in parts]) for key in ("image", "label")}

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(source) for source in self.sources])

    def _at(self, i: int) -> tuple[Source, int]:
        """Returns the source of example i, and the example's number there."""
        number = int(np.searchsorted(self._ends, i, side="right"))
        return self.sources[number], i - (int(self._ends[number - 1]) if number else 0)
