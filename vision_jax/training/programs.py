"""The programs of a run: traced before anything else, and compiled while other things are done."""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from vision_jax.training import phases

_THREAD = "compiling"
_HIT = "/jax/compilation_cache/cache_hits"  # what JAX tells in the thread that compiles
_PATIENCE = 1.0  # seconds to wait without a word
_thread = threading.local()


class Program:
    """A mapped function of known shapes, compiled in a thread before it is called.

    JAX keeps what was traced and compiled with the function, and finds it there when the function
    itself is called with such arrays; with others it compiles then, as ever.
    """

    def __init__(self, title: str, traced: jax.stages.Traced | None):
        """
        Args:
          title: what it is called in lines of progress.
          traced: the function for its shapes; None is compiled by the first call.
        """
        self.title = title
        self._is_cached = False
        self._traced = traced
        self._is_wanted = False
        self._done: threading.Event | None = None
        self._error: BaseException | None = None

    def wait(self, stop: Callable[[], bool] = lambda: False) -> bool:
        """Waits until the program is compiled; returns False if `stop()` became true before.

        The first time it tells what takes long, or that an earlier run has done it.

        Raises:
          Exception: what compiling it raised.
        """
        first, self._is_wanted = not self._is_wanted, True
        if self._done is None:
            if first:
                phases.tell(f"compiling {self.title} …")
            return True
        if first and not self._done.wait(_PATIENCE):
            phases.tell(f"compiling {self.title} …")
        while not self._done.wait(0.1):
            if stop():
                return False
        if self._error is not None:
            raise self._error
        if first and self._is_cached:
            phases.tell(f"{self.title} was compiled by an earlier run")
        return True

    def enlist(self) -> bool:
        """Returns whether there is something to compile, which `wait` waits for from now on."""
        if self._traced is None or self._done is not None:
            return False
        self._done = threading.Event()
        return True

    def compile(self) -> None:
        """Compiles what was enlisted; its error is raised where the program is waited for."""
        assert self._traced is not None and self._done is not None
        _thread.is_hit = False
        try:
            self._traced.lower().compile()
        except BaseException as error:
            self._error = error
        finally:
            self._is_cached = _thread.is_hit
            self._done.set()


def compile_in_turn(programs: Sequence[Program]) -> None:
    """Begins to compile programs in a thread, one after the other: the first is needed first.

    A process that is one of several compiles at the first call instead, like the others.
    """
    if jax.process_count() > 1 or jax.distributed.is_initialized():
        return
    _listen()
    due = [program for program in programs if program.enlist()]

    def compile_all() -> None:
        for program in due:
            program.compile()

    threading.Thread(target=compile_all, name=_THREAD).start()


def is_compiling() -> bool:
    """Returns whether a thread still compiles, which Python waits for at its end."""
    return any(thread.name == _THREAD for thread in threading.enumerate())


@functools.cache
def _listen() -> None:
    """Lets JAX tell of programs that it finds in the persistent cache, once for all."""

    def note(event: str, **kinds: Any) -> None:
        if event == _HIT:
            _thread.is_hit = True

    jax.monitoring.register_event_listener(note)
