"""Experiment trackers that rows and pictures also go to, where one is installed and asked for.

`VISION_JAX_TRACKER=wandb` in the environment asks for Weights & Biases: where a run is followed is
no part of the experiment, and changes none of its numbers.
"""

import importlib
import importlib.util
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from vision_jax.config import UserError, suggest

VARIABLE = "VISION_JAX_TRACKER"
_PROJECT = "vision_jax"


class Tracker(Protocol):
    """A place that numbers and pictures of a run are sent to."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends numbers of a step, by name."""

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Sends a picture, uint8 (h, w, 3)."""

    def close(self) -> None:
        """Returns once all is sent."""


class WandB:
    """A run of Weights & Biases, named after the run folder, where it also keeps its files."""

    def __init__(self, library: Any, folder: pathlib.Path):
        self._library = library
        name = folder.resolve().name
        self._run = library.init(project=_PROJECT, name=name, dir=str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Sends numbers of a step, by name."""
        self._run.log(dict(values), step=step)

    def picture(self, step: int, name: str, picture: np.ndarray) -> None:
        """Sends a picture, uint8 (h, w, 3)."""
        self._run.log({name: self._library.Image(picture)}, step=step)

    def close(self) -> None:
        """Returns once all is sent."""
        self._run.finish()


_TRACKERS: dict[str, Callable[[Any, pathlib.Path], Tracker]] = {"wandb": WandB}


def asked_for(folder: pathlib.Path) -> Tracker | None:
    """Opens the tracker that the environment asks for; None if it asks for none.

    Args:
      folder: the run's.

    Raises:
      UserError: an unknown tracker, or one that is not installed.
    """
    name = os.environ.get(VARIABLE, "")
    if not name:
        return None
    if name not in _TRACKERS:
        raise UserError(f"{VARIABLE}={name!r}{suggest(name, _TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise UserError(f"{VARIABLE}={name}: it is not installed; pip install {name}, or unset it")
    return _TRACKERS[name](importlib.import_module(name), folder)
