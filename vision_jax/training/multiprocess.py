"""Several processes as one run: joining, agreeing, ending together; and how signals end a run.

Left alone, a process that raises would keep its heart beating and hold all others for minutes in a
collective that never completes. So an uncaught exception ends its process at once, which the
others notice through their connections, or at the latest by the missing heartbeat.
"""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from vision_jax.config import UserError
from vision_jax.system import signals
from vision_jax.training import failures, programs, relay

_HEARTBEAT_S = 30  # a process silent for so long is taken for dead
_SHUTDOWN_S = 300  # how long one waits at the end for the others: the first writes the report
_JOIN_S = 120  # how long one waits at the beginning
_NO_CLUSTER = (
    "--distributed: JAX recognises no cluster here (Slurm, Open MPI, Kubernetes, a TPU pod); give "
    "--coordinator HOST:PORT --num_processes N --process_id I"
)
# What the transports of CPUs and GPUs, and the service that all report to, say of a lost process.
_SIGNS_OF_LOSS = re.compile(
    r"gloo|nccl|connection (reset|closed|refused)|socket closed|heartbeat|unhealthy|barrier|"
    r"coordination",
    re.IGNORECASE,
)


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    heartbeat_s: int = _HEARTBEAT_S,
    interruptible: bool = True,
    detect: bool = False,
) -> None:
    """Joins the other processes, if there are any. Must come before JAX is first used.

    Without arguments it joins only where several processes have surely been started: by Slurm or
    Open MPI with more than one task, or with JAX_COORDINATOR_ADDRESS in the environment.

    Args:
      coordinator: 'host:port' of process 0, the same in all processes.
      num_processes: how many there are.
      process_id: which of them this is.
      heartbeat_s: seconds of silence after which a process is taken for dead.
      interruptible: SIGTERM is kept for an `Interrupt`; False leaves it to end the process.
      detect: join as JAX finds out by itself: on Slurm, Open MPI, Kubernetes, TPU pods.

    Raises:
      UserError: arguments that do not belong together, processes that cannot be reached, or no
        cluster that JAX knows.
    """
    given = [x for x in (coordinator, num_processes, process_id) if x is not None]
    if detect and given:
        raise UserError("--distributed finds out what --coordinator and its like say: leave them")
    if not given:
        if not detect and not _in_cluster(os.environ):
            return
    elif coordinator is None or num_processes is None or process_id is None:
        raise UserError(
            f"coordinator={coordinator!r}, num_processes={num_processes}, "
            f"process_id={process_id}: give all three or none"
        )
    elif not 0 <= process_id < num_processes:
        raise UserError(f"process_id={process_id} is not in 0..{num_processes - 1}")
    jax.config.update("jax_enable_preemption_service", interruptible)
    _relay_stderr()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=heartbeat_s,
            shutdown_timeout_seconds=_SHUTDOWN_S,
            initialization_timeout=_JOIN_S,
        )
    except (ValueError, RuntimeError) as error:
        if str(error).startswith("coordinator_address"):  # was not found
            raise UserError(_NO_CLUSTER) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"processes cannot be joined: {reason}") from error
    if jax.process_count() > 1:
        sys.excepthook = _end_at_once


def leave(code: int) -> None:
    """Ends a process that failed, without waiting for others or for what is still compiled."""
    if jax.process_count() > 1:
        # All leave at one step; the first, to whom they listen, then goes as the last.
        if signals.is_code(code) or code == failures.NotFinite.code:
            with contextlib.suppress(Exception):
                jax.distributed.shutdown()
    elif not programs.is_compiling():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


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


def first(action: Callable[[], None], refusal: str) -> None:
    """Lets process 0 do what one must do for all, such as make the run folder.

    Args:
      action: called in process 0 alone.
      refusal: the line of the others where it fails.

    Raises:
      UserError: in the others; what the action raised in process 0.
    """
    error = None
    if jax.process_index() == 0:
        try:
            action()
        except Exception as raised:
            error = raised
    failed = total(int(error is not None))
    if error is not None:
        raise error
    if failed:
        raise UserError(refusal)


def total(count: int) -> int:
    """Adds up a number over all processes, each of which must ask."""
    if jax.process_count() == 1:
        return count
    return int(np.sum(multihost_utils.process_allgather(np.int32(count))))


class Interrupt:
    """A question in place of SIGTERM and Ctrl-C, which the loop asks: `with Interrupt() as i`.

    The first signal makes `requested` true, so that the state can be saved; a second one kills.
    In a run of several processes a signal to any of them is a preemption notice that JAX passes
    on, and all learn of it at the same question.

    Attributes:
      number: the signal's, once it came; SIGTERM's where another process got it.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._questions = 0  # what JAX counts: it agrees on the one after the latest
        self._agreed = self._told = False
        self._taken: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

    def __enter__(self) -> "Interrupt":
        # With jax.distributed, SIGTERM is JAX's own.
        ours = [n for n in signals.NUMBERS if n != signal.SIGTERM or not _distributed()]
        self._taken = signals.taken(self._handle, ours)
        self._taken.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._taken.__exit__(*exception)

    def requested(self) -> bool:
        """Returns whether to save and stop.

        With `jax.distributed` every process must ask equally often, as each question counts.
        """
        if not _distributed():
            return self.number is not None
        if not self._agreed:
            self._questions += 1
            self._agreed = multihost_utils.reached_preemption_sync_point(self._questions)
            if self._agreed and self.number is None:
                self.number = signal.SIGTERM
        return self._agreed

    def _handle(self, number: int) -> None:
        if self._told:
            signals.stop(number, "stopped at once; the same command goes on from what is saved")
        self._told, self.number = True, number
        signals.say("saving and stopping; once more to stop at once")
        if _distributed():
            os.kill(os.getpid(), signal.SIGTERM)  # becomes the notice to all


def _relay_stderr() -> None:
    """Lets another program write this process's stderr; see `relay`."""
    reader, writer = os.pipe()
    # A group of its own keeps a terminal's Ctrl-C away from it; it ends when this process has.
    subprocess.Popen([sys.executable, "-ES", relay.__file__], stdin=reader, process_group=0)
    os.dup2(writer, sys.stderr.fileno())
    os.close(reader)
    os.close(writer)


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
    if _is_loss(error):
        print(f"launch.py: {relay.LOST}", file=sys.stderr)
    else:
        print(f"process {jax.process_index()} failed:", file=sys.stderr)
        traceback.print_exception(kind, error, trace)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _is_loss(error: BaseException | None) -> bool:
    """Returns whether an error comes from another process that is not there any more."""
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError) and _SIGNS_OF_LOSS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False
