"""Which predictions are worth showing: the most confident mistakes, and some that are right."""

from collections.abc import Sequence

import numpy as np


class Gallery:
    """Keeps few of many classified images, the same ones whatever the batch size.

    Mistakes are kept by confidence, the highest first. Right answers are kept evenly over the data
    set's order, by a fixed hash of the example's number.
    """

    def __init__(self, count: int = 24, names: Sequence[str] = ()):
        """
        Args:
          count: how many images to keep, half of them mistakes where there are enough.
          names: of the classes.
        """
        self._count, self._names = count, tuple(names)
        self._wrong: list[tuple] = []
        self._right: list[tuple] = []

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
            key = (_scramble(number) if right else float(confidence[row]), -number)
            kept = self._right if right else self._wrong
            if len(kept) < self._count or key > kept[-1][0]:
                answer = (int(label[row]), int(predicted[row]), float(confidence[row]))
                kept.append((key, np.array(images[row]), *answer))
                kept.sort(key=lambda item: item[0], reverse=True)
                del kept[self._count :]

    def result(self) -> dict[str, np.ndarray]:
        """The chosen, mistakes first: for `save_arrays(folder, "predictions", …)`."""
        half = max(self._count // 2, self._count - len(self._right))
        chosen = self._wrong[:half]
        chosen += self._right[: self._count - len(chosen)]
        _, images, labels, predicted, confidence = zip(*chosen, strict=True) if chosen else [()] * 5
        return {
            "image": np.stack(images) if chosen else np.zeros((0, 1, 1, 3), np.uint8),
            "label": np.array(labels, np.int32),
            "predicted": np.array(predicted, np.int32),
            "confidence": np.array(confidence, np.float64),
            "classes": np.array(self._names, dtype=np.str_),
        }


def _scramble(number: int) -> int:
    # Knuth's multiplicative hash: neighbours end up far apart.
    return number * 2654435761 % 2**32
