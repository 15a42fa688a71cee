"""Orbax, and nothing that imports it: folders of arrays and JSON, written whole or not at all.

What is written is settled in `checkpoint`.
"""

import contextlib
import logging
import pathlib
import sys
import time
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
    """Numbered folders, each with nested dicts of numpy arrays and a JSON record."""

    def __init__(
        self, folder: pathlib.Path, keep: int, metric: str | None, mode: str, read_only: bool
    ):
        """See `checkpoint.Checkpoints`."""
        _silence_orbax()
        self._folder, self._metric = folder, metric
        self._manager = ocp.CheckpointManager(
            folder, options=_options(keep, metric, mode, read_only)
        )

    def steps(self) -> list[int]:
        """Steps whose folders are complete, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The best by the metric among those saved with it."""
        return self._manager.best_step() if self._metric else None

    def write(
        self, step: int, arrays: Mapping[str, np.ndarray], record: dict, value: float | None
    ) -> None:
        """Begins to write {path: array}, the record and the metric's value, where known."""
        items = {
            _ARRAYS: ocp.args.PyTreeSave(paths.nest(arrays)),
            _RECORD: ocp.args.JsonSave(record),
        }
        metrics = None if value is None else {self._metric: value}
        self._manager.save(step, metrics=metrics, args=ocp.args.Composite(**items))

    def read_record(self, step: int) -> dict:
        """The JSON record."""
        args = ocp.args.Composite(**{_RECORD: ocp.args.JsonRestore()})
        return self._manager.restore(step, args=args)[_RECORD]

    def read_arrays(
        self, step: int, wanted: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, np.ndarray]:
        """The arrays of these paths, which may be a part of what is stored."""
        item = paths.nest(wanted)
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item)
        args = ocp.args.PyTreeRestore(item=item, restore_args=how, partial_restore=True)
        with _quiet_late_reads():
            restored = self._manager.restore(step, args=ocp.args.Composite(**{_ARRAYS: args}))
        return {path: np.asarray(x) for path, x in paths.flatten(restored[_ARRAYS]).items()}

    def folder_of(self, step: int) -> pathlib.Path:
        """Where a step lies."""
        return self._folder / _name_format().build_name(step)

    def reload(self) -> None:
        """Looks at the folder anew."""
        self._manager.reload()

    def wait(self) -> None:
        """Until all is written."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and ends the background threads."""
        self._manager.close()


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
    """Where one array cannot be read, Orbax leaves while reads of others are under way.

    These then complain, each with a traceback on stderr, that nobody is waiting for them.
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
