"""A network's proposals for every image of a data set, as a file for networks that make none."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vision_jax.structs import Batch

_READ = ("proposals", "proposal_scores", "proposal_valid")


@dataclasses.dataclass(frozen=True)
class WriteProposals:
    """A `Fit` that changes nothing: it writes what `data.WithProposals` reads, `scores` too.

    As a stage of its own it sees the training set of that stage once. Give the stage transforms of
    evaluation, since only `Batch.scale` is undone.

    Attributes:
      file: 'stage:NAME/proposals.npz' with the stage's own name.
      most: proposals per image, the best.
    """

    file: str = "proposals.npz"
    most: int = 2000

    def fit(
        self, task: Any, variables: dict[str, Any], batches: Iterable[Batch], steps: int
    ) -> dict[str, Any]:
        """See `Fit`. Images without an example number (padding) are left out."""

        @jax.jit
        def propose(variables, batch):
            outputs = task.predict(variables, batch)
            return {key: outputs[key] for key in _READ}

        found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for batch in itertools.islice(batches, steps):
            rows = _host((propose(variables, batch), batch.id, batch.valid, batch.scale))
            for number, outputs in _images(*rows):
                found[number] = tuple(x[: self.most] for x in outputs)
        if jax.process_index() == 0:
            _save(pathlib.Path(self.file), found)
        return variables


def _images(outputs: dict[str, np.ndarray], ids: np.ndarray, valid: np.ndarray, scale: Any):
    """(number, (boxes in pixels of the original, scores)) of each image."""
    boxes, scores, there = (outputs[key] for key in _READ)
    for row in np.flatnonzero(valid):
        kept = boxes[row][there[row]]
        if scale is not None:
            kept = kept / scale[row][[1, 0, 1, 0]]
        yield int(ids[row]), (kept, scores[row][there[row]])


def _save(path: pathlib.Path, found: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    """Examples 0, 1 … in order; without any, those that were not seen."""
    nothing = (np.zeros((0, 4)), np.zeros(0))
    images = [found.get(number, nothing) for number in range(max(found, default=-1) + 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            counts=np.array([len(boxes) for boxes, _ in images], np.int64),
            boxes=np.concatenate([nothing[0], *(boxes for boxes, _ in images)]).astype(np.float32),
            scores=np.concatenate([nothing[1], *(s for _, s in images)]).astype(np.float32),
        )


def _host(tree: Any) -> Any:
    """All processes' rows as NumPy arrays."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)
