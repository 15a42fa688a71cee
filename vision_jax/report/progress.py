"""Progress lines: one live line on a terminal, otherwise a plain line now and then."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

_LIVE_SECONDS = 0.2  # between refreshes of the live line
_CLEAR = "\r\x1b[2K"


class Progress:
    """The line `step 1200/90000 1.3% loss 4.21 lr 0.1 812 img/s ETA 3h12m`.

    The rate leaves out pauses (evaluation, checkpoints) and everything before the first step is
    done, where compilation is; the ETA leaves out the latter only.
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int,
        stream: TextIO | None = None,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
          total_steps: where the run ends; 0 if unknown.
          batch_size: images per step, for the rate; 0 gives steps per second.
          stream: where to write; None is standard output.
          interval: seconds between plain lines. In a long run it grows, up to 30 s.
          clock: seconds.
        """
        self._total, self._batch_size = total_steps, batch_size
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._interval, self._clock = interval, clock
        self._began = self._shown = self._refreshed = clock()
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] = (0, 0.0)  # step and active seconds at the last due line
        self._paused = 0.0
        self._on_line = False
        self.rate = 0.0  # images (or steps) per second

    def advance(self, step: int, values: Mapping[str, Any]) -> bool:
        """Takes note that so many steps are done; shows it if it is time.

        Args:
          step: steps since the run's beginning.
          values: the newest numbers to show, by name.

        Returns:
          True if a line was due, plain or not: the moment for a row of timing.jsonl.
        """
        now = self._clock()
        if self._first is None:
            self._first, self._last = (step, now), (step, now - self._paused)
        due = now - self._shown >= self._wait(now) or step == self._total
        if due:
            self._measure(step, now)
            self._shown = now
        if due or (self._live and now - self._refreshed >= _LIVE_SECONDS):
            self._refreshed = now
            self._show(self.line(step, values))
        return due

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Keeps the time that is spent inside out of the rate."""
        start = self._clock()
        try:
            yield
        finally:
            self._paused += self._clock() - start

    def say(self, text: str) -> None:
        """Prints a line that stays, above the live one."""
        self._put((_CLEAR if self._on_line else "") + text + "\n")
        self._on_line = False

    def close(self) -> None:
        """Ends the live line."""
        if self._on_line:
            self._put("\n")
            self._on_line = False

    def seconds(self) -> float:
        """Returns the seconds since this object was made."""
        return self._clock() - self._began

    def line(self, step: int, values: Mapping[str, Any]) -> str:
        """Writes the text of the progress line."""
        parts = [f"step {step}"]
        if self._total:
            parts = [f"step {step}/{self._total}", f"{100 * step / self._total:.1f}%"]
        parts += [f"{name} {value:.4g}" for name, value in values.items() if value is not None]
        if self.rate:
            rate = f"{self.rate:.0f}" if self.rate >= 100 else f"{self.rate:.3g}"
            parts.append(f"{rate} {'img/s' if self._batch_size else 'steps/s'}")
        left = self._left(step)
        if left is not None:
            parts.append(f"ETA {duration(left)}")
        return " ".join(parts)

    def _wait(self, now: float) -> float:
        return max(self._interval, min(30.0, (now - self._began) / 20))

    def _measure(self, step: int, now: float) -> None:
        last_step, last_active = self._last
        active = now - self._paused
        if step > last_step and active > last_active:
            self.rate = (step - last_step) * (self._batch_size or 1) / (active - last_active)
        self._last = (step, active)

    def _left(self, step: int) -> float | None:
        if not self._total or self._first is None or step <= self._first[0]:
            return None
        first_step, first_time = self._first
        return (self._clock() - first_time) / (step - first_step) * (self._total - step)

    def _show(self, text: str) -> None:
        self._put(_CLEAR + text if self._live else text + "\n")
        self._on_line = self._live

    def _put(self, text: str) -> None:
        """Writes, unless nobody reads any more: a run outlives its terminal and its pipe."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def duration(seconds: float) -> str:
    """Writes seconds as '47s', '3m05s', '3h12m' or '2d04h'."""
    seconds = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // part:02d}{smaller}"
    if seconds >= 60:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds}s"
