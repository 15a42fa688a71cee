"""Runs that a signal, a full disk or a second command meets: one line, and nothing is lost."""

import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from tests.hall.test_resume import bits, run, start, undisturbed, wait_for_step
from vision_jax.training import relay

__all__ = ["undisturbed"]  # the fixture


def one_line(out: str) -> str:
    """Returns the line of the program's own, of which there must be one."""
    assert "Traceback" not in out, out
    (line,) = (text for text in out.splitlines() if text.startswith("launch.py: "))
    return line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_start_up_is_one_line(tmp_path, number):
    process = start(tmp_path)
    first = process.stdout.readline()  # the imports lie behind it, reading and compiling before it
    process.send_signal(number)
    out = first + process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, out
    assert one_line(out) == ("launch.py: interrupted; the same command goes on from what is saved")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 10])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_is_one_line(tmp_path, number, seconds):
    process = start(tmp_path, "--config.steps=5000")
    time.sleep(seconds)
    process.send_signal(number)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + number, out
    assert "the same command goes on" in one_line(out)
    assert not list(tmp_path.glob("*.half"))


@pytest.mark.slow
def test_a_second_command_is_told_who_trains(tmp_path):
    first = start(tmp_path, "--config.steps=5000")
    wait_for_step(tmp_path, 1, first)
    second = start(tmp_path, "--config.steps=5000")
    out = second.communicate(timeout=300)[0]
    assert second.returncode == 2, out
    assert f"'{tmp_path}' is in use by process {first.pid} on " in one_line(out)
    first.send_signal(signal.SIGTERM)
    out = first.communicate(timeout=300)[0]
    assert first.returncode == 143 and "interrupted at step" in one_line(out)


@pytest.mark.slow
@pytest.mark.parametrize("size", range(1200, 3600, 400))
def test_a_small_disk_fills_at_any_moment(tmp_path, undisturbed, size):
    """A disk of so many KiB, mounted for the test."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("disks cannot be mounted here")
    try:
        process = start(tmp_path / "run")
        out = process.communicate(timeout=300)[0]
        assert process.returncode == 2, out
        assert "No space left on device" in one_line(out)
        subprocess.run(["mount", "-o", "remount,size=64m", str(tmp_path)], check=True)
        run(tmp_path / "run")
        assert bits(tmp_path / "run") == undisturbed
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def pair(folder: pathlib.Path) -> list[subprocess.Popen]:
    """Starts a run of two processes that saves at every step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = ("steps=4000", "eval_every=30", "checkpoint_every=1", "log_every=1")
    return [
        start(
            folder,
            *(f"--config.{setting}" for setting in settings),
            *("--coordinator", address, "--num_processes", "2", "--process_id", str(i)),
        )
        for i in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("victims", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", [1, 17, 30])
def test_two_processes_stop_at_one_step_whoever_gets_the_signal(tmp_path, victims, number, step):
    workers = pair(tmp_path)
    wait_for_step(tmp_path, step, workers[0])
    for victim in victims:
        workers[victim].send_signal(number)
    outs = [worker.communicate(timeout=60)[0] for worker in workers]
    assert all(worker.returncode in (130, 143) for worker in workers), outs
    lines = [one_line(out) for out in outs]
    assert lines[0] == lines[1] and "interrupted at step" in lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_dead_partner_is_one_line(tmp_path, victim):
    workers = pair(tmp_path)
    wait_for_step(tmp_path, 5, workers[0])
    workers[victim].kill()
    outs = [worker.communicate(timeout=120)[0] for worker in workers]
    assert workers[1 - victim].returncode == 1
    assert one_line(outs[1 - victim]) == f"launch.py: {relay.LOST}"
