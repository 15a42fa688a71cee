"""Several processes as one run: joining, agreeing, ending together; and how signals end a run.

Left alone, a process that raises would keep its heart beating and hold all others for minutes in a
collective that never completes. So an uncaught exception ends its process at once, which the
others notice through their connections, or at the latest by the missing heartbeat.
"""

import hashlib
import os
import signal
import sys
import threading
import traceback
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vision_jax.config import UserError

_HEARTBEAT_S = 30  # a process silent for so long is taken for dead
_SHUTDOWN_S = 300  # how long one waits at the end for the others: the first writes the report
_JOIN_S = 120  # how long one waits at the beginning


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_s: int = _HEARTBEAT_S,
) -> None:
    """Joins the other processes, if there are any. Must come before JAX is first used.

    Without arguments it joins only where a cluster is recognised: Slurm or Open MPI with more than
    one task, or JAX_COORDINATOR_ADDRESS in the environment.

    Args:
      coordinator: 'host:port' of process 0, the same in all processes.
      num_processes: how many there are.
      process_id: which of them this is.
      heartbeat_s: seconds of silence after which a process is taken for dead.

    Raises:
      UserError: arguments that do not belong together, or processes that cannot be reached.
    """
    if coordinator is None and num_processes is None and process_id is None:
        if not _in_cluster(os.environ):
            return
    elif coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            f"coordinator={coordinator!r}, num_processes={num_processes}, "
            f"process_id={process_id}: give all three or none"
        )
    elif not 0 <= process_id < num_processes:
        raise UserError(f"process_id={process_id} is not in 0..{num_processes - 1}")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_s,
            shutdown_timeout_seconds=_SHUTDOWN_S,
            initialization_timeout=_JOIN_S,
        )
    except ValueError as error:
        raise UserError(f"processes cannot be joined: {error}") from error
    if jax.process_count() > 1:
        sys.excepthook = _end_at_once


def leave(code: int) -> None:
    """Ends a process that failed; never returns if there are others, who must not wait for it."""
    if jax.process_count() > 1 and code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def check_same(what: str, text: str) -> None:
    """Refuses a run whose processes were started with different settings.

    Args:
      what: the name of the settings, for the message.
      text: the settings, such as the config as JSON; only their hash travels.

    Raises:
      UserError: in every process, saying which processes differ from process 0.
    """
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(digest))
    other = [i for i in range(len(every)) if np.any(every[i] != every[0])]
    if other:
        raise UserError(
            f"{what} differs between processes: {', '.join(map(str, other))} from 0; "
            "start all with the same command"
        )


def total(count: int) -> int:
    """Adds up a number over all processes, each of which must ask."""
    if jax.process_count() == 1:
        return count
    return int(np.sum(multihost_utils.process_allgather(np.int32(count))))


class Interrupt:
    """A question in place of SIGTERM and Ctrl-C, which the loop asks: `with Interrupt() as i`.

    The first signal makes `requested` true, so that the state can be saved; a second one kills.
    In a run of several processes a signal to any of them is a preemption notice that JAX passes
    on, and all learn of it at the same step.

    Attributes:
      number: the signal's, once it came; SIGTERM's where another process got it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._asked: int | None = None
        self._questions = 0  # what JAX counts: it agrees on the one after the latest
        self._agreed = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            # With jax.distributed, SIGTERM is JAX's own.
            ours = (signal.SIGINT,) if _distributed() else (signal.SIGINT, signal.SIGTERM)
            self._previous = {number: signal.signal(number, self._handle) for number in ours}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def requested(self, step: int | None = None) -> bool:
        """Returns whether to save and stop.

        Args:
          step: updates made. With `jax.distributed` every process must ask at the same steps, and
            only a question with a new step can turn the answer; the others repeat the last one.
        """
        if not _distributed():
            return self.number is not None
        if step is not None and step != self._asked and not self._agreed:
            self._asked = step
            self._questions += 1
            self._agreed = multihost_utils.reached_preemption_sync_point(self._questions)
            if self._agreed and self.number is None:
                self.number = signal.SIGTERM
        return self._agreed

    def _handle(self, number: int, frame: types.FrameType | None) -> None:
        if self.number is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.number = number
        print("\nsaving and stopping; once more to stop at once", file=sys.stderr, flush=True)
        if _distributed():
            os.kill(os.getpid(), signal.SIGTERM)  # becomes the notice to all


def _distributed() -> bool:
    return jax.distributed.is_initialized()


def _in_cluster(environment: Mapping[str, str]) -> bool:
    if "JAX_COORDINATOR_ADDRESS" in environment:
        return True
    tasks = [environment.get(key, "1") for key in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")]
    # An interactive Slurm shell has SLURM_NTASKS too, but no task of its own.
    step = "SLURM_PROCID" in environment or "OMPI_COMM_WORLD_RANK" in environment
    return step and any(count.isdigit() and int(count) > 1 for count in tasks)


def _end_at_once(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Shows an exception and ends without waiting for the others; an excepthook."""
    print(f"process {jax.process_index()} failed:", file=sys.stderr)
    traceback.print_exception(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
