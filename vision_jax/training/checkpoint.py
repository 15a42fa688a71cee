"""Checkpoints: saved states, when they may be trusted, and what of them another run can use.

A checkpoint holds logical host arrays by path ('params/backbone/conv1/kernel'), so it knows nothing
of devices: `Parallel.get_state` gives them, `Parallel.put_state` takes them, whatever the mapping
and the number of devices and processes. Beside them lies JSON: the caller's `meta`, and each
array's type and CRC-32, without which a flipped byte would be read as a wrong number.

A save is a folder that gets its name when it is complete, so a kill at any moment leaves the
checkpoints before it untouched. Saves run in the background; what was saved less than about a
second before a kill may be lost.
"""

import logging
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from vision_jax.config import UserError
from vision_jax.training import paths
from vision_jax.training.storage import Storage

Tree = Any
Meta = dict[str, Any]
_LOG = logging.getLogger(__name__)
_TRIES = 5  # to read a checkpoint of a run that goes on and deletes old ones


class Checkpoints:
    """The checkpoints of one run: the newest `keep`, and the best by a metric."""

    def __init__(
        self,
        folder: pathlib.Path | str,
        keep: int = 2,
        best_metric: str | None = None,
        best_mode: str = "max",
        read_only: bool = False,
    ):
        """
        Args:
          folder: made if it is missing, unless `read_only`.
          keep: newest checkpoints to keep.
          best_metric: name in `metrics` of `save`; the best one by it is kept besides.
          best_mode: 'max' or 'min'.
          read_only: leave what lies there alone, as another process may be training into it.
        """
        if best_mode not in ("max", "min"):
            raise UserError(f"best_mode={best_mode!r} is neither 'max' nor 'min'")
        self._folder = _existing(folder) if read_only else pathlib.Path(folder).resolve()
        self._best, self._read_only = (best_metric, best_mode), read_only
        self._storage = Storage(self._folder, keep, best_metric, best_mode, read_only)

    def steps(self) -> list[int]:
        """Lists the steps with a finished checkpoint, ascending."""
        return self._storage.steps()

    def latest_step(self) -> int | None:
        """Returns the newest step, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Returns the step that is best by the metric; None if none was saved with it."""
        return self._storage.best_step()

    def save(
        self, step: int, state: Tree, meta: Meta, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Begins to save; returns once the arrays may change. Waits for an earlier save first.

        Args:
          step: saved before, it is replaced: a run that was stopped before an evaluation saves
            that step again after it.
          state: host arrays, from `Parallel.get_state`; nobody may write into them any more.
          meta: what JSON can hold.
          metrics: the evaluation of this very state, if there was one.
        """
        flat = {path: np.asarray(leaf) for path, leaf in paths.flatten(state).items()}
        metric, _ = self._best
        value = math.nan if metric is None else (metrics or {}).get(metric, math.nan)
        self._storage.write(step, flat, meta, float(value) if math.isfinite(value) else None)

    def wait(self) -> None:
        """Waits until all saves are on disk; raises what went wrong with them."""
        self._storage.wait()

    def close(self) -> None:
        """Waits, then ends background threads."""
        self._storage.close()

    def restore(self, like: Tree, step: int | None = None) -> tuple[Tree, Meta] | None:
        """Reads the newest readable checkpoint as (state, meta); None if there is no checkpoint.

        One that is damaged is reported in one line, put aside as 'damaged-<step>', and the next
        older one is tried. (So training can save the same step again.)

        Args:
          like: a state with the structure and shapes to restore, of arrays or ShapeDtypeStructs.
          step: this one and no other.

        Raises:
          UserError: every checkpoint is damaged, or one does not fit `like`.
        """
        steps = self.steps()[::-1] if step is None else [step]
        for candidate in steps:
            restored, reason = None, "another process cannot read it"
            try:
                restored = self._read(candidate, like)
            except UserError:
                raise
            except Exception as error:  # Orbax and tensorstore raise all kinds on bad files
                reason = _one_line(error)
            if _all_processes(restored is not None):
                return restored
            _LOG.warning("checkpoint %s of %s is damaged: %s", candidate, self._folder, reason)
            self._put_aside(candidate)
        if steps:
            raise UserError(
                f"no readable checkpoint in {str(self._folder)!r} (tried steps "
                f"{', '.join(map(str, steps))}); move the folder away to begin anew"
            )
        return None

    def _read(self, step: int, like: Tree) -> tuple[Tree, Meta]:
        record = self._storage.read_record(step)
        ours, stored = paths.flatten(like), record["arrays"]
        for path in [*ours, *stored]:
            shape_there = stored[path]["shape"] if path in stored else None
            shape_here = list(np.shape(ours[path])) if path in ours else None
            if shape_there != shape_here:
                raise UserError(
                    f"checkpoint {step} in {str(self._folder)!r} does not fit: {path} is "
                    f"{_shape(shape_there)} there, but {_shape(shape_here)} in this run"
                )
        flat = self._storage.read_arrays(step, stored)
        return paths.like(like, flat), record["meta"]

    def _put_aside(self, step: int) -> None:
        """Renames a damaged checkpoint's folder, so that the step can be saved again."""
        if self._read_only:
            return
        if jax.process_index() == 0:
            number, target = 1, self._folder / f"damaged-{step}"
            while target.exists():
                number += 1
                target = self._folder / f"damaged-{step}-{number}"
            self._storage.folder_of(step).rename(target)
        _all_processes(True)  # nobody looks before it is done
        self._storage.reload()


class Restored(NamedTuple):
    """The variables that a network took from another run's checkpoint; all paths are flat."""

    variables: dict[str, Tree]  # the network's, with what was restored in their place
    step: int
    restored: tuple[str, ...]
    missing: tuple[str, ...]  # the network's, not stored
    mismatched: dict[str, tuple[tuple, tuple]]  # {path: (stored shape, the network's shape)}
    unused: tuple[str, ...]  # stored, not the network's


def restore_params(
    folder: pathlib.Path | str,
    variables: dict[str, Tree],
    step: int | None = None,
    averaged: bool = True,
) -> Restored:
    """Reads parameters and collections out of another run, as far as they fit.

    Optimizer state is not read. What is missing or has another shape (a changed head) stays as in
    `variables` and is listed.

    Args:
      folder: a folder of checkpoints.
      variables: the network's, on the host: {'params': ..., 'batch_stats': ...}.
      step: which checkpoint; None is the best by its run's metric, or the newest without one.
      averaged: take the averaged variables where the run kept them.

    Raises:
      UserError: no checkpoint, or a damaged one.
    """
    ours = paths.flatten(variables)
    chosen, stored, arrays = _read_living(pathlib.Path(folder), step, ours, averaged)
    return Restored(
        variables=paths.like(variables, ours | arrays),
        step=chosen,
        restored=tuple(arrays),
        missing=tuple(path for path in ours if path not in stored),
        mismatched={
            path: (stored[path], np.shape(x))
            for path, x in ours.items()
            if path in stored and path not in arrays
        },
        unused=tuple(path for path in stored if path not in ours),
    )


def _read_living(
    folder: pathlib.Path, step: int | None, ours: dict[str, Any], averaged: bool
) -> tuple[int, dict[str, tuple], dict[str, np.ndarray]]:
    """Reads a checkpoint as `_read_fitting`, also of a run that goes on and deletes old ones.

    Returns:
      Its step, and what `_read_fitting` returns.

    Raises:
      UserError: see `restore_params`.
    """
    for tries_left in reversed(range(_TRIES)):
        storage = Storage(_existing(folder), 1, None, "max", read_only=True)
        chosen = max(storage.steps(), default=-1) if step is None else step
        try:
            chosen = _best_of_its_run(storage, folder) if step is None else step
            return chosen, *_read_fitting(storage, chosen, ours, averaged)
        except UserError:
            raise
        except Exception as error:
            if step is None and tries_left and not storage.folder_of(chosen).is_dir():
                continue
            raise UserError(
                f"checkpoint {chosen} in {str(folder)!r} cannot be read: {_one_line(error)}; "
                "training with the run's own command puts a damaged one aside, and goes on from "
                "the one before"
            ) from error
        finally:
            storage.close()
    raise AssertionError("the last try returns or raises")


def _read_fitting(
    storage: Storage, step: int, ours: dict[str, Any], averaged: bool
) -> tuple[dict[str, tuple], dict[str, np.ndarray]]:
    """Reads the stored variables that have the shapes of ours.

    Returns:
      The shapes of all stored variables, and the arrays that fit, in our dtypes; both by path.
    """
    records = storage.read_record(step)["arrays"]
    averaged = averaged and any(path.startswith("ema/") for path in records)
    places = {_as_variable(path, averaged): path for path in records}
    stored = {
        path: tuple(records[place]["shape"]) for path, place in places.items() if path is not None
    }
    fitting = {path: places[path] for path in ours if stored.get(path) == np.shape(ours[path])}
    read = storage.read_arrays(step, {place: records[place] for place in fitting.values()})
    arrays = {path: read[place].astype(ours[path].dtype) for path, place in fitting.items()}
    return stored, arrays


def _best_of_its_run(storage: Storage, folder: pathlib.Path | str) -> int:
    """Returns the best step by the metric that the run itself went by, or else the newest."""
    newest = max(storage.steps(), default=None)
    if newest is None:
        raise UserError(f"no checkpoints in {str(folder)!r}")
    metric, mode = storage.read_record(newest)["best"]
    if metric is None:
        return newest
    by_metric = Storage(_existing(folder), 1, metric, mode, read_only=True)
    best = by_metric.best_step()
    by_metric.close()
    return newest if best is None else best


def _existing(folder: pathlib.Path | str) -> pathlib.Path:
    """Returns the folder's whole path; refuses one that is not there."""
    path = pathlib.Path(folder).resolve()
    if not path.is_dir():
        raise UserError(f"no checkpoints in {str(folder)!r}: there is no such folder")
    return path


def _as_variable(path: str, averaged: bool) -> str | None:
    """Turns a saved state's path into that of a variable; None for what is none."""
    kind, _, rest = path.partition("/")
    if averaged:
        return rest if kind == "ema" else None
    return {"params": path, "collections": rest}.get(kind)


def _all_processes(fine: bool) -> bool:
    """Returns whether it holds in every process."""
    if jax.process_count() == 1:
        return fine
    return bool(np.all(multihost_utils.process_allgather(np.array(fine))))


def _one_line(error: Exception, length: int = 160) -> str:
    """Returns an error's kind and text in one line, cut where it is long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= length else text[: length - 1] + "…"


def _shape(shape: list[int] | None) -> str:
    return "absent" if shape is None else str(tuple(shape))
