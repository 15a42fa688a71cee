"""Thresholds of a cascade, which nearly all faces pass (Viola and Jones 2001, section 4.1)."""

import dataclasses
import itertools
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vision_jax.config import UserError, within
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Batch
from vision_jax.tasks.solvers import on_host
from vision_jax.tasks.task import Predictor, Variables


@dataclasses.dataclass(frozen=True)
class SetThreshold:
    """A `Solver` that sets the threshold of one network of a cascade (`models.CNNCascade`).

    Of each object in the training set it takes the best score that the network gives to a window
    that covers it. The threshold is the greatest that the asked share of them reach. Objects that
    networks before have lost, or that no window covers, count for nothing.

    Attributes:
      place: of the network in the cascade, from 0.
      recall: share of the objects that pass.
      iou: from which a window covers an object.

    Raises:
      UserError: a share or an IoU beyond 0 to 1, a network that has no such place, or a training
        set in which no object is covered.
    """

    place: int = 0
    recall: float = 0.99
    iou: float = 0.5

    def __post_init__(self):
        within(self, "[0, 1]", "recall", "iou")
        within(self, "[0, inf)", "place")

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Sets `thresholds` [place]; see `Solver.solve`."""
        thresholds = variables["params"].get("thresholds")
        if thresholds is None or self.place >= len(thresholds):
            count = 0 if thresholds is None else len(thresholds)
            raise UserError(
                f"solver.place={self.place}: the network has {count} thresholds; SetThreshold is "
                "for cascades"
            )
        found = self._best_scores(task, variables, batches, steps)
        if not len(found):
            raise UserError(
                f"SetThreshold: no object of the training set is covered (IoU {self.iou}) by a "
                f"window that network {self.place} of the cascade sees"
            )
        lost = int((1 - self.recall) * len(found) + 1e-6)  # 0.2 of 10 are 2 in spite of rounding
        value = np.sort(found)[min(lost, len(found) - 1)]
        thresholds = np.asarray(on_host(thresholds)).copy()
        thresholds[self.place] = value
        return {**variables, "params": {**variables["params"], "thresholds": thresholds}}

    def _best_scores(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Float[np.ndarray, "n"]:
        """Returns the best score of each object that is covered."""

        @jax.jit
        def best(variables: Variables, batch: Batch) -> Array:
            seen = task.predict(variables, batch)["seen"][self.place]
            targets = batch.targets
            if targets.boxes is None or targets.valid is None:
                raise ValueError("SetThreshold needs batches with targets.boxes and valid")
            pairs = jax.vmap(lambda a, b: box_ops.pairwise(box_ops.iou, a, b))
            covered = (pairs(seen.boxes, targets.boxes) >= self.iou) & seen.valid[..., None]
            scores = jnp.where(covered, seen.scores[..., None], -1).max(1)
            counted = targets.valid & batch.valid[:, None]
            for flag in (targets.difficult, targets.crowd):
                counted = counted if flag is None else counted & ~flag
            return jnp.where(counted, scores, -1)

        rows = [on_host(best(variables, b)).ravel() for b in itertools.islice(batches, steps)]
        scores = np.concatenate([np.zeros(0, np.float32), *rows])
        return scores[scores >= 0]
