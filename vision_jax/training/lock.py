"""One run folder, one run: a lock that dead processes do not hold.

The system's own lock (flock) is held as long as the process lives, however it ends, and decides
between processes that the same file system serves with locks: those of one machine, and those of
others where it passes locks on (NFS does by default, Lustre with the option `flock`). Elsewhere the
file's content decides: who holds it, and a time stamp that a living holder renews. For that the
file system must show one client's renamed and touched files to the others within `_WATCH_S`.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from vision_jax.config import UserError
from vision_jax.system import disk, signals

FILE = ".lock"  # within the run folder
_BEAT_S = 5.0  # between renewals of the time stamp
_WATCH_S = 16.0  # how long one of another machine is watched for a renewal
_SETTLE_S = 0.3  # until two that took a lock at once both see who was the last
# What file systems answer that have no locks, or none now.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def held(folder: pathlib.Path, say: Callable[[str], None] = print) -> Iterator[None]:
    """Keeps other runs out of a run folder, which is made if it is missing.

    Args:
      folder: the run's. Who only reads there needs no lock.
      say: is told why one waits.

    Raises:
      UserError: another process, which is named, trains there, or the folder cannot be written.
    """
    disk.make_folder(folder)
    with disk.writing(folder):
        lock = _take(folder, say)
    try:
        yield
    finally:
        lock.release()


class _Lock:
    """A lock file that is ours, and the thread that says so from time to time."""

    def __init__(self, path: pathlib.Path, file: int, content: bytes):
        self._path, self._file, self._content = path, file, content
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run folder's lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Lets others in."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # the disk may be gone, and the lock with it
            if self._path.read_bytes() == self._content:
                os.truncate(self._path, 0)
        os.close(self._file)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            with contextlib.suppress(OSError):  # a disk that is gone is noticed by who writes
                content = self._path.read_bytes()
                if content == self._content:
                    os.utime(self._path)
                elif holder := _read(content):
                    # Two would write the same files: the one that was taken for dead yields.
                    signals.say(
                        f"run folder {str(self._path.parent)!r} was taken over by {_name(holder)} "
                        "while this process stood still; it ends"
                    )
                    os._exit(UserError.code)


def _take(folder: pathlib.Path, say: Callable[[str], None]) -> _Lock:
    """Takes the lock; raises UserError if a living process has it."""
    path = folder / FILE
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        has_locks = _flock(file)
        if has_locks is None:
            raise _refusal(folder, _patiently(path))
        holder = _read(path.read_bytes())
        if holder is not None and _lives(path, holder, has_locks, say):
            raise _refusal(folder, holder)
        content = json.dumps(_ourselves()).encode()
        if has_locks:
            os.ftruncate(file, 0)
            os.pwrite(file, content, 0)
            os.fsync(file)
        else:
            _replace(path, content)
            time.sleep(_SETTLE_S)
            if path.read_bytes() != content:
                raise _refusal(folder, _read(path.read_bytes()))
        return _Lock(path, file, content)
    except BaseException:
        os.close(file)
        raise


def _flock(file: int) -> bool | None:
    """Asks the system for the lock: True if we have it, None if another has it, False if it can
    have none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _lives(
    path: pathlib.Path, holder: dict[str, Any], has_locks: bool, say: Callable[[str], None]
) -> bool:
    """Returns whether the process that the file names still trains there."""
    if holder["machine"] == _machine():
        # The system would have refused us the lock of one that lives.
        return not has_locks and _started(holder["pid"]) == holder["started"]
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    say(f"waiting {_WATCH_S:.0f} s to see whether {_name(holder)} still trains in {path.parent}")
    end = time.monotonic() + _WATCH_S
    while time.monotonic() < end:
        time.sleep(min(1.0, _WATCH_S / 10))
        with open(path, "rb") as again:  # opening asks the file system's server anew
            if (again.read(), os.fstat(again.fileno()).st_mtime_ns) != before:
                return True
    return False


def _ourselves() -> dict[str, Any]:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "machine": _machine(),
        "started": _started(os.getpid()),
        "since": now,
        "command": " ".join(sys.argv),
    }


def _machine() -> str:
    """Names the running system, and the part of it whose process numbers are ours (a container's
    are not)."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> int | None:
    """Returns when a process of this machine began, in the system's ticks; None if it is dead."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _read(content: bytes) -> dict[str, Any] | None:
    """Reads who holds a lock; None where nobody does, or the file is damaged."""
    try:
        holder = json.loads(content)
    except ValueError:
        return None
    keys = {"pid", "host", "machine", "started", "since", "command"}
    return holder if isinstance(holder, dict) and keys <= holder.keys() else None


def _patiently(path: pathlib.Path) -> dict[str, Any] | None:
    """Reads who holds a lock, also where he has only just taken it."""
    holder = _read(path.read_bytes())
    if holder is None:
        time.sleep(_SETTLE_S)
        holder = _read(path.read_bytes())
    return holder


def _replace(path: pathlib.Path, content: bytes) -> None:
    half = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}")
    half.write_bytes(content)
    os.replace(half, path)


def _name(holder: dict[str, Any]) -> str:
    return f"process {holder['pid']} on {holder['host']} (since {holder['since']})"


def _refusal(folder: pathlib.Path, holder: dict[str, Any] | None) -> UserError:
    """Says who holds the folder, and what to do."""
    who = "another process" if holder is None else _name(holder)
    return UserError(
        f"run folder {str(folder)!r} is in use by {who}; wait for its end, or choose another "
        "--workdir"
    )
