"""The page's part about what to do next: commands to copy."""

import json
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from vision_jax.report.growth import NEWEST
from vision_jax.report.markup import commands

# Experiments for data of one's own, by the last part of the task's name in a config.
_OWN = {
    "Classification": "experiments/own_classification.py:train=folder:train,val=folder:val",
    "Detection": (
        "experiments/own_detection.py:train=coco:train.json,photos,val=coco:val.json,photos"
    ),
    "Segmentation": "experiments/own_segmentation.py:train=masks:images,masks,sky;road",
}
_LAUNCH = "python launch.py"
_ONE_PICTURE = "StyledPicture"  # the task of a run that answers nothing, but is an answer


def predict_command(folder: pathlib.Path) -> str:
    """Returns the command that answers for a picture of one's own."""
    return f"{_LAUNCH} --mode predict --workdir {_quoted(folder)} --input PICTURE.jpg"


def next_line(folder: pathlib.Path) -> str:
    """Returns the line that a finished run ends with: its picture, or how to ask its network.

    It is '' for a stage without an evaluation, whose work later stages take up.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):  # the page says what is damaged
        config = None
    if isinstance(config, Mapping) and _task_of(config) == _ONE_PICTURE:
        return f"picture: {folder / NEWEST}"
    if isinstance(config, Mapping) and not _has_answers(config):
        return ""
    return f"next: {predict_command(folder)}"


def next_steps(
    folder: pathlib.Path, config: Mapping[str, Any], made_with: Mapping[str, Any], finished: bool
) -> str:
    """Makes the part: continuing an unfinished run, then looking at it, then data of one's own.

    Args:
      folder: the run's.
      config: its tree; {} where there is none.
      made_with: versions.json, with the run's command.
      finished: whether it is done.
    """
    run, lines, task = _quoted(folder), [], _task_of(config)
    if not finished and made_with.get("command") and config:
        command = str(made_with["command"])
        lines.append(("Go on with this run, from its newest checkpoint:", command))
    if task != _ONE_PICTURE and _has_answers(config):
        title = "Ask the network about a picture, or a folder of pictures:"
        lines.append((title, predict_command(folder)))
    if _has_answers(config):
        title = "Measure it again on the evaluation set:"
        lines.append((title, f"{_LAUNCH} --mode evaluate --workdir {run}"))
    lines += [
        ("See what it is fed, augmented:", f"{_LAUNCH} --mode inspect --workdir {run}"),
        (
            "Watch curves and pictures (pip install tensorboard):",
            f"tensorboard --logdir {_quoted(folder / 'events')}",
        ),
    ]
    if task in _OWN and _has_answers(config):
        lines += [
            (
                "See what the network has learnt, on a picture:",
                f"python -m vision_jax.inspect {run} --input PICTURE.jpg",
            ),
            (
                "Make its whole answer one file, which runs without the network's code:",
                f"python -m vision_jax.export {run} --out model.stablehlo",
            ),
            ("Train on your own data:", f"{_LAUNCH} --config {shlex.quote(_OWN[task])}"),
            (
                "Begin another experiment with these weights:",
                f"{_LAUNCH} --config {shlex.quote(_OWN[task])} --config.init.weights={run}",
            ),
        ]
    return f"<h2>Next</h2>{commands(lines)}"


def _has_answers(config: Mapping[str, Any]) -> bool:
    """Returns False for a stage without an evaluation, such as one that writes features."""
    return config.get("eval", "") is not None


def _task_of(config: Mapping[str, Any]) -> str:
    """Returns the last part of the task's name in a config; '' where there is none."""
    task = config.get("task")
    return str(task.get("target")).rpartition(".")[2] if isinstance(task, Mapping) else ""


def _quoted(path: pathlib.Path) -> str:
    return shlex.quote(str(path))
