"""The mode `predict`: answers and annotated pictures of images and videos of your own."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError, build, leaves
from vision_jax.data import pictures
from vision_jax.data.loading import fed
from vision_jax.report.prediction import predict_all
from vision_jax.report.rendering import Rendered, render
from vision_jax.show.asked import NOTHING, Asked
from vision_jax.show.trained import Run, run_of, tell


def predict(config: ConfigDict, workdir: pathlib.Path, asked: Asked = NOTHING) -> list[dict]:
    """Answers for an image, a video, or a folder of them; see `report.prediction.predict_all`.

    Boxes, points and masks are told and drawn in pixels of the original image.

    Raises:
      UserError: no pictures, no trained network, a threshold beyond 0..1, or what `predict_all`
        raises.
    """
    if asked.threshold is not None and not 0 <= asked.threshold <= 1:
        raise UserError(f"--threshold={asked.threshold:g}: a score lies in 0..1")
    folder = asked.output or workdir / "predictions"
    files = pictures.find(asked.input, folder)  # before anything is read or compiled
    run = run_of(config, workdir)
    tell(run.lines)
    run.check_pictures()
    answer, origin = _answering(run, asked.threshold)
    return predict_all(
        answer,
        files,
        folder,
        run.signature.image[-1],
        turned=asked.upright or _annotated_upright(config),
        origin=origin,
        results=asked.results,
    )


def _answering(run: Run, threshold: float | None) -> tuple[Callable[[np.ndarray], Rendered], str]:
    """Makes the function from an image (h, w, c) to its answer; says where the weights are from."""
    task, variables, origin = run.predictor()
    transforms, classes = build(run.transforms), run.signature.classes
    forward = jax.jit(lambda v, batch: {k: task.predict(v, batch)[k] for k in task.shown})

    def answer(image: np.ndarray) -> Rendered:
        batch = fed(image, transforms)
        outputs = forward(variables, batch)
        return render(task.describe, outputs, batch, image, classes, threshold)

    return answer, origin


def _annotated_upright(config: ConfigDict) -> bool:
    """Returns whether the data that the network learnt from were turned by their EXIF tags."""
    settings = leaves(config.train.source)
    return any(path.rpartition(".")[2] == "upright" and value for path, value in settings)
