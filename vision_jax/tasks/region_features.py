"""The features of all regions of a training set, computed once and kept on disk (R-CNN, SPP-net).

They are NumPy files in one folder, of as many slots per image as there can be regions: first the
objects' own boxes, then the proposals. Slots without a region take no space where the file system
knows holes.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vision_jax.config import UserError, within
from vision_jax.structs import Batch, Targets
from vision_jax.system import disk
from vision_jax.tasks.detection import Detection
from vision_jax.tasks.solvers import checksum, on_host
from vision_jax.tasks.task import Predictor, Variables

SETTINGS = "regions.json"
FEATURES, BOX_FEATURES = "features", "box_features"  # also outputs of the network
_SMALL = ("boxes", "valid", "labels")


@dataclasses.dataclass(frozen=True)
class RegionStore:
    """The files of `WriteRegionFeatures`, as memory maps; rows are images, then slots.

    Attributes:
      features: (n, m + p, d), what the classifiers read; of m objects and p proposals.
      box_features: (n, m + p, e), what the regressors read; of proposals near an object alone.
      boxes: (n, m + p, 4), xyxy in pixels of the network's input.
      valid: (n, m + p), slots with a region.
      labels: (n, m), the objects' classes, -1 in slots without; of rows without regions anything.
    """

    features: np.ndarray
    box_features: np.ndarray
    boxes: np.ndarray
    valid: np.ndarray
    labels: np.ndarray

    @classmethod
    def open(cls, folder: str) -> "RegionStore":
        """Opens a complete folder.

        Raises:
          UserError: it is not there, or not complete.
        """
        path = pathlib.Path(folder)
        if not (path / "complete").is_file():
            raise UserError(
                f"regions={folder!r} has no complete features; run the stage with "
                "tasks.WriteRegionFeatures first"
            )
        arrays = (np.load(path / f"{f.name}.npy", mmap_mode="r") for f in dataclasses.fields(cls))
        return cls(*arrays)

    def overlaps(self, image: int) -> np.ndarray:
        """Returns the IoU of an image's regions with its objects, (m + p, m)."""
        return overlaps(self.boxes[image], self.labels[image])


