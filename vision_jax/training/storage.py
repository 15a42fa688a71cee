"""Folders of arrays and JSON, written whole or not at all and believed only with their checksums.

Orbax lives in this module alone; what is written, and what to do about damage, is `checkpoint`'s.
Its v1 interface reads these folders too, but (in 0.12.8) it stops at damaged metrics, makes folders
that it is only asked to read, and cannot be kept from asking about signals.
"""

import contextlib
import functools
import json
import logging
import math
import pathlib
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vision_jax.config import UserError
from vision_jax.system import disk
from vision_jax.training import paths

Tree = Any
_REPLACED = "replaced-"  # begins the name of a folder while the same step is saved again
_ARRAYS, _RECORD, _METRICS = "state", "meta", "metrics"  # the last is Orbax's name


class _Manager(ocp.CheckpointManager):
    """A manager that leaves signals to the loop, and is not stopped by damaged metrics."""

    def reached_preemption(self, step: int) -> bool:
        """Answers no.

        JAX agrees with the other processes on one count of questions; asked for each saved step as
        well, it would be answered about neither.
        """
        return False

    def metrics(self, step: int) -> dict[str, float] | None:
        """Reads what a step was saved with; None where there is nothing, or nothing whole."""
        file = pathlib.Path(self.directory) / _name_format().build_name(step) / _METRICS / _METRICS
        try:
            values = json.loads(file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        is_whole = isinstance(values, dict) and all(type(v) is float for v in values.values())
        return values if is_whole else None


class Storage:
    """A folder of numbered folders, each with nested dicts of NumPy arrays and a JSON record."""

    def __init__(
        self, folder: pathlib.Path, keep: int, metric: str | None, mode: str, read_only: bool
    ):
        """Opens the folder; see `checkpoint.Checkpoints` for the arguments."""
        _silence_orbax()
        self._folder, self._best = folder, [metric, mode]
        self._replaced: pathlib.Path | None = None  # the older save of the step that is written
        with contextlib.nullcontext() if read_only else disk.writing(folder):
            if not read_only:
                _undo_replacements(folder)
            _put_notes_aside(folder, read_only)
            self._manager = _Manager(folder, options=_options(keep, metric, mode, read_only))
            self._is_there = _identity(folder)

    def steps(self) -> list[int]:
        """Lists the steps whose folders are complete, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the best step by the metric among those saved with it; waits for a save."""
        self.wait()
        step = self._manager.best_step() if self._best[0] else None
        # Another metric may have decided when it was saved.
        return None if step is None or self._best[0] not in self._metrics_of(step) else step

    def write(
        self, step: int, arrays: Mapping[str, np.ndarray], meta: Any, value: float | None
    ) -> None:
        """Begins to write {path: array}, the caller's JSON and the metric's value, where known.

        A folder of the same step is replaced, but is not deleted before the new one is complete.

        Raises:
          UserError: the disk takes no more, or is gone; or the save before failed so.
        """
        self.wait()
        if _identity(self._folder) != self._is_there:
            raise UserError(
                f"{str(self._folder)!r} has vanished, or another has taken its place; the same "
                "command goes on once it is back"
            )
        metrics = None if value is None else {self._best[0]: value}
        record = {"meta": meta, "arrays": _describe(arrays), "best": self._best, "metrics": metrics}
        items = {
            _ARRAYS: ocp.args.PyTreeSave(paths.nest(arrays)),
            _RECORD: ocp.args.JsonSave(_sealed(record)),
        }
        with disk.writing(self._folder):
            if step in self._manager.all_steps():
                self._put_aside(step)
            self._manager.save(step, metrics=metrics, args=ocp.args.Composite(**items), force=True)

    def read_record(self, step: int) -> dict[str, Any]:
        """Reads a step's record.

        Returns:
          'meta' as it was saved; 'arrays': {path: its shape, type, CRC-32}; 'best': metric and
          mode; 'metrics': its value, None without.

        Raises:
          ValueError: the record is not the one that was saved.
        """
        args = ocp.args.Composite(**{_RECORD: ocp.args.JsonRestore()})
        sealed = self._manager.restore(step, args=args)[_RECORD]
        if _sealed(sealed["record"]) != sealed:
            raise ValueError("the record is not the one that was saved (CRC-32 differs)")
        record = sealed["record"]
        saved = record.get("metrics", found := self._metrics_of(step))  # older records lack it
        if (saved or {}) != found:
            raise ValueError("the metrics are not those saved")
        return record

    def read_arrays(self, step: int, described: Mapping[str, dict]) -> dict[str, np.ndarray]:
        """Reads some of the arrays by path, and compares their bytes with what was saved.

        Args:
          step: the number of a complete folder.
          described: the part of the record's 'arrays' to read.

        Raises:
          ValueError: an array that is not the one that was saved.
        """
        if not described:
            return {}
        item = paths.nest(
            {p: jax.ShapeDtypeStruct(d["shape"], d["dtype"]) for p, d in described.items()}
        )
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        args = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        restored = self._manager.restore(step, args=ocp.args.Composite(**{_ARRAYS: args}))
        flat = {path: np.asarray(x) for path, x in paths.flatten(restored[_ARRAYS]).items()}
        for path, description in _describe(flat).items():
            if description != described[path]:
                raise ValueError(f"the bytes of {path} are not those saved (CRC-32 differs)")
        return flat

    def folder_of(self, step: int) -> pathlib.Path:
        """Returns the path of a step's folder."""
        return self._folder / _name_format().build_name(step)

    def reload(self) -> None:
        """Lists the folder anew."""
        self._manager.reload()

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
          UserError: the disk takes no more, or is gone.
        """
        with disk.writing(self._folder):
            self._manager.wait_until_finished()
            if self._replaced is not None and jax.process_index() == 0:
                shutil.rmtree(self._replaced)
            self._replaced = None

    def close(self) -> None:
        """Waits and ends the background threads."""
        self.wait()
        with disk.writing(self._folder):
            self._manager.close()

    def _put_aside(self, step: int) -> None:
        """Renames a step's folder, so that the step can be saved again; `wait` deletes it."""
        self._replaced = self._folder / f"{_REPLACED}{self.folder_of(step).name}"
        if jax.process_index() == 0:
            self.folder_of(step).rename(self._replaced)
        multihost_utils.sync_global_devices("a checkpoint is put aside")
        self._manager.reload()

    def _metrics_of(self, step: int) -> dict[str, float]:
        return self._manager.metrics(step) or {}


def _undo_replacements(folder: pathlib.Path) -> None:
    """Gives older saves their names back where a kill came before the newer ones were complete."""
    if jax.process_index() == 0:
        for older in folder.glob(f"{_REPLACED}*"):
            place = folder / older.name.removeprefix(_REPLACED)
            if place.exists():
                shutil.rmtree(older)
            else:
                older.rename(place)
    multihost_utils.sync_global_devices("older checkpoints have their names back")


def _put_notes_aside(folder: pathlib.Path, read_only: bool) -> None:
    """Renames Orbax's notes on a step where it cannot read them; it does without.

    Raises:
      UserError: such notes in a folder that is only read.
    """
    for found in _name_format().find_all(folder) if folder.is_dir() else ():
        try:
            _ = found.commit_timestamp_nsecs
        except (ValueError, TypeError, KeyError, RecursionError):
            notes = pathlib.Path(found.path) / "_CHECKPOINT_METADATA"
            if read_only:
                raise UserError(f"{str(notes)!r} is damaged; delete it to go on") from None
            logging.getLogger(__name__).warning("%s is damaged and put aside", notes)
            notes.rename(notes.with_name("damaged-notes"))


def _identity(folder: pathlib.Path) -> tuple[int, int] | None:
    """Returns what tells a folder from another in its place; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _describe(flat: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """Returns each array's shape, type and CRC-32."""
    return {
        path: {"shape": list(x.shape), "dtype": x.dtype.name, "crc32": _crc32(x)}
        for path, x in flat.items()
    }


def _crc32(x: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)


def _sealed(record: dict) -> dict:
    """Adds the record's own checksum, in the form that will be read back."""
    text = json.dumps(record, sort_keys=True)
    return {"record": json.loads(text), "crc32": zlib.crc32(text.encode())}


def _options(
    keep: int, best_metric: str | None, best_mode: str, read_only: bool
) -> ocp.CheckpointManagerOptions:
    policies = ocp.checkpoint_managers
    preserve: list[Any] = [policies.LatestN(keep)]
    by_metric = None
    if best_metric is not None:

        def by_metric(metrics: Mapping[str, float]) -> float:
            return metrics.get(best_metric, math.inf if best_mode == "min" else -math.inf)

        preserve.append(
            policies.BestN(
                get_metric_fn=by_metric,
                reverse=best_mode == "min",
                n=1,
                keep_checkpoints_without_metrics=False,
            )
        )
    return ocp.CheckpointManagerOptions(
        step_name_format=_name_format(),
        cleanup_tmp_directories=not read_only,
        create=not read_only,
        read_only=read_only,
        best_fn=by_metric,
        best_mode=best_mode,
        preservation_policy=policies.AnyPreservationPolicy(preserve),
    )


def _name_format() -> ocp.path.step.NameFormat:
    return ocp.path.step.standard_name_format(step_format_fixed_length=8)


def _silence_orbax() -> None:
    """Drops what Orbax logs; other users of absl's logger are not touched.

    Its errors are raised too, where they can be told in one line. When one array cannot be read or
    written, it leaves while others are under way, and each of these then complains by itself.
    """
    logger = logging.getLogger("absl")
    if _is_not_orbax not in logger.filters:
        logger.addFilter(_is_not_orbax)
        sys.unraisablehook = functools.partial(_unless_late, sys.unraisablehook)


def _unless_late(shown: Callable[[Any], Any], unraisable: Any) -> None:
    if "Event loop is closed" not in str(unraisable.exc_value):
        shown(unraisable)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname
