"""Linear layers solved in closed form or to convergence on a fixed network's features.

Each part is a `Solver`, which an experiment takes in place of gradient steps. The network runs in
evaluation, once per image; the solution replaces one `Dense` layer's parameters.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float

from vision_jax.config import UserError, suggest
from vision_jax.structs import Batch
from vision_jax.tasks.task import Predictor, Variables

Matrix = Float[np.ndarray, "n d"]
Labels = Float[np.ndarray, "n k"]
Loss = Callable[[Labels], tuple[float, Labels]]  # scores → sum over rows, and its gradient


class Solver(Protocol):
    """A part that finds variables in one pass over the training set, without an optimizer."""

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Returns the solved variables; those that it is given stay as they are.

        Args:
          task: its `predict` gives the features.
          variables: as from `task.init`.
          batches: of the training set, on the host or on devices; may be endless. `after` leaves
            out the first of them.
          steps: how many of them to take.
        """


@dataclasses.dataclass(frozen=True)
class Pass:
    """The batches of one pass over a training set, which can begin anywhere.

    Attributes:
      begin: number of the first batch wanted → it and all that follow; those before are not read.
    """

    begin: Callable[[int], Iterator[Batch]]

    def __iter__(self) -> Iterator[Batch]:
        return self.begin(0)


def after(batches: Iterable[Batch], done: int, steps: int) -> Iterator[Batch]:
    """Yields batch number `done` and those that follow, up to number `steps`."""
    if isinstance(batches, Pass):
        return itertools.islice(batches.begin(done), steps - done)
    return itertools.islice(batches, done, steps)


@dataclasses.dataclass(frozen=True)
class RidgeHead:
    """A ridge regression onto one-hot classes: least Σ |x W + b - y|² + penalty |W|².

    Solved by the normal equations in float64, in one pass and (d + 1)² memory. The scores regress
    0 and 1: their order is the classifier's answer, their softmax is no probability.

    Attributes:
      features: the output to read, (b, d), or a map (b, h, w, c), which is averaged.
      penalty: at least 0; the bias is free.
      layer: path of the linear layer that the solution replaces.
    """

    features: str = "features"
    penalty: float = 1.0
    layer: str = "head/fc"

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Solves the normal equations; see `Solver.solve`."""
        classes = layer_kernel(variables, self.layer).shape[1]
        gram: Any = 0.0
        moments: Any = 0.0
        for x, y in _rows(task, variables, itertools.islice(batches, steps), self.features):
            x = np.concatenate([x, np.ones((len(x), 1))], 1)
            gram, moments = gram + x.T @ x, moments + x.T @ _signs(y, classes, off=0.0)
        ridge = np.full(len(gram), float(self.penalty))
        ridge[-1] = 0
        # The least norm among solutions where there are many (fewer images than features).
        solution = np.linalg.lstsq(gram + np.diag(ridge), moments, rcond=None)[0]
        return replaced(variables, self.layer, solution)


@dataclasses.dataclass(frozen=True)
class _ConvexHead:
    """A linear layer of least mean loss over images, plus penalty / 2 |W|², found by L-BFGS."""

    features: str = "features"
    penalty: float = 1e-3
    layer: str = "head/fc"
    iterations: int = 1000

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Minimises the loss over all images at once; see `Solver.solve`."""
        classes = layer_kernel(variables, self.layer).shape[1]
        rows = _rows(task, variables, itertools.islice(batches, steps), self.features)
        x, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        solution = minimize(self._loss(y, classes), x, classes, self.penalty, self.iterations)
        return replaced(variables, self.layer, solution)

    def _loss(self, labels: np.ndarray, classes: int) -> Loss:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SvmHead(_ConvexHead):
    """A linear support vector machine per class against the others, as R-CNN's classifiers.

    Least mean over images of Σ_k max(0, 1 - s_k f_k)² + penalty / 2 |W|², with s = 1 for the true
    class and -1 for the others. It is LIBLINEAR's L2-loss machine with C = 1 / (n penalty), except
    that the bias is free.

    Attributes:
      features, layer: see `RidgeHead`.
      penalty: above 0.
      iterations: most iterations of L-BFGS.
    """

    def _loss(self, labels: np.ndarray, classes: int) -> Loss:
        signs = _signs(labels, classes, off=-1.0)

        def squared_hinge(scores: Labels) -> tuple[float, Labels]:
            short = np.maximum(0.0, 1 - signs * scores)
            return float(np.square(short).sum()), -2 * signs * short

        return squared_hinge


@dataclasses.dataclass(frozen=True)
class LogisticHead(_ConvexHead):
    """A logistic regression to convergence: least mean cross-entropy + penalty / 2 |W|².

    Softmax for one class per image; for labels (b, k) one sigmoid per class.

    Attributes:
      features, layer: see `RidgeHead`.
      penalty: above 0; scikit-learn's C is 1 / (n penalty).
      iterations: most iterations of L-BFGS.
    """

    def _loss(self, labels: np.ndarray, classes: int) -> Loss:
        targets = _signs(labels, classes, off=0.0)

        def softmax(scores: Labels) -> tuple[float, Labels]:
            logs = scores - scores.max(1, keepdims=True)
            logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
            return float(-(targets * logs).sum()), np.exp(logs) - targets

        def sigmoid(scores: Labels) -> tuple[float, Labels]:
            loss = float((np.logaddexp(0, scores) - targets * scores).sum())
            return loss, np.exp(-np.logaddexp(0, -scores)) - targets

        return softmax if labels.ndim == 1 else sigmoid


