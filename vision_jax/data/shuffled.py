"""A source whose annotations belong to other images: the control of what a network can learn."""

import dataclasses
import functools

import numpy as np

from vision_jax.data.sources import Example, Wrapped


@dataclasses.dataclass(frozen=True)
class Shuffled(Wrapped):
    """Every image with the annotations of another one, drawn once.

    A network can learn from it how images and annotations are distributed, and nothing of what
    connects them. Boxes, masks and keypoints fit where images have one size.

    Attributes:
      source: the source of images and annotations.
      seed: the seed of the annotations' order.
    """

    seed: int = 0

    def __getitem__(self, i: int) -> Example:
        return {**self.source[int(self._order[i])], "image": self.source[i]["image"]}

    def describe(self, i: int) -> str:
        other = self.source.describe(int(self._order[i]))
        return f"{self.source.describe(i)} with the annotations of {other}"

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """For each image the number of the example whose annotations it gets.

        Raw draws, sorted: numpy promises these, but not its shuffle, for all versions.
        """
        return np.argsort(np.random.PCG64([self.seed]).random_raw(len(self)), kind="stable")
