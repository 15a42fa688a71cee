"""The log of a run: rows on disk, TensorBoard events, progress lines."""

import contextlib
import importlib.util
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import jax
import numpy as np

from vision_jax.report import trackers
from vision_jax.report.folder import keep_rows, row_line
from vision_jax.report.gallery_images import MADE
from vision_jax.report.growth import save_growth
from vision_jax.report.progress import Progress
from vision_jax.system import disk

# The numbers that the progress line shows, by the names under which they may come.
_SHOWN = {"train/loss": "loss", "loss": "loss", "train/lr": "lr", "lr": "lr"}


class Log:
    """The writer of a run folder's metrics.jsonl, timing.jsonl and events, and of progress lines.

    metrics.jsonl holds the step and deterministic values only: a run that was killed and resumed
    ends with the same bytes as one that was not. For that, write the training row of a step before
    its checkpoint, and `flush` before that is committed. Whatever depends on the clock goes to
    timing.jsonl, which keeps what killed attempts did as well.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        *,
        resumed: int | None = None,
        evaluated: bool = True,
        total_steps: int = 0,
        batch_size: int = 0,
        interval: float = 5.0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
          folder: made if missing; None writes nothing (processes other than the first).
          resumed: the step of the restored checkpoint: later rows of metrics.jsonl are cut off.
            None starts it anew.
          evaluated: whether that checkpoint was made after its step's evaluation. If not, rows of
            the step with an `eval/` value are cut off too, since they will be written again.
          total_steps: where the run ends; 0 if unknown.
          batch_size: images per step over all devices, for the rate.
          interval: seconds between plain progress lines, at least; the first comes after it.
          stream: for progress lines; None is standard output.
          clock: seconds, for tests.
        """
        self.folder = None if folder is None else pathlib.Path(folder)
        if folder is None:
            stream = open(os.devnull, "w")  # noqa: SIM115 - closed with the log
        self._devnull = stream if folder is None else None
        self.progress = Progress(total_steps, batch_size, stream, interval, clock)
        self._latest: dict[str, Any] = {}
        self._files: dict[str, int] = {}
        self._events = None
        self._tracker: trackers.Tracker | None = None
        if self.folder is not None:
            self._open(self.folder, resumed, evaluated)

    def metrics(self, step: int, values: Mapping[str, Any], say: bool = False) -> None:
        """Writes a row of metrics.jsonl: `train/loss`, `train/lr`, `eval/top1` … as scalars.

        With `say` it is shown as well.
        """
        self._write("metrics.jsonl", step, values)
        if say:
            shown = " ".join(f"{name} {value:.4g}" for name, value in sorted(values.items()))
            self.say(f"step {step} {shown}")
        for name, value in values.items():
            if name in _SHOWN:
                self._latest[_SHOWN[name]] = float(value)

    def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, uint8 (h, w, 3) by name, for TensorBoard; what grows to the folder."""
        if self.folder is not None and MADE in pictures:
            save_growth(self.folder, step, pictures[MADE])
        for name, picture in pictures.items():
            if self._events is not None:
                self._events.add_image(f"pictures/{name}", picture, step)
            if self._tracker is not None:
                self._tracker.picture(step, f"pictures/{name}", picture)

    def timing(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes a row of timing.jsonl, with the `seconds` since the log's beginning."""
        self._write("timing.jsonl", step, {"seconds": round(self.progress.seconds(), 3), **values})

    def first_step(self, step: int, began: float, called: float) -> None:
        """Writes a row of timing.jsonl about the first step, now done.

        Args:
          step: the step's number.
          began, called: `time.monotonic()` when the run began, and when the step was called, which
            compiled it first.
        """
        now = time.monotonic()
        times = {"first_step_seconds": now - began, "compile_seconds": now - called}
        self.timing(step, {name: round(value, 3) for name, value in times.items()})

    def advance(self, step: int) -> None:
        """Shows progress and writes a row of timing, when it is time; call it after every step."""
        if self.progress.advance(step, self._latest):
            rates = {"images_per_second": round(self.progress.rate, 3), **memory()}
            self.timing(step, rates)

    def pause(self) -> contextlib.AbstractContextManager[None]:
        """Keeps what is done inside out of the rate: `with log.pause():`."""
        return self.progress.pause()

    def say(self, text: str) -> None:
        """Prints a line that stays, without breaking the live line."""
        self.progress.say(text)

    def flush(self) -> None:
        """Returns once every row so far is on the disk.

        Raises:
          UserError: the disk takes no more, or is gone.
        """
        for name, file in self._files.items():
            with disk.writing(self._path(name)):
                os.fsync(file)
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes, also where the disk is full; a second call does nothing."""
        files, self._files = self._files, {}
        events, self._events = self._events, None
        tracker, self._tracker = self._tracker, None
        with contextlib.ExitStack() as stack:
            if self._devnull is not None:
                stack.callback(self._devnull.close)
            stack.callback(self.progress.close)
            if events is not None:
                stack.callback(events.close)
            if tracker is not None:
                stack.callback(tracker.close)
            for name, file in files.items():
                stack.callback(os.close, file)
                stack.enter_context(disk.writing(self._path(name)))
                stack.callback(os.fsync, file)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self, folder: pathlib.Path, resumed: int | None, evaluated: bool) -> None:
        """Opens the files, cut back to the rows that the restored checkpoint knows of."""
        disk.make_folder(folder)

        def survives(row: dict[str, Any]) -> bool:
            if resumed is None or row["step"] > resumed:
                return False
            again = row["step"] == resumed and not evaluated
            return not (again and any(name.startswith("eval/") for name in row))

        keeps = {"metrics.jsonl": survives, "timing.jsonl": lambda row: True}
        for name, keep in keeps.items():
            damage = keep_rows(folder / name, keep, repeats=name != "metrics.jsonl")
            if damage:
                self.say(damage)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with disk.writing(folder / name):
                self._files[name] = os.open(folder / name, flags, 0o644)
        self._events = self._open_events(folder / "events", 0 if resumed is None else resumed + 1)
        self._tracker = trackers.asked_for(folder)

    def _write(self, name: str, step: int, values: Mapping[str, Any]) -> None:
        line = row_line(step, values)
        if name not in self._files:
            return
        # One write of the whole line: a kill of this process leaves all of it or nothing.
        with disk.writing(self._path(name)):
            disk.write_whole(self._files[name], line)
        prefix = "timing/" if name == "timing.jsonl" else ""
        known = {k: v for k, v in values.items() if not isinstance(v, str) and v is not None}
        scalars = {f"{prefix}{key}": float(value) for key, value in known.items()}
        if self._events is not None:
            for key, value in scalars.items():
                self._events.add_scalar(key, value, step)
        if self._tracker is not None:
            self._tracker.scalars(step, scalars)

    def _path(self, name: str) -> pathlib.Path:
        return (self.folder or pathlib.Path()) / name

    def _open_events(self, folder: pathlib.Path, first_step: int):
        if importlib.util.find_spec("tensorboardX") is None:
            self.say("no TensorBoard events: pip install tensorboardX")
            return None
        from vision_jax.report.events import Events

        return Events(folder, first_step)


def memory() -> dict[str, int]:
    """Reads peak memory: `host_peak_bytes`, and `device_peak_bytes` where the device tells."""
    unit = 1 if sys.platform == "darwin" else 1024
    peaks = {"host_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        peaks["device_peak_bytes"] = int(statistics["peak_bytes_in_use"])
    return peaks
