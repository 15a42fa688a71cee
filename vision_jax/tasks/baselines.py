"""Cheap peers of a network, by which its score can be judged."""

import dataclasses
import warnings

import numpy as np


@dataclasses.dataclass(frozen=True)
class LinearPixels:
    """A multinomial logistic regression on raw pixels (scikit-learn, L-BFGS).

    Attributes:
      penalty: strength of the L2 penalty, the inverse of scikit-learn's `C`; the default did best
        on the embedded shapes among 1, 1e3, 1e4 and 1e5.
      iterations: most iterations of L-BFGS.
      most: training examples used at the most.
    """

    penalty: float = 1e3
    iterations: int = 100
    most: int = 10_000

    def score(
        self, train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray]
    ) -> float:
        """Fits the regression and returns its top-1 on held-out images, 0..1.

        Args:
          train, held_out: uint8 images (n, h, w, c) and labels (n,).
        """
        # Imported here: scikit-learn takes a second, and only this needs it.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1 / self.penalty, max_iter=self.iterations)
        pixels, labels = self._flat(train[0][: self.most]), train[1][: self.most]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bound on time, by intent
            model.fit(pixels, labels)
        return float(model.score(self._flat(held_out[0]), held_out[1]))

    def _flat(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32) / 127.5 - 1
