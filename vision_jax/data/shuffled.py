"""A source whose annotations belong to other images: the control of what a network can learn."""

import dataclasses
import functools
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """Every image with the annotations of another one, drawn once.

    What can be learned from it is how images and annotations are distributed, and nothing of what
    connects them. Boxes, masks and keypoints fit where images have one size.

    Attributes:
      source: whose images and annotations these are.
      seed: of the order.
    """

    source: Any
    seed: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict:
        return {**self.source[int(self._order[i])], "image": self.source[i]["image"]}

    def describe(self, i: int) -> str:
        other = self.source.describe(int(self._order[i]))
        return f"{self.source.describe(i)} with the annotations of {other}"

    def __getstate__(self) -> dict:
        return {"source": self.source, "seed": self.seed}

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """Raw draws, sorted: numpy promises these, but not its shuffle, for all versions."""
        return np.argsort(np.random.PCG64([self.seed]).random_raw(len(self)), kind="stable")
