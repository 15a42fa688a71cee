"""Signals: one line, the right code, whatever the main thread does; and handlers are given back."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from vision_jax.system import signals

ROOT = pathlib.Path(__file__).parents[2]
BEGIN = (
    "import signal, sys, time; from vision_jax.system import signals; signals.end_at_once('prog');"
)
# What a main thread may be at when Python's own handlers would come too late, or be dropped.
STATES = {
    "python": "print('up', flush=True)\nwhile True: pass",
    "sleep": "print('up', flush=True); time.sleep(60)",
    # A long call of C that lets other threads run, and is not broken off by a signal.
    "call": (
        "import ctypes; p = ctypes.CDLL(None); print('up', flush=True)\n"
        "end = time.time() + 60\nwhile time.time() < end: p.usleep(60_000_000)"
    ),
    "collector": (
        "import gc\ngc.callbacks.append(lambda *a: time.sleep(0.05)); print('up', flush=True)\n"
        "while True: gc.collect()"
    ),
    "run": (  # which would save first, but for `at_once`
        "pass\nwith signals.taken(lambda number: None), signals.at_once():\n"
        "    print('up', flush=True); time.sleep(60)"
    ),
    "import": (
        "sys.meta_path.insert(0, type('F', (), {'find_spec': lambda *a: time.sleep(60)})())\n"
        "print('up', flush=True)\nimport nothing_of_that_name"
    ),
}


def start(program, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", signals.NUMBERS)
@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_at_once_with_one_line(state, number):
    process = start(BEGIN + STATES[state])
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    began = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode == 128 + number
    assert error == "prog: interrupted; the same command goes on from what is saved\n"


def test_what_waited_over_an_exec_is_not_lost():
    program = (
        "import os, signal, sys; from vision_jax.system import signals\n"
        "if len(sys.argv) == 1:\n"
        "    signals.hold(); os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.execv(sys.executable, [*sys.orig_argv, 'again'])\n"
        "signals.end_at_once('prog')\nprint('too far')"
    )
    process = start(program)
    out, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "too far" not in out
    assert error.count("\n") == 1


def test_nohup_is_respected():
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    process = start(ignore + BEGIN + "print('up', flush=True); time.sleep(0.5); print('end')")
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == "end\n"


def test_the_latest_action_counts_and_all_is_given_back():
    before = [signal.getsignal(number) for number in signals.NUMBERS]
    got = []
    with signals.taken(lambda number: got.append(("outer", number))):
        with signals.taken(lambda number: got.append(("inner", number))):
            os.kill(os.getpid(), signal.SIGTERM)
            assert got == [("inner", signal.SIGTERM)]
        os.kill(os.getpid(), signal.SIGINT)
    assert got[1:] == [("outer", signal.SIGINT)]
    assert [signal.getsignal(number) for number in signals.NUMBERS] == before
    assert signal.set_wakeup_fd(-1) == -1
    deadline = time.monotonic() + 5
    while any(thread.name == "signals" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_other_threads_leave_signals_alone():
    def take():
        with signals.taken(lambda number: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    before, seen = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_forked_child_does_not_answer_for_its_parent():
    program = BEGIN + (
        "import os\nchild = os.fork()\n"
        "if not child: time.sleep(60)\n"
        "os.kill(child, signal.SIGTERM); print(os.waitpid(child, 0)[1], flush=True)"
    )
    process = start(program)
    out, error = process.communicate(timeout=30)
    assert (out, error, process.returncode) == ("15\n", "", 0)


def test_codes_of_children():
    assert all(signals.is_code(code) for code in (129, 130, 143, -2, -15))
    assert not any(signals.is_code(code) for code in (0, 1, 2, 3, 137, -9))
