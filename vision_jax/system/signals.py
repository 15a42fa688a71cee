"""Ctrl-C, SIGTERM and a closed terminal: one line and the shell's exit code, whatever runs then.

Python calls its own handlers between two instructions of the main thread only: not while a program
is compiled, and what they raise within a callback of the garbage collector is dropped. So a thread
learns of signals too, and what is to be done is a call, never an exception.
"""

import contextlib
import os
import select
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Action = Callable[[int], None]
_STDERR = 2


def hold() -> None:
    """Keeps signals waiting until `end_at_once`, over an `exec` and the beginning of Python."""
    signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)


def end_at_once(program: str) -> None:
    """Makes a signal end this process with one line, from now on; see `taken` for exceptions.

    Files are written whole or not at all, so that there is nothing to clean up.

    Args:
      program: begins the line.
    """

    def end(number: int) -> None:
        stop(number, f"{program}: interrupted; the same command goes on from what is saved")

    _watch.begin(end, NUMBERS)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)


def stop(number: int, line: str) -> None:
    """Says a line and ends this process with a signal's exit code, 128 and its number.

    Its workers, which would wait for it, end with it.
    """
    try:
        say(line)
        if "multiprocessing" in sys.modules:
            for worker in sys.modules["multiprocessing"].active_children():
                worker.kill()
    finally:
        os._exit(128 + number)


def ignore() -> None:
    """Leaves signals of the terminal to the parent of this process, which will end it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def say(line: str) -> None:
    """Writes a line to stderr, without the locks that the interrupted code may hold."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        begin = "\n" if os.isatty(_STDERR) else ""  # it shows ^C, or a live line
        os.write(_STDERR, f"{begin}{line}\n".encode())


def is_code(code: int) -> bool:
    """Returns whether a child's exit code says that a signal ended it, caught or not."""
    return -code in NUMBERS or code - 128 in NUMBERS


@contextlib.contextmanager
def taken(action: Action, numbers: Sequence[int] = NUMBERS) -> Iterator[None]:
    """Calls `action(number)` for a signal that comes inside; what held before holds again after.

    Outside of the main thread signals are left to whoever has them.

    Args:
      action: may be called in another thread than the main one, and so must not raise.
      numbers: of the signals, where nobody has taken them yet.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _watch.begin(action, numbers)
    try:
        yield
    finally:
        _watch.end()


def at_once() -> contextlib.AbstractContextManager[None]:
    """Gives signals back to the earliest action, that of `end_at_once` where a command began so.

    It is for long work that loses nothing when it is killed, within a run that would wait for it.
    """
    earliest = _watch.earliest()
    return contextlib.nullcontext() if earliest is None else taken(earliest)


class _Watch:
    """The actions, of which the latest counts, and the thread and handlers that call it."""

    def __init__(self) -> None:
        self._actions: list[Action] = []
        self._previous: dict[int, Any] = {}
        self._turn = threading.RLock()  # a handler can interrupt a handler
        self._reader = self._writer = self._wakeup = -1
        self._mask: set[int] = set()  # of signals that waited before a fork

    def begin(self, action: Action, numbers: Sequence[int]) -> None:
        """Puts an action first."""
        self._actions.append(action)
        if self._previous:
            return
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        threading.Thread(
            target=self._listen, args=(self._reader,), name="signals", daemon=True
        ).start()
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in numbers:
            # nohup asks for a closed terminal to be ignored.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._handle)

    def earliest(self) -> Action | None:
        """Returns the action that was there before all others."""
        return self._actions[0] if self._actions else None

    def end(self) -> None:
        """Takes the latest action away; after the last one signals are as they were."""
        self._actions.pop()
        if self._actions:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)  # the thread sees the end and closes the other one

    def before_fork(self) -> None:
        """Keeps signals waiting until both processes know who they are."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, NUMBERS)

    def after_fork(self) -> None:
        """Lets signals come again."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def forget(self) -> None:
        """Leaves signals to the system in a forked child, whose parent has the pipe."""
        if self._previous:
            signal.set_wakeup_fd(-1)
            for number in self._previous:
                signal.signal(number, signal.SIG_DFL)
            self._previous, self._actions = {}, []
        self.after_fork()

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        self._read(self._reader)

    def _listen(self, reader: int) -> None:
        """Waits for signals while the main thread is within a long call."""
        poll = select.poll()
        poll.register(reader, select.POLLIN)
        while True:
            poll.poll()
            if not self._read(reader):
                os.close(reader)
                return

    def _read(self, reader: int) -> bool:
        """Acts on the signals that nobody has acted on; returns False at the pipe's end."""
        with self._turn:
            try:
                numbers = os.read(reader, 64)
            except BlockingIOError:
                return True
            for number in numbers:
                if number in NUMBERS and self._actions:
                    self._actions[-1](number)
            return bool(numbers)


_watch = _Watch()
os.register_at_fork(
    before=_watch.before_fork,
    after_in_parent=_watch.after_fork,
    after_in_child=_watch.forget,
)
