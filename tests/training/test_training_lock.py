"""One run folder, one run: who holds it is told, and who is dead holds nothing."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from vision_jax.config import UserError
from vision_jax.training import lock

ROOT = pathlib.Path(__file__).parents[2]
HOLD = """
import pathlib, sys, time
from vision_jax.training import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), "600"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def fast(monkeypatch):
    for name, seconds in (("_BEAT_S", 0.05), ("_WATCH_S", 0.5), ("_SETTLE_S", 0.02)):
        monkeypatch.setattr(lock, name, seconds)


@pytest.fixture
def no_flock(monkeypatch, fast):
    def refused(file, how):
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)


def written(folder, **changes):
    """Writes a lock file as a process that was killed leaves it."""
    folder.mkdir(exist_ok=True)
    content = {**lock._ourselves(), "pid": 999_999, "started": 1, **changes}
    (folder / lock.FILE).write_text(json.dumps(content))
    return content


def test_the_holder_is_named_and_a_killed_one_is_taken_over(tmp_path, holder):
    with pytest.raises(UserError) as error, lock.held(tmp_path):
        pass
    line = str(error.value)
    assert line.startswith(f"run folder '{tmp_path}' is in use by process {holder.pid} on ")
    assert socket.gethostname() in line and line.endswith("or choose another --workdir")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    said = []
    with lock.held(tmp_path, said.append):
        assert json.loads((tmp_path / lock.FILE).read_bytes())["pid"] == os.getpid()
    assert not said  # of the same machine nobody need be watched
    assert (tmp_path / lock.FILE).read_bytes() == b""


def test_it_is_released_by_any_end_and_within_one_process_holds_too(tmp_path):
    refused = pytest.raises(UserError, match=f"in use by process {os.getpid()} on")
    with pytest.raises(KeyError), lock.held(tmp_path):
        with refused, lock.held(tmp_path):
            pass
        raise KeyError
    with lock.held(tmp_path):
        pass
    assert not [t for t in threading.enumerate() if t.name == "run folder's lock"]


def test_a_dead_process_of_another_machine_is_watched_first(tmp_path, fast):
    written(tmp_path, machine="another", host="node7")
    said = []
    with lock.held(tmp_path, said.append):
        pass
    (line,) = said
    assert "to see whether process 999999 on node7" in line


def test_a_living_process_of_another_machine_is_respected(tmp_path, fast):
    """The file system passes no locks on; the stamp is renewed as the holder would."""
    written(tmp_path, machine="another", host="node7")
    stop = threading.Event()

    def beat():
        while not stop.wait(0.05):
            os.utime(tmp_path / lock.FILE)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        refused = pytest.raises(UserError, match="process 999999 on node7")
        with refused, lock.held(tmp_path, lambda line: None):
            pass
    finally:
        stop.set()
        thread.join()


def test_a_holder_renews_its_stamp(tmp_path, fast):
    with lock.held(tmp_path):
        before = (tmp_path / lock.FILE).stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while (tmp_path / lock.FILE).stat().st_mtime_ns == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_without_locks_the_file_decides(tmp_path, no_flock):
    refused = pytest.raises(UserError, match=f"in use by process {os.getpid()} on")
    with lock.held(tmp_path), refused, lock.held(tmp_path):
        pass
    written(tmp_path)  # no process has this number
    with lock.held(tmp_path):
        pass
    written(tmp_path, pid=os.getpid(), started=1)  # its number has another process now
    with lock.held(tmp_path):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"pid": 1}', bytes(30)])
def test_a_damaged_lock_holds_nobody(tmp_path, content):
    (tmp_path / lock.FILE).write_bytes(content)
    with lock.held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    refused = pytest.raises(UserError, match=r"file/run' cannot be written: Not a directory")
    with refused, lock.held(tmp_path / "file" / "run"):
        pass


def test_a_holder_that_stood_still_yields(tmp_path):
    """It was taken for dead on a file system without locks, and must not write any more."""
    program = HOLD.replace("with lock", "lock._BEAT_S = 0.05\nwith lock")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), "60"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    written(tmp_path, host="node7", machine="another")
    _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "was taken over by process 999999 on node7" in error and error.count("\n") == 1
