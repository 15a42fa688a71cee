"""The errors that end a run early, each in one line."""

import contextlib
import pathlib
import re
import signal
import traceback
from collections.abc import Iterator
from typing import Any

import jax

from vision_jax.config import UserError
from vision_jax.training.checkpoint import Checkpoints


class NotFinite(UserError):
    """The error of a loss or a gradient that became inf or nan."""

    code = 3

    def __init__(self, step: int, measured: dict[str, Any], saved: int | None, last: int):
        """
        Args:
          step: the number of the update that gave it.
          measured: that step's `loss`, `lr` and `grad_norm`.
          saved: the newest checkpoint's step; None if there is none.
          last: the last step at which the loss was seen to be finite.
        """
        checkpoint = (
            f"last good checkpoint: step {saved}" if saved else "no checkpoint was written yet"
        )
        super().__init__(
            f"loss is {float(measured['loss']):.3g} at step {step} (last seen finite at {last}, "
            f"lr {float(measured['lr']):.3g}, gradient norm {float(measured['grad_norm']):.3g}); "
            f"{checkpoint}; try a lower learning rate or --config.optimizer.clip=1.0; "
            f"--config.debug_nans=True finds the operation"
        )


def check_finite(step: int, measured: dict[str, Any], checkpoints: Checkpoints, last: int) -> None:
    """Ends a run whose update was not finite, as its metrics say; takes `finite` out of them.

    Args:
      step, measured, last: see `NotFinite`.
      checkpoints: the run's, for the newest good one.

    Raises:
      NotFinite: it was not.
    """
    if not measured.pop("finite", True):
        checkpoints.wait()
        raise NotFinite(step, measured, checkpoints.latest_step(), last)


class Interrupted(UserError):
    """The end of a run by SIGTERM or Ctrl-C; the state is saved."""

    def __init__(self, step: int, folder: pathlib.Path, number: int):
        saved = f"at step {step}, saved in {folder}" if step else "before the first step"
        super().__init__(f"interrupted {saved}; the same command goes on")
        self.code = 128 + number if number else 128 + signal.SIGTERM


class FirstNan(UserError):
    """The error of a step in which `debug_nans` has found the operation that makes a NaN."""

    code = NotFinite.code


class OutOfMemory(UserError):
    """The error of a step that does not fit on the device."""


@contextlib.contextmanager
def explained(batch_size: int, accumulate: int) -> Iterator[None]:
    """Turns what a step ends with into one line: too little memory, or a NaN that is looked for.

    Raises:
      OutOfMemory: the device has too little.
      FirstNan: with `debug_nans`; other errors pass.
    """
    try:
        yield
    except FloatingPointError as error:
        raise FirstNan(f"{_first_line(error)} {_place(error)}") from error
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        asked = re.search(r"allocat\w* (?:of )?([\d.]+ ?\w*B|\d+ bytes)", str(error))
        request = f" (asked for {asked[1]})" if asked else ""
        raise OutOfMemory(
            f"out of device memory{request}: batch_size={batch_size} is too large; lower "
            f"--config.train.batch_size or set --config.accumulate={2 * accumulate}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")


def _place(error: BaseException) -> str:
    """Tells which lines led to an error, those of installed packages left out, the last first."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if not _is_installed(f.filename)]
    lines = [f"{pathlib.Path(f.filename).name}:{f.lineno} ({f.name})" for f in own[::-1]]
    return "at " + ", from ".join(lines[:3])


def _is_installed(file: str) -> bool:
    return "site-packages" in pathlib.Path(file).parts or file.startswith("<")
