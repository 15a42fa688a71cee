"""A run that is killed and resumed ends with the same bits as one that was left alone."""

import functools
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from vision_jax.config import build, load, override
from vision_jax.training import Checkpoints, initial

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 24
FILE_LIMIT = 400_000  # bytes, less than a checkpoint's arrays take
COMMAND = (
    sys.executable,
    "launch.py",
    "--config",
    "experiments/quickstart.py:smoke",
    f"--config.steps={STEPS}",
    "--config.eval_every=7",
    "--config.checkpoint_every=5",
    "--config.task.mixup=0.2",
)


def start(folder: pathlib.Path, *extra: str) -> subprocess.Popen:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
    return subprocess.Popen(
        [*COMMAND, "--workdir", str(folder), *extra],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(folder: pathlib.Path, *extra: str) -> str:
    process = start(folder, *extra)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    return out


def wait_for_step(folder: pathlib.Path, step: int, process: subprocess.Popen) -> None:
    """Returns when the run has logged a step."""
    file = folder / "metrics.jsonl"
    for _ in range(30_000):
        if file.exists() and f'"step": {step},' in file.read_text():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached")


@functools.cache
def empty_state():
    """A state of the experiment, for its structure."""
    config = load(COMMAND[3])
    for override_ in COMMAND[4:]:
        override(config, *override_.removeprefix("--config.").split("="))
    return initial.state(build(config))[1]


def bits(folder: pathlib.Path) -> tuple[bytes, list[bytes]]:
    """metrics.jsonl, and every array of the last checkpoint, optimizer and all."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    state, _ = checkpoints.restore(empty_state(), STEPS)
    checkpoints.close()
    assert int(state.step) == STEPS
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]
    return (folder / "metrics.jsonl").read_bytes(), arrays


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return bits(folder)


@pytest.mark.core
def test_killed_and_resumed(tmp_path, undisturbed):
    process = start(tmp_path)
    wait_for_step(tmp_path, 13, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "DONE").exists()
    run(tmp_path)
    assert bits(tmp_path) == undisturbed


@pytest.mark.slow
def test_killed_and_resumed_in_programs_of_several_updates(tmp_path):
    """With checkpoints that fall due within a program, and settings that may change on resume."""
    several = "--config.steps_per_dispatch=4"
    run(tmp_path / "straight", several)
    process = start(tmp_path / "killed", several)
    wait_for_step(tmp_path / "killed", 13, process)
    process.kill()
    process.communicate()
    out = run(
        tmp_path / "killed",
        several,
        "--config.checkpoint_every=2",
        "--config.train.device_cache=True",
    )
    assert "resumed from step" in out and "device cache" in out
    assert bits(tmp_path / "killed") == bits(tmp_path / "straight")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits(tmp_path, undisturbed, number):
    process = start(tmp_path)
    wait_for_step(tmp_path, 8, process)
    process.send_signal(number)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + number, out
    assert "Traceback" not in out
    assert "the same command goes on" in out
    out = run(tmp_path)
    assert "resumed from step" in out
    assert bits(tmp_path) == undisturbed


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_space(tmp_path, undisturbed):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, before[1]))
    try:
        process = start(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 2 and "Traceback" not in out, out
    (line,) = (text for text in out.splitlines() if text.startswith("launch.py: "))
    assert line.startswith(f"launch.py: '{tmp_path}/checkpoints' cannot be written: File too large")
    assert "free some space there" in line
    run(tmp_path)
    assert bits(tmp_path) == undisturbed


def test_not_finite_stops_with_the_last_good_checkpoint(tmp_path):
    process = start(tmp_path, "--config.optimizer.schedule.then.value=1e30")
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 3, out
    assert "Traceback" not in out
    line = next(text for text in out.splitlines() if text.startswith("launch.py:"))
    for part in ("at step", "last seen finite at", "checkpoint", "try a lower learning rate"):
        assert part in line


def test_the_operation_that_makes_a_nan_is_found(tmp_path):
    flags = "--config.optimizer.schedule.then.value=1e30", "--config.debug_nans=True"
    process = start(tmp_path, *flags)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 3, out
    assert "Traceback" not in out
    line = next(text for text in out.splitlines() if text.startswith("launch.py:"))
    assert "(nan)" in line and ".py:" in line


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(tmp_path, undisturbed, seed):
    """SIGKILL at random moments, start-up and saving among them, until it gets through."""
    random = np.random.default_rng(seed)
    for _ in range(40):
        process = start(tmp_path)
        try:
            process.communicate(timeout=random.uniform(2, 14))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    else:
        run(tmp_path)
    assert json.loads((tmp_path / "DONE").read_text())["step"] == STEPS
    assert bits(tmp_path) == undisturbed
