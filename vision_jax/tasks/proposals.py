"""A network's proposals for every image of a data set, as a file for networks that make none."""

import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator

import jax
import numpy as np

from vision_jax.structs import Batch
from vision_jax.system import disk
from vision_jax.tasks.solvers import on_host
from vision_jax.tasks.task import Predictor, Variables

_READ = ("proposals", "proposal_scores", "proposal_valid")
_BoxesAndScores = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class WriteProposals:
    """A `Solver` that changes nothing: it writes what `data.WithProposals` reads, `scores` too.

    As a stage of its own it sees the training set of that stage once. Give the stage transforms of
    evaluation, since only `Batch.scale` is undone.

    Attributes:
      file: 'stage:NAME/proposals.npz' with the stage's own name.
      most: proposals per image, the best.
    """

    file: str = "proposals.npz"
    most: int = 2000

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Writes the proposals of all images; see `Solver.solve`.

        Images without an example number (padding) are left out.
        """

        @jax.jit
        def propose(variables, batch):
            outputs = task.predict(variables, batch)
            return [outputs[key] for key in _READ]

        images: dict[int, _BoxesAndScores] = {}
        for batch in itertools.islice(batches, steps):
            rows = (*propose(variables, batch), batch.id, batch.valid, batch.scale)
            for number, boxes, scores in _in_originals(*jax.tree.map(on_host, rows)):
                images[number] = boxes[: self.most], scores[: self.most]
        if jax.process_index() == 0:
            _save(pathlib.Path(self.file), images)
        return variables


def _in_originals(
    boxes: np.ndarray,
    scores: np.ndarray,
    proposal_valid: np.ndarray,
    ids: np.ndarray,
    valid: np.ndarray,
    scale: np.ndarray | None,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yields each image's number, its boxes in pixels of the original, and their scores."""
    for row in np.flatnonzero(valid):
        there = proposal_valid[row]
        image_boxes = boxes[row][there]
        if scale is not None:
            image_boxes = image_boxes / scale[row][[1, 0, 1, 0]]
        yield int(ids[row]), image_boxes, scores[row][there]


def _save(path: pathlib.Path, images: dict[int, _BoxesAndScores]) -> None:
    """Writes examples 0, 1 … in order; those that were not seen without any proposals."""
    none = (np.zeros((0, 4)), np.zeros(0))
    rows = [images.get(number, none) for number in range(max(images, default=-1) + 1)]
    with disk.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with disk.whole_file(path) as half, open(half, "wb") as file:
        np.savez_compressed(
            file,
            counts=np.array([len(boxes) for boxes, _ in rows], np.int64),
            boxes=np.concatenate([none[0], *(boxes for boxes, _ in rows)]).astype(np.float32),
            scores=np.concatenate([none[1], *(scores for _, scores in rows)]).astype(np.float32),
        )