@dataclasses.dataclass(frozen=True)
class WriteRegionFeatures:
    """A `Solver` that changes no variables: it writes the features of all regions to disk.

    As a stage of its own it sees the training set of that stage once; give the stage transforms of
    evaluation. What is written before it is killed is not computed again. The size is told before
    anything is computed.

    Attributes:
      folder: 'stage:NAME/regions' with the stage's own name.
      box_iou: proposals above this IoU with an object have features for the regression of boxes.

    Raises:
      UserError: no such IoU, another task than detection, a network without such features, images
        without proposals, too little space, or files of another network or other data.
    """

    folder: str = "regions"
    box_iou: float = 0.6

    def __post_init__(self):
        within(self, "[0, 1)", "box_iou")

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Writes the features; see `Solver.solve`."""
        if not isinstance(task, Detection):
            raise UserError("WriteRegionFeatures needs a detector of given regions")
        compute = jax.jit(lambda variables, batch: _rows(task, variables, batch))
        files: _Files | None = None
        for batch in itertools.islice(batches, steps):
            if files is None:
                shapes = jax.eval_shape(compute, variables, batch)
                files = _Files(pathlib.Path(self.folder), shapes, steps * batch.count, variables)
            numbers, valid = on_host(batch.id), on_host(batch.valid)
            wanted = [row for row in np.flatnonzero(valid) if not files.done[numbers[row]]]
            if wanted:
                rows = {k: on_host(x) for k, x in compute(variables, batch).items()}
                for row in wanted:
                    files.write(int(numbers[row]), {k: x[row] for k, x in rows.items()}, self)
        if files is not None:
            files.complete()
        return variables


def overlaps(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the IoU of regions (r, 4), objects first, with these objects, (r, m); 0 without."""
    objects = boxes[: len(labels)]
    sides = np.minimum(boxes[:, None, 2:], objects[None, :, 2:]) - np.maximum(
        boxes[:, None, :2], objects[None, :, :2]
    )
    both = sides.clip(0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    union = area[:, None] + area[None, : len(labels)] - both
    iou = both / np.where(union > 0, union, 1)
    return np.where((labels >= 0)[None], iou, 0)


def _rows(task: Detection, variables: Variables, batch: Batch) -> dict[str, Array]:
    """Returns what is stored of each image of a batch."""
    targets = task.targets(batch)
    if targets.boxes is None or targets.valid is None or targets.labels is None:
        raise UserError("the images have no boxes: their source needs fields=('objects',)")
    if targets.proposals is None or targets.proposal_valid is None:
        raise UserError("the images have no proposals: use data.WithProposals or data.Propose")
    boxes = jnp.concatenate([targets.boxes, targets.proposals], 1)
    valid = jnp.concatenate([targets.valid, targets.proposal_valid], 1)
    regions = Targets(proposals=boxes, proposal_valid=valid)
    outputs = task.predict(variables, batch.replace(targets=regions))
    missing = [name for name in (FEATURES, BOX_FEATURES) if name not in outputs]
    if missing:
        raise UserError(f"the network has no output {missing[0]!r}; R-CNN and SPP-net have")
    labels = jnp.where(targets.valid, targets.labels, -1)
    return {
        "boxes": boxes,
        "valid": valid,
        "labels": labels,
        FEATURES: outputs[FEATURES],
        BOX_FEATURES: outputs[BOX_FEATURES],
    }


class _Files:
    """The folder while it is written: sparse files, and a mark for each image that is done."""

    def __init__(self, folder: pathlib.Path, shapes: Any, images: int, variables: Variables):
        self.folder, self.leads = folder, jax.process_index() == 0
        settings = {
            "images": images,
            "variables": checksum(variables),
            **{name: list(x.shape[1:]) for name, x in shapes.items()},
        }
        self.done = np.zeros(images, bool)
        self._maps: dict[str, np.memmap] = {}
        if (folder / SETTINGS).is_file():
            if json.loads((folder / SETTINGS).read_text()) != settings:
                raise UserError(
                    f"{folder} holds features of another network or other data; remove it, or "
                    "name another folder"
                )
            self.done = np.load(folder / "done.npy")
        elif self.leads:
            self._begin(shapes, images, settings)

    def write(self, image: int, row: dict[str, np.ndarray], asked: WriteRegionFeatures) -> None:
        """Writes an image's regions, then its mark."""
        if not self.leads:
            return
        valid = row["valid"]
        near = overlaps(row["boxes"], row["labels"]).max(1, initial=0) > asked.box_iou
        near[: len(row["labels"])] = False  # the objects' own boxes need no regression
        for name, slots in ((FEATURES, valid), (BOX_FEATURES, valid & near)):
            places = np.flatnonzero(slots)
            for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                if len(run):
                    self._put(name, (image, int(run[0])), row[name][run[0] : run[-1] + 1])
        for name in _SMALL:
            self._put(name, (image,), row[name])
        self.done[image] = True
        self._put("done", (image,), self.done[image : image + 1])

    def complete(self) -> None:
        """Marks the folder as complete."""
        if self.leads:
            with disk.writing(self.folder):
                (self.folder / "complete").touch()

    def _begin(self, shapes: Any, images: int, settings: dict[str, Any]) -> None:
        total = sum(images * int(np.prod(x.shape[1:])) * x.dtype.itemsize for x in shapes.values())
        with disk.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
            slots, width = shapes[FEATURES].shape[1:]
            print(
                f"features of up to {slots} regions of {images} images, {width} numbers each: at "
                f"most {total / 1e9:.2f} GB in {self.folder}, where {free / 1e9:.1f} GB are free"
            )
            sizes = {name: (x.shape[1:], x.dtype) for name, x in shapes.items()}
            for name, (shape, dtype) in {**sizes, "done": ((), np.dtype(bool))}.items():
                np.lib.format.open_memmap(
                    self.folder / f"{name}.npy", "w+", dtype, (images, *shape)
                ).flush()
            with disk.whole_file(self.folder / SETTINGS) as half:
                half.write_text(json.dumps(settings))

    def _put(self, name: str, place: tuple[int, ...], values: np.ndarray) -> None:
        """Writes rows in place; a full disk is an error here, and would be a signal in a map."""
        path = self.folder / f"{name}.npy"
        if name not in self._maps:
            self._maps[name] = np.load(path, mmap_mode="r")
        array = self._maps[name]
        # A map of the whole file has the same strides as the file.
        ahead = zip(place, array.strides, strict=False)
        offset = array.offset + sum(int(number) * stride for number, stride in ahead)
        with disk.writing(path), open(path, "r+b") as file:
            os.pwrite(file.fileno(), values.astype(array.dtype).tobytes(), offset)
