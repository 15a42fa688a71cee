"""Damaged and hostile files: read, or refused in one line; nothing crashes, hangs or is executed.

Every input is a function of its format and number: `python -m tests.fuzz.child coco 17 1` repeats
one.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
COUNTS = {
    "pth_zip": 200,
    "pth_legacy": 150,
    "pickle": 200,
    "safetensors": 200,
    "darknet": 120,
    "caffe": 200,
    "coco": 250,
    "results": 150,
    "labelme": 150,
    "voc": 200,
    "csv": 150,
    "yolo": 150,
    "picture": 250,
    "run_folder": 150,
    "checkpoint": 80,
}
BATCH_SECONDS = 240  # for all inputs of a format


def read_inputs(name, first, count):
    """Has a process read inputs, and another go on where one ends.

    Returns:
      Faults by number, and how many inputs were read and refused.
    """
    faults, outcomes = {}, collections.Counter()
    end = first + count
    while first < end:
        output, code = _run(name, first, end - first)
        last = first
        for line in output:
            last = line.get("number", last)
            if "fault" in line:
                faults[last] = line["fault"]
            if "outcome" in line:
                outcomes[line["outcome"]] += 1
        if code:
            faults[last] = f"the process ended with {code}: {output[-1:]}"
        first = last + 1
        if len(faults) > 20:
            break
    return faults, outcomes


def _run(name, first, count):
    """Returns a process's lines, and its exit code."""
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(first), str(count)]
    variables = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, timeout=BATCH_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        return _lines(error.stdout or b""), "too much time"
    return _lines(done.stdout), done.returncode and f"{done.returncode} {done.stderr[-300:]!r}"


def _lines(output):
    found = []
    for line in output.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # what a reader prints
    return [line for line in found if isinstance(line, dict)]


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_damaged_inputs_are_read_or_refused(name):
    faults, outcomes = read_inputs(name, 0, COUNTS[name])
    assert not faults, "\n".join(f"{name} {number}: {fault}" for number, fault in faults.items())
    assert outcomes.total() == COUNTS[name] and outcomes["read"] >= 1


def test_there_are_enough_inputs():
    assert sum(COUNTS.values()) >= 2000


def test_a_few_damaged_inputs_are_read_or_refused():
    faults, outcomes = read_inputs("safetensors", 0, 25)
    assert not faults and outcomes["refused"] >= 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("executes", "executed: the canary is there"),
        ("starts", "forbidden: subprocess.Popen"),
        ("raises", "KeyError: 'a'"),
        ("says_two_lines", "no terminal should get"),
        ("warns", "UserWarning: x"),
        ("crashes", "the process ended with -11"),
        ("takes_memory", "MemoryError"),
        ("recurses", "ValueError: recursion limit"),
        ("hangs", "the process ended with -14"),
    ],
)
def test_faults_would_be_seen(name, words):
    faults, outcomes = read_inputs(f"control_{name}", 0, 2)
    assert list(faults) == [1] and words in faults[1] and outcomes["read"] == 1
