"""A network's proposals for every image of a data set, as a file for networks that make none."""

import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from vision_jax.structs import Batch
from vision_jax.system import disk
from vision_jax.tasks.solvers import after, checksum, on_host
from vision_jax.tasks.task import Predictor, Variables

_READ = ("proposals", "proposal_scores", "proposal_valid")
_BATCHES = 4  # of a part
_SILENT = 15  # seconds
_BoxesAndScores = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class WriteProposals:
    """A `Solver` that changes nothing: it writes what `data.WithProposals` reads, `scores` too.

    As a stage of its own it sees the training set of that stage once. Give the stage transforms of
    evaluation, since only `Batch.scale` is undone. What is done lies in `file`.parts until all is
    there: a run that is killed goes on after it, without reading those images again.

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

        of = {"batches": steps, "most": self.most, "variables": checksum(variables)}
        parts = _Parts(pathlib.Path(f"{self.file}.parts"), of)
        images: dict[int, _BoxesAndScores] = {}
        for done, batch in enumerate(after(batches, parts.done, steps), parts.done + 1):
            rows = (*propose(variables, batch), batch.id, batch.valid, batch.scale)
            for number, boxes, scores in _in_originals(*jax.tree.map(on_host, rows)):
                images[number] = boxes[: self.most], scores[: self.most]
            if done % _BATCHES == 0 or done == steps:
                parts.write(done, images)
                images = {}
        parts.merge(pathlib.Path(self.file))
        return variables


class _Parts:
    """A folder of what is done: each file has the proposals of some batches.

    Attributes:
      done: batches that need not be read again.
    """

    def __init__(self, folder: pathlib.Path, of: dict[str, int]):
        """Looks for parts of the same network; those of another are made anew."""
        self.folder, self.leads, self.steps = folder, jax.process_index() == 0, of["batches"]
        self._told = time.monotonic()
        settings = json.dumps(of)
        known = folder / "settings.json"
        if known.is_file() and known.read_text() == settings:
            self.done = max([int(path.stem) for path in folder.glob("*.npz")], default=0)
            if self.leads and self.done:
                print(f"proposals: {self.done} of {self.steps} batches are there already")
            return
        self.done = 0
        if self.leads:
            with disk.writing(folder):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            with disk.whole_file(known) as half:
                half.write_text(settings)

    def write(self, done: int, images: dict[int, _BoxesAndScores]) -> None:
        """Writes the proposals of the images of the batches before number `done`."""
        if not self.leads:
            return
        _save(self.folder / f"{done:09d}.npz", images, numbers=np.array([*images], np.int64))
        if time.monotonic() - self._told > _SILENT:
            self._told = time.monotonic()
            print(f"proposals: {done} of {self.steps} batches", flush=True)

    def merge(self, path: pathlib.Path) -> None:
        """Writes examples 0, 1 … in order, those that were not seen without any proposals."""
        if not self.leads:
            return
        images: dict[int, _BoxesAndScores] = {}
        for part in sorted(self.folder.glob("*.npz")):
            with np.load(part) as file:
                ends = np.cumsum(file["counts"])[:-1]
                each = (np.split(file[name], ends) for name in ("boxes", "scores"))
                images |= dict(zip(file["numbers"].tolist(), zip(*each, strict=True), strict=True))
        none = (np.zeros((0, 4)), np.zeros(0))
        last = max(images, default=-1)
        _save(path, {number: images.get(number, none) for number in range(last + 1)})
        shutil.rmtree(self.folder)


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


def _save(path: pathlib.Path, images: dict[int, _BoxesAndScores], **more: Any) -> None:
    """Writes the images' proposals, in their order."""
    boxes, scores = (
        [np.asarray(row[k], np.float32).reshape(-1, *shape) for row in images.values()]
        for k, shape in enumerate(((4,), ()))
    )
    none = (np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    with disk.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with disk.whole_file(path) as half, open(half, "wb") as file:
        np.savez_compressed(
            file,
            counts=np.array([len(rows) for rows in boxes], np.int64),
            boxes=np.concatenate([none[0], *boxes]),
            scores=np.concatenate([none[1], *scores]),
            **more,
        )
