"""What the stages of an experiment make of the same images, side by side, with their numbers."""

import json
import pathlib

import numpy as np

from vision_jax import visualize
from vision_jax.report.markup import Page, table
from vision_jax.report.saved_arrays import checked_arrays
from vision_jax.report.titles import titled, valued

_IMAGES = 4  # of which each stage's answer is shown
_SIDE = 256  # pixels of one


def add_stages(page: Page, folder: pathlib.Path) -> None:
    """Adds the images that earlier stages made beside a stage's own, and a table of metrics.

    Nothing is added for a run that is no stage, for the first stage, and where the stages were not
    evaluated on images alike.

    Args:
      page: to add to.
      folder: the run folder of a stage, in that of the experiment.
    """
    own = checked_arrays(folder, "images")
    if own is None or not (folder.parent / "config.json").is_file():
        return
    stages = {}
    for other in sorted(path.parent for path in folder.parent.glob("*/DONE")):
        arrays = checked_arrays(other, "images")
        if other.name != folder.name and arrays is not None and _alike(arrays, own):
            stages[other.name] = arrays["found"]
    if not stages:
        return
    stages[folder.name] = own["found"]
    columns = {"image": own["image"], "bicubic": own.get("bicubic"), **stages}
    columns["truth"] = own.get("truth")
    shown = {name: images for name, images in columns.items() if images is not None}
    count = min(_IMAGES, len(own["caption"]))
    pictures = [images[row] for row in range(count) for images in shown.values()]
    captions = list(shown) * count
    image = visualize.panel(pictures, captions, columns=len(shown), side=_SIDE)
    alt = f"{count} images as {', '.join(stages)} make them"
    caption = "The same images of the evaluation set, as each stage makes them."
    page.add_figure("Stages side by side", "stages", image, alt, caption)
    numbers = {name: _metrics(folder.parent / name) for name in stages}
    names = sorted({key for metrics in numbers.values() for key in metrics})
    rows = [
        (titled(key), *(valued(key, m[key]) if key in m else "" for m in numbers.values()))
        for key in names
    ]
    page.add(table("Stages in numbers", rows, ("", *numbers)))


def _alike(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> bool:
    """Returns whether two stages' pictures are of the same images."""
    return one["found"].shape == two["found"].shape and np.array_equal(one["image"], two["image"])


def _metrics(folder: pathlib.Path) -> dict[str, float]:
    """Returns the numbers of a stage's last evaluation; {} for a damaged or missing file."""
    for name in ("DONE", "evaluation.json"):
        try:
            metrics = json.loads((folder / name).read_text())["metrics"]
            return {key: float(value) for key, value in metrics.items() if value is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return {}
