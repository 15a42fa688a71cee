"""Lines that tell how far a download is."""

import datetime
import sys
import time

_EVERY = {True: 0.5, False: 15.0}  # seconds between lines on a terminal, and in a log


class Progress:
    """The line `resnet50.pth 34 of 102 MB, 8.1 MB/s, 0:00:08 left` on standard error.

    On a terminal the line is written over; in a log there are few. Files that come within a second
    say nothing.

    Args:
      name: of the file.
      have: bytes that were there before.
      total: bytes of the whole file; None if the server does not tell.
    """

    def __init__(self, name: str, have: int, total: int | None) -> None:
        self._name, self._first, self._total = name, have, total
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._every = _EVERY[self._is_terminal]
        self._due = self._began + min(1.0, self._every)
        self._told = False

    def advance(self, have: int) -> None:
        """Notes that so many bytes are there; tells if it is time."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._every
            self._tell(self.line(have, now - self._began), "\r" if self._is_terminal else "\n")

    def finish(self, have: int) -> None:
        """Ends the line, if there was one."""
        if self._told:
            self._tell(self.line(have, time.monotonic() - self._began), "\n")

    def line(self, have: int, seconds: float) -> str:
        """Returns the line for so many bytes after so many seconds."""
        rate = (have - self._first) / max(seconds, 1e-3)
        of = f" of {self._total / 1e6:.0f}" if self._total is not None else ""
        text = f"{self._name} {have / 1e6:.0f}{of} MB, {rate / 1e6:.1f} MB/s"
        if self._total is None or rate <= 0 or have >= self._total:
            return text
        left = datetime.timedelta(seconds=round((self._total - have) / rate))
        return f"{text}, {left} left"

    def _tell(self, line: str, end: str) -> None:
        print(f"{line:<79}" if self._is_terminal else line, end=end, file=sys.stderr, flush=True)
        self._told = True
