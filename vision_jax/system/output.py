"""What a command prints when nobody reads it any more, as behind `| head`."""

import os
import sys
from typing import Any, TextIO


def outlive_reader() -> None:
    """Lets standard output go nowhere once its reader is gone, instead of ending the command.

    A listing has then said what was wanted, and a training goes on.
    """
    sys.stdout = _Steady(sys.stdout)


class _Steady:
    """A stream that never breaks.

    Everything else is the stream's own.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._give_up()

    def _give_up(self) -> None:
        """Points the stream's file, and those of processes to come, at nothing."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
