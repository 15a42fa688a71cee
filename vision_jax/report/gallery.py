"""The choice of predictions to show: the most confident mistakes, and some that are right.

A gallery looks at an evaluation's batches and keeps few of many images, the same ones whatever the
batch size. This file chooses, for classified images too; `gallery_objects` and `gallery_semantic`
draw detections and segmentations.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vision_jax.report.originals import Originals, in_colors


class Shelf:
    """A few items with the highest keys; equal ones must not arrive."""

    def __init__(self, count: int):
        self._count = count
        self._kept: list[tuple[tuple, Any]] = []

    def offer(self, key: tuple, make: Callable[[], Any]) -> None:
        """Takes an item in, which is made only then, if its key is among the highest so far."""
        if len(self._kept) < self._count or key > self._kept[-1][0]:
            self._kept.append((key, make()))
            self._kept.sort(key=lambda pair: pair[0], reverse=True)
            del self._kept[self._count :]

    @property
    def items(self) -> list:
        """The items, the highest first."""
        return [item for _, item in self._kept]


class HardAndEven:
    """A choice of images: half are the hardest; the others lie evenly over the data set.

    Attributes:
      count: images kept in all.
    """

    def __init__(self, count: int):
        self.count = count
        self._hard, self._even = Shelf(count), Shelf(count)

    def offer(self, number: int, quality: float, make: Callable[[], Any]) -> None:
        """Looks at an image.

        Args:
          number: its number in the data set, which decides between equals.
          quality: the quality of its prediction; the lowest are the hardest.
          make: makes what is kept of it.
        """
        self._hard.offer((-quality, -number), lambda: (number, make()))
        self._even.offer((scramble(number), -number), lambda: (number, make()))

    def result(self) -> list:
        """Returns what was kept, the hardest first."""
        hard = self._hard.items[: (self.count + 1) // 2]
        numbers = {number for number, _ in hard}
        even = [item for item in self._even.items if item[0] not in numbers]
        return [made for _, made in hard + even[: self.count - len(hard)]]


class DrawnGallery:
    """A choice of images that are drawn with their answers when they are chosen."""

    def __init__(
        self, names: Sequence[str] = (), count: int = 12, originals: Originals | None = None
    ):
        """
        Args:
          names: the classes' names.
          count: how many images to keep.
          originals: what to draw on.
        """
        self._names, self._originals = tuple(names), originals or Originals(None)
        self._kept = HardAndEven(count)


class Gallery:
    """A choice of classified images.

    Mistakes are kept by confidence, the highest first; right answers evenly over the data set's
    order, by a fixed hash of the example's number.
    """

    def __init__(self, count: int = 24, names: Sequence[str] = ()):
        """
        Args:
          count: how many images to keep, half of them mistakes where there are enough.
          names: the classes' names.
        """
        self._count, self._names = count, tuple(names)
        self._wrong, self._right = Shelf(count), Shelf(count)

    def add(
        self,
        images: np.ndarray,
        label: np.ndarray,
        logits: np.ndarray,
        valid: np.ndarray,
        ids: np.ndarray,
    ) -> None:
        """Looks at a batch.

        Args:
          images: (b, h, w, c) uint8, as shown to people.
          label: (b,) true classes.
          logits: (b, k); a row with a NaN is a mistake of confidence 0.
          valid: (b,) bool, False on padding.
          ids: (b,) each example's number in the data set.
        """
        logits = np.asarray(logits, np.float64)
        broken = np.isnan(logits).any(axis=1)
        logits = np.where(broken[:, None], 0.0, logits)
        predicted = logits.argmax(axis=1)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidence = np.where(broken, 0.0, odds.max(axis=1) / odds.sum(axis=1))
        for row in np.flatnonzero(valid):
            number, right = int(ids[row]), not broken[row] and predicted[row] == label[row]
            # Equal ranks are ordered by example, so that the order of arrival does not matter.
            key = (scramble(number) if right else float(confidence[row]), -number)
            answer = (int(label[row]), int(predicted[row]), float(confidence[row]))
            shelf = self._right if right else self._wrong
            shelf.offer(key, lambda row=row, answer=answer: (_shown(images[row]), *answer))

    def result(self) -> dict[str, np.ndarray]:
        """Returns the chosen, mistakes first: for `save_arrays(folder, "predictions", …)`."""
        wrong, right = self._wrong.items, self._right.items
        chosen = wrong[: max(self._count // 2, self._count - len(right))]
        chosen += right[: self._count - len(chosen)]
        images, labels, predicted, confidence = zip(*chosen, strict=True) if chosen else [()] * 4
        return {
            "image": np.stack(images) if chosen else np.zeros((0, 1, 1, 3), np.uint8),
            "label": np.array(labels, np.int32),
            "predicted": np.array(predicted, np.int32),
            "confidence": np.array(confidence, np.float64),
            "classes": np.array(self._names, dtype=np.str_),
        }


def _shown(image: np.ndarray) -> np.ndarray:
    return np.array(in_colors(image))


def scramble(number: int) -> int:
    """Hashes an example's number (Knuth's): neighbours end up far apart."""
    return number * 2654435761 % 2**32
