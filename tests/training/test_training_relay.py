"""A lost partner is one line of stderr, whoever speaks first."""

import subprocess
import sys

from vision_jax.training import relay

LINE = f"launch.py: {relay.LOST}\n".encode()
POLLED = (
    b"E1130 02:20:52.578858   28334 coordination_service_agent.cc:289] Polled an error from "
    b"coordination service (this can be an error from this or another task).\n"
)
FATAL = (
    b"F1130 02:20:52.579529   28334 client.h:80] Terminating process because the JAX distributed "
    b"service detected fatal errors.\n"
)
AFTER = b':UNKNOWN:Error received from peer  {grpc_message:"Socket closed", grpc_status:14}\n'
NOTICE = b"W1130 02:27:54.559863    5746 preemption_notifier.cc:90] SIGTERM caught at 2026-11-30\n"
OTHER = b"W1130 02:27:54.559863    5746 cpu_compiler.cc:90] something else\n"


def passed(*lines):
    return b"".join(relay.passed_on(lines))


def test_what_the_service_says_becomes_one_line():
    assert passed(b"a\n", POLLED, FATAL, AFTER) == b"a\n" + LINE
    assert passed(FATAL, AFTER, b"Traceback\n") == LINE
    assert passed(LINE, POLLED, FATAL) == LINE


def test_other_lines_pass_but_notices_of_signals():
    text = [b"Traceback (most recent call last):\n", b"ValueError: client.h\n", OTHER, b"no end"]
    assert passed(NOTICE, *text) == b"".join(text)


def test_the_program_passes_lines_on_to_their_end():
    done = subprocess.run(
        [sys.executable, "-ES", relay.__file__],
        input=b"first\n" + POLLED + AFTER * 10_000,
        stderr=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    assert done.stderr == b"first\n" + LINE
