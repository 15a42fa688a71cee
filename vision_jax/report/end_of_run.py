"""The results of an evaluation in the run folder, and the lines that a run ends with."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.data.pipeline import Pipeline
from vision_jax.data.sources import Source
from vision_jax.report.data_section import save_data
from vision_jax.report.folder import read_rows, save_arrays
from vision_jax.report.gallery import Gallery
from vision_jax.report.gallery_captions import CaptionGallery
from vision_jax.report.gallery_embeddings import EmbeddingGallery
from vision_jax.report.gallery_images import MADE, ImageGallery
from vision_jax.report.gallery_objects import ObjectGallery
from vision_jax.report.gallery_queries import AttentionGallery, Slots
from vision_jax.report.gallery_semantic import SemanticGallery
from vision_jax.report.gallery_sequences import SequenceGallery
from vision_jax.report.log import Log
from vision_jax.report.next_steps import next_line
from vision_jax.report.originals import Originals
from vision_jax.report.page import write_report
from vision_jax.report.pictures import evaluation_pictures
from vision_jax.report.summary import TIMED, total_time
from vision_jax.structs import Batch

_PER_CLASS = "per_class_"  # results that have a value per class begin with it
_PER_IMAGE = "per_image_"  # and those that have one per image with it
CURVE = "curve/"  # names of results that are curves begin with it; see `save_evaluation`


class Watcher:
    """An observer of an evaluation's batches, which keeps pictures of the network's answers.

    Attributes:
      classes: the names of the classes.
    """

    def __init__(self, classes: Sequence[str], sources: Mapping[str, Source] | None = None):
        """
        Args:
          classes: the names of the classes.
          sources: the data by the name of its part, training first; the last one is what is
            evaluated. The page tells about them, and objects are drawn on their images.
        """
        self.classes = tuple(classes)
        self._sources = dict(sources or {})
        evaluated = list(self._sources.values())[-1] if self._sources else None
        originals = Originals(evaluated)
        self._galleries = {
            "predictions": Gallery(names=classes),
            "detections": ObjectGallery(classes, originals=originals),
            "segmentations": SemanticGallery(classes, originals=originals),
        }
        self._images = ImageGallery()
        self._attention, self._slots = AttentionGallery(classes, originals=originals), Slots()
        self._sequences = SequenceGallery(classes, originals=originals)
        self._embeddings = EmbeddingGallery(classes)
        self._captions = CaptionGallery(classes, evaluated)

    @classmethod
    def of(cls, evaluation: Pipeline, training: Pipeline | None = None) -> "Watcher":
        """Makes a watcher of a pipeline; the page tells about the training data too, if given."""
        parts = {"training": training, "evaluation": evaluation}
        sources = {name: part.source for name, part in parts.items() if part is not None}
        return cls(evaluation.classes, sources)

    def __call__(self, outputs: Mapping[str, Any], batch: Batch) -> None:
        """Looks at a batch and at the outputs that its task shows, all NumPy arrays."""
        targets = batch.targets
        if "logits" in outputs and targets.label is not None and np.ndim(targets.label) == 1:
            images = batch.image if batch.image.ndim == 4 else batch.image[:, 0]  # the first crop
            self._galleries["predictions"].add(
                images, targets.label, outputs["logits"], batch.valid, batch.id
            )
        if "detections" in outputs and targets.boxes is not None:
            self._galleries["detections"].add(outputs["detections"], batch)
        if "written" in outputs:
            self._sequences.add(outputs, batch)
        if "attention_maps" in outputs:
            self._attention.add(outputs, batch)
            self._slots.add(outputs["relative_boxes"], batch)
        if "segmentation" in outputs and targets.segmentation is not None:
            self._galleries["segmentations"].add(outputs["segmentation"], batch)
        if "embedding" in outputs and np.ndim(targets.label) == 1:
            self._embeddings.add(outputs["embedding"], batch)
        if "tokens" in outputs:
            self._captions.add(outputs, batch)
        if "image" in outputs:
            self._images.add(outputs["image"], batch)

    def save(self, folder: pathlib.Path) -> None:
        """Saves what the report of the run in `folder` shows: the data, pictures of answers."""
        save_data(folder, self._sources)
        if self._images.first is not None:
            save_arrays(folder, MADE, {"image": self._images.first})
        for name, arrays in self._embeddings.result().items():
            save_arrays(folder, name, arrays)
        further = {"images": self._images, "attention": self._attention, "slots": self._slots}
        galleries = {
            **self._galleries,
            **further,
            "captions": self._captions,
            "sequences": self._sequences,
        }
        found = {name: gallery.result() for name, gallery in galleries.items()}
        for name, chosen in {**found, "looks": self._captions.looks()}.items():
            if len(next(iter(chosen.values()))):
                save_arrays(folder, name, chosen)


def save_evaluation(
    folder: pathlib.Path, results: Mapping[str, Any], watcher: Watcher
) -> dict[str, np.ndarray]:
    """Saves the arrays that the report draws: confusion matrix, classes, curves, pictures.

    Args:
      folder: the run's.
      results: those of all metrics; arrays are told by their names. `confusion` is a matrix;
        `precision_at_recall` (c, 101) has a row per class; 'curve/TITLE/X/NAME' (2, n) is a line of
        x and y in the picture of that title and x axis; other arrays (c,), but for `per_image_…`,
        are columns of the table of classes.
      watcher: has seen the evaluation.

    Returns:
      Pictures of it by name, uint8 (h, w, 3).
    """
    if "confusion" in results:
        matrix = results["confusion"]
        names = _names(watcher.classes, len(matrix))
        save_arrays(folder, "confusion", {"matrix": matrix, "classes": names})
    rows = {
        name: value
        for name, value in results.items()
        if np.ndim(value) == 1 and not name.startswith(_PER_IMAGE)
    }
    of_classes = [len(value) for name, value in rows.items() if name.startswith(_PER_CLASS)]
    count = max(of_classes, default=len(watcher.classes))
    columns = {n.replace(_PER_CLASS, ""): v for n, v in rows.items() if len(v) == count}
    if columns:
        save_arrays(folder, "per_class", {"classes": _names(watcher.classes, count), **columns})
    curves = {name: value for name, value in results.items() if name.startswith(CURVE)}
    if curves:
        save_arrays(folder, "curves", curves)
    if "precision_at_recall" in results:
        precision = results["precision_at_recall"]
        names = _names(watcher.classes, len(precision))
        save_arrays(folder, "precision_recall", {"precision": precision, "classes": names})
    watcher.save(folder)
    return evaluation_pictures(folder)


def _names(classes: Sequence[str], count: int) -> np.ndarray:
    """Names so many classes; by their numbers those that a network has beyond the data's."""
    beyond = map(str, range(len(classes), count))
    return np.array([*classes[:count], *beyond], dtype=np.str_)


@contextlib.contextmanager
def so_far(log: Log) -> Iterator[None]:
    """Writes the report of what there is if the run within ends early, by a signal or an error.

    The error goes on; a report that cannot be written, on a full disk say, does not replace it.

    Args:
      log: the run's; it says where the page is.
    """
    try:
        yield
    except UserError:
        if log.folder is not None:
            with contextlib.suppress(OSError, UserError):
                log.say(f"report so far: {write_report(log.folder)}")
        raise


def last_lines(folder: pathlib.Path, page: pathlib.Path, metrics: Mapping[str, float]) -> str:
    """Returns the text that a finished run prints: its numbers, its files, what to do next.

    The time is the page's, from the rows of timing.jsonl.
    """
    took = total_time(read_rows(folder / "timing.jsonl"))
    lines = [f"done in {took} ({TIMED})"]
    width = max((len(name) for name in metrics), default=0)
    lines += [f"  {name:{width}}  {value:.4f}" for name, value in sorted(metrics.items())]
    files = [f"run folder: {folder}", f"report: {page}"]
    return "\n".join([*lines, *files, next_line(folder)]).rstrip()
