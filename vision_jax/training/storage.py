"""Folders of arrays and JSON, written whole or not at all and believed only with their checksums.

Orbax lives in this module alone; what is written, and what to do about damage, is `checkpoint`'s.
"""

import contextlib
import json
import logging
import pathlib
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from vision_jax.training import paths

Tree = Any
_ARRAYS, _RECORD = "state", "meta"
_LATE_S = 0.3  # reads that outlive an error end within milliseconds


class Storage:
    """A folder of numbered folders, each with nested dicts of NumPy arrays and a JSON record."""

    def __init__(
        self, folder: pathlib.Path, keep: int, metric: str | None, mode: str, read_only: bool
    ):
        """Opens the folder; see `checkpoint.Checkpoints` for the arguments."""
        _silence_orbax()
        self._folder, self._best = folder, [metric, mode]
        self._manager = ocp.CheckpointManager(
            folder, options=_options(keep, metric, mode, read_only)
        )

    def steps(self) -> list[int]:
        """Lists the steps whose folders are complete, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the best step by the metric among those saved with it."""
        return self._manager.best_step() if self._best[0] else None

    def write(
        self, step: int, arrays: Mapping[str, np.ndarray], meta: Any, value: float | None
    ) -> None:
        """Begins to write {path: array}, the caller's JSON and the metric's value, where known.

        A folder of the same step is replaced.
        """
        self._manager.wait_until_finished()
        if step in self._manager.all_steps():
            self._manager.delete(step)
        record = {"meta": meta, "arrays": _describe(arrays), "best": self._best}
        items = {
            _ARRAYS: ocp.args.PyTreeSave(paths.nest(arrays)),
            _RECORD: ocp.args.JsonSave(_sealed(record)),
        }
        metrics = None if value is None else {self._best[0]: value}
        self._manager.save(step, metrics=metrics, args=ocp.args.Composite(**items), force=True)

    def read_record(self, step: int) -> dict[str, Any]:
        """Reads a step's record.

        Returns:
          'meta' as it was saved; 'arrays': {path: its shape, type, CRC-32}; 'best': metric and
          mode.

        Raises:
          ValueError: the record is not the one that was saved.
        """
        args = ocp.args.Composite(**{_RECORD: ocp.args.JsonRestore()})
        sealed = self._manager.restore(step, args=args)[_RECORD]
        if _sealed(sealed["record"]) != sealed:
            raise ValueError("the record is not the one that was saved (CRC-32 differs)")
        return sealed["record"]

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
        with _quiet_late_reads():
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
        """Waits until all is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and ends the background threads."""
        self._manager.close()


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
            return metrics[best_metric]

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


@contextlib.contextmanager
def _quiet_late_reads() -> Iterator[None]:
    """Silences reads that nobody is waiting for any more.

    Where one array cannot be read, Orbax leaves while reads of others are under way; these then
    complain, each with a traceback on stderr.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    except Exception:
        time.sleep(_LATE_S)
        raise
    finally:
        sys.unraisablehook = before


def _silence_orbax() -> None:
    """Drops what Orbax logs below errors; other users of absl's logger are not touched."""
    logger = logging.getLogger("absl")
    if _is_not_orbax not in logger.filters:
        logger.addFilter(_is_not_orbax)


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or "/orbax/" not in record.pathname
