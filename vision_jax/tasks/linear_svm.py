"""R-CNN's linear classifiers: LIBLINEAR's machines, and the mining of their hard negatives.

Girshick et al. 2014, section 2.3, in the numbers of the released code.
"""

import dataclasses
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from vision_jax.config import within

Rows = Float[np.ndarray, "n d"]


@dataclasses.dataclass(frozen=True)
class LinearSvm:
    """A linear support vector machine with the hinge loss, as LIBLINEAR's type 3.

    It is the least of C Σ weight max(0, 1 - y (w·x + b)) + (|w|² + (b / bias)²) / 2: the offset is
    penalised too, the less the larger `bias` is.

    Attributes:
      c: weight of the loss.
      bias: of the feature whose weight is the offset.
      positive_weight: how often a positive counts.
      tolerance: at which the solver stops.
      iterations: after which it stops at the latest.

    Raises:
      UserError: a number that is not positive.
    """

    c: float = 1e-3
    bias: float = 10.0
    positive_weight: float = 2.0
    tolerance: float = 1e-4
    iterations: int = 10_000

    def __post_init__(self):
        within(self, "(0, inf)", "c", "bias", "positive_weight", "tolerance", "iterations")

    def fit(self, x: Rows, positive: Bool[np.ndarray, "n"]) -> tuple[np.ndarray, float]:
        """Returns w (d,) and b, in float64; there are examples of both kinds."""
        # Half a second that no other run should wait for.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC

        machine = LinearSVC(
            loss="hinge",
            dual=True,
            C=self.c,
            intercept_scaling=self.bias,
            class_weight={1: self.positive_weight},
            tol=self.tolerance,
            max_iter=self.iterations,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            machine.fit(x.astype(np.float64), np.where(positive, 1, -1))
        return machine.coef_[0], float(machine.intercept_[0])


class Update(NamedTuple):
    """One training of a class's machine: after which image, and its negatives before and after."""

    image: int
    trained: int
    left: int


@dataclasses.dataclass
class HardNegatives:
    """The mining of one class: images come one after the other, and only hard negatives stay.

    Of the first image all negatives are taken, then those of a score above `hard`. The machine is
    trained anew when more than `limit` were added, and after the last image; negatives with a score
    below `easy` are then dropped.

    Attributes:
      svm: how the machine is trained.
      positives: (n, d), at least one.
      limit, hard, easy: see above.
      weights, offset: the machine; None before the first image.
      updates: what was trained when.
    """

    svm: LinearSvm
    positives: Rows
    limit: int = 2000
    hard: float = -1.0001
    easy: float = -1.2
    weights: np.ndarray | None = None
    offset: float = 0.0
    updates: list[Update] = dataclasses.field(default_factory=list)
    _rows: list[np.ndarray] = dataclasses.field(default_factory=list)
    _names: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    _added: int = 0

    @property
    def cached(self) -> list[tuple[int, int]]:
        """The negatives that are kept, by image and place."""
        return sorted(self._names)

    def see(
        self, image: int, features: Rows, negative: Bool[np.ndarray, "n"], last: bool = False
    ) -> None:
        """Takes an image's hard negatives, and trains if it is time.

        Args:
          image: its number; none comes twice.
          features: of all its regions.
          negative: which of them are negatives of this class.
          last: whether no image follows.
        """
        taken = negative
        if self.weights is not None:
            taken = negative & (self._scores(features) > self.hard)
        places = np.flatnonzero(taken)
        self._rows += [*features[places].astype(np.float32)]  # copies, not views of the image's
        self._names += [(image, int(place)) for place in places]
        self._added += len(places)
        if self._rows and (self.weights is None or self._added > self.limit or last):
            self._train(image)

    def _train(self, image: int) -> None:
        negatives = np.stack(self._rows)
        x = np.concatenate([self.positives, negatives])
        positive = np.arange(len(x)) < len(self.positives)
        self.weights, self.offset = self.svm.fit(x, positive)
        stay = np.flatnonzero(self._scores(negatives) >= self.easy)
        self._rows, self._names = [self._rows[i] for i in stay], [self._names[i] for i in stay]
        self._added = 0
        self.updates.append(Update(image, len(negatives), len(stay)))

    def _scores(self, features: Rows) -> np.ndarray:
        if self.weights is None:
            raise ValueError("there is no machine before the first image")
        return features.astype(np.float64, copy=False) @ self.weights + self.offset
