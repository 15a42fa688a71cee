"""What an evaluation leaves in the run folder, and the lines that a run ends with."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vision_jax.report.folder import save_arrays
from vision_jax.report.gallery import Gallery
from vision_jax.structs import Batch


def watcher(gallery: Gallery) -> Callable[[dict[str, np.ndarray], Batch], None]:
    """Shows an evaluation's batches to the gallery, where there is one class per image."""

    def watch(outputs: dict[str, np.ndarray], batch: Batch) -> None:
        label = batch.targets.label
        if "logits" not in outputs or label is None or np.ndim(label) != 1:
            return
        image = batch.image if batch.image.ndim == 4 else batch.image[:, 0]  # the first crop
        gallery.add(image, label, outputs["logits"], batch.valid, batch.id)

    return watch


def save_evaluation(
    folder: pathlib.Path, results: Mapping[str, Any], gallery: Gallery, classes: Sequence[str]
) -> None:
    """Saves what the report draws: confusion matrix, numbers per class, chosen predictions.

    Args:
      folder: the run's.
      results: of all metrics; arrays are told by their names.
      gallery: has watched the evaluation.
      classes: names.
    """
    names = np.array(classes, dtype=np.str_)
    if "confusion" in results:
        save_arrays(folder, "confusion", {"matrix": results["confusion"], "classes": names})
    columns = {
        name.removeprefix("per_class_"): value
        for name, value in results.items()
        if np.ndim(value) == 1 and len(value) == len(names)
    }
    if columns:
        save_arrays(folder, "per_class", {"classes": names, **columns})
    chosen = gallery.result()
    if len(chosen["label"]):
        save_arrays(folder, "predictions", chosen)


def last_lines(
    folder: pathlib.Path, page: pathlib.Path, metrics: Mapping[str, float], seconds: float
) -> str:
    """What a finished run prints: its numbers, and where all of it lies."""
    lines = [f"done in {seconds:.0f} s"]
    width = max((len(name) for name in metrics), default=0)
    lines += [f"  {name:{width}}  {value:.4f}" for name, value in sorted(metrics.items())]
    return "\n".join([*lines, f"run folder: {folder}", f"report: {page}"])