def minimize(
    loss: Loss, x: Matrix, outputs: int, penalty: float, iterations: int
) -> Float[np.ndarray, "d_1 k"]:
    """Minimises mean loss + penalty / 2 |W|² over linear scores x W + b, by L-BFGS in float64.

    Features are standardised while it searches, which it needs to converge; the penalty is on the
    weights of the features as they are.

    Args:
      loss: scores (n, outputs) → sum over rows, and its gradient.
      x: features.
      outputs: number of scores per row.
      penalty: above 0.
      iterations: most iterations.

    Returns:
      W with b as its last row.
    """
    n, d = x.shape
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    z = (x - mean) / scale

    def objective(flat: Float[np.ndarray, "m"]) -> tuple[float, Float[np.ndarray, "m"]]:
        solution = flat.reshape(d + 1, outputs)
        weights = solution[:-1] / scale[:, None]
        value, slope = loss(z @ solution[:-1] + solution[-1:])
        value = value / n + penalty / 2 * np.square(weights).sum()
        down = z.T @ slope / n + penalty * weights / scale[:, None]
        return value, np.concatenate([down, slope.sum(0, keepdims=True) / n]).ravel()

    from scipy import optimize  # a quarter of a second that no other run should wait for

    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 1e-12, "gtol": 1e-7}
    start = np.zeros((d + 1) * outputs)
    result = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    solution = result.x.reshape(d + 1, outputs)
    weights = solution[:-1] / scale[:, None]
    return np.concatenate([weights, solution[-1:] - mean[None] @ weights])


def _rows(
    task: Predictor, variables: Variables, batches: Iterable[Batch], name: str
) -> Iterator[tuple[Matrix, np.ndarray]]:
    """Yields features and labels of the valid images, batch by batch, alike in every process."""

    @jax.jit
    def features(variables: Variables, batch: Batch) -> jax.Array:
        outputs = task.predict(variables, batch)
        if name not in outputs:
            raise UserError(f"solver.features={name!r}: no such output{suggest(name, outputs)}")
        x = outputs[name]
        return x.mean((1, 2)) if x.ndim == 4 else x.reshape(x.shape[0], -1)

    for batch in batches:
        rows = (features(variables, batch), batch.targets.label, batch.valid)
        x, label, valid = (on_host(part) for part in rows)
        valid = valid & (label >= 0 if label.ndim == 1 else True)
        yield x[valid].astype(np.float64), label[valid]


def on_host(x: Any) -> np.ndarray:
    """Returns an array's rows of all processes as a NumPy array."""
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.asarray(x)


def checksum(variables: Variables) -> int:
    """Returns a number that differs for other variables."""
    crc = 0
    for leaf in jax.tree.leaves(variables):
        crc = zlib.crc32(np.asarray(on_host(leaf)).tobytes(), crc)
    return crc


def _signs(label: np.ndarray, classes: int, off: float) -> Labels:
    """Writes 1 for an image's classes and `off` for the others; labels (n,) or (n, classes)."""
    on = np.eye(classes)[label] if label.ndim == 1 else label.astype(np.float64)
    return on + off * (1 - on)


def layer_kernel(variables: Variables, layer: str) -> Any:
    """Returns the kernel of the linear layer with this path.

    Raises:
      UserError: there is none.
    """
    here: Any = variables["params"]
    for key in layer.split("/"):
        if not isinstance(here, dict) or key not in here:
            known = here if isinstance(here, dict) else ()
            raise UserError(f"solver.layer={layer!r}: there is no {key!r}{suggest(key, known)}")
        here = here[key]
    if not isinstance(here, dict) or "kernel" not in here or here["kernel"].ndim != 2:
        raise UserError(f"solver.layer={layer!r} is no linear layer")
    return here["kernel"]


def replaced(variables: Variables, layer: str, solution: Float[np.ndarray, "d_1 k"]) -> Variables:
    """Returns variables with a layer's kernel and bias from the solution's rows."""
    old, width = layer_kernel(variables, layer), len(solution) - 1
    if old.shape != (width, solution.shape[1]):
        raise UserError(
            f"solver: {layer} reads {old.shape[0]} numbers, but the features have {width}; set "
            "solver.features to what it reads, or solver.layer"
        )

    def put(tree: Any, keys: list[str]) -> dict[str, Any]:
        if not keys:
            return {
                "kernel": solution[:-1].astype(old.dtype),
                "bias": solution[-1].astype(old.dtype),
            }
        return {**tree, keys[0]: put(tree[keys[0]], keys[1:])}

    return put(variables, ["params", *layer.split("/")])
