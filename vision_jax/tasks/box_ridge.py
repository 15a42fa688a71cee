"""R-CNN's regression of boxes, solved in closed form (Girshick et al. 2014, appendix C)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_FLOOR = 1e-3  # added to the variances of the targets


class BoxRegressor(NamedTuple):
    """A ridge regression of one class's deltas from features, and how its targets were whitened.

    The released code whitens targets, of which the paper says nothing: they are centred, and
    uncorrelated with variance 1 for the regression.
    """

    mean: Float[np.ndarray, "4"]
    whiten: Float[np.ndarray, "4 4"]
    unwhiten: Float[np.ndarray, "4 4"]
    beta: Float[np.ndarray, "d_1 4"]  # of whitened targets; the offset in the last row

    @property
    def layer(self) -> tuple[Float[np.ndarray, "d 4"], Float[np.ndarray, "4"]]:
        """Kernel and bias of the linear layer that gives the deltas themselves."""
        solution = self.beta @ self.unwhiten
        return solution[:-1], solution[-1] + self.mean


def ridge_boxes(
    x: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n 4"], penalty: float = 1000.0
) -> BoxRegressor:
    """Finds the least |[x, 1] β - y|² + penalty |β|² of whitened targets y, in float64.

    The offset is penalised like the weights, as in the released code.

    Args:
      x: features of proposals, at least one.
      targets: deltas from the proposals to their objects, unweighted (`ops.boxes.encode`).
      penalty: the paper's λ, above 0.
    """
    x, targets = x.astype(np.float64), targets.astype(np.float64)
    mean = targets.mean(0)
    centred = targets - mean[None]
    values, vectors = np.linalg.eigh(centred.T @ centred / len(targets))
    deviations = np.sqrt(np.maximum(values, 0) + _FLOOR)
    whiten = (vectors / deviations[None]) @ vectors.T
    unwhiten = (vectors * deviations[None]) @ vectors.T
    x = np.concatenate([x, np.ones((len(x), 1))], 1)
    y = centred @ whiten
    if len(x) < x.shape[1]:  # the same solution from fewer equations
        beta = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    else:
        beta = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return BoxRegressor(mean, whiten, unwhiten, beta)
