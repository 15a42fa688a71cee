"""The results of an evaluation in the run folder, and the lines that a run ends with."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery import Gallery
from vision_jax.report.gallery_objects import ObjectGallery
from vision_jax.report.gallery_semantic import SemanticGallery
from vision_jax.structs import Batch

CURVE = "curve/"  # names of results that are curves begin with it; see `save_evaluation`


class Watcher:
    """An observer of an evaluation's batches, which keeps pictures of the network's answers.

    Attributes:
      classes: the names of the classes.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self._galleries = {
            "predictions": Gallery(names=classes),
            "detections": ObjectGallery(classes),
            "segmentations": SemanticGallery(),
        }

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
        if "segmentation" in outputs and targets.segmentation is not None:
            self._galleries["segmentations"].add(outputs["segmentation"], batch)

    def save(self, folder: pathlib.Path) -> None:
        """Saves the kinds of pictures that there were, for the report of the run in `folder`."""
        for name, gallery in self._galleries.items():
            chosen = gallery.result()
            if len(next(iter(chosen.values()))):
                save_arrays(folder, name, chosen)


def save_evaluation(folder: pathlib.Path, results: Mapping[str, Any], watcher: Watcher) -> None:
    """Saves the arrays that the report draws: confusion matrix, classes, curves, pictures.

    Args:
      folder: the run's.
      results: those of all metrics; arrays are told by their names. `confusion` is a matrix;
        `precision_at_recall` (c, 101) has a row per class; 'curve/TITLE/X/NAME' (2, n) is a line of
        x and y in the picture of that title and x axis; other arrays (c,) are columns of the table
        of classes.
      watcher: has seen the evaluation.
    """
    names = np.array(watcher.classes, dtype=np.str_)
    if "confusion" in results:
        save_arrays(folder, "confusion", {"matrix": results["confusion"], "classes": names})
    columns = {
        name.replace("per_class_", ""): value
        for name, value in results.items()
        if np.ndim(value) == 1 and len(value) == len(names)
    }
    if columns:
        save_arrays(folder, "per_class", {"classes": names, **columns})
    curves = {name: value for name, value in results.items() if name.startswith(CURVE)}
    if curves:
        save_arrays(folder, "curves", curves)
    if "precision_at_recall" in results:
        precision = {"precision": results["precision_at_recall"], "classes": names}
        save_arrays(folder, "precision_recall", precision)
    watcher.save(folder)


def last_lines(
    folder: pathlib.Path, page: pathlib.Path, metrics: Mapping[str, float], seconds: float
) -> str:
    """Returns the text that a finished run prints: its numbers, and the paths of its files."""
    lines = [f"done in {seconds:.0f} s"]
    width = max((len(name) for name in metrics), default=0)
    lines += [f"  {name:{width}}  {value:.4f}" for name, value in sorted(metrics.items())]
    return "\n".join([*lines, f"run folder: {folder}", f"report: {page}"])
