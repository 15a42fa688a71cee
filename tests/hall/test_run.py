"""The training loop on real runs: devices, processes, averaging, plateau, weights, stages."""

import dataclasses
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from vision_jax import run, weights
from vision_jax.config import UserError, build, load, node, override
from vision_jax.data import ContextTransform
from vision_jax.training import (
    Checkpoints,
    Stage,
    failures,
    initial,
    optimizer,
    restore_params,
    schedule,
)

pytestmark = pytest.mark.usefixtures("at_the_root")


def config(**changes):
    """The quickstart's smoke with plain SGD: Adam would turn a last bit into a step of its own."""
    tree = load("experiments/quickstart.py:smoke")
    tree.optimizer.rule = node(optimizer.Sgd)
    tree.optimizer.schedule = node(schedule.Constant, value=0.01)
    tree.baselines = {}
    for path, value in changes.items():
        override(tree, path.replace("__", "."), value)
    return tree


def rows(folder: pathlib.Path, name: str) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def params(folder: pathlib.Path, tree) -> dict:
    state = initial.state(build(tree))[1]
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    restored, _ = checkpoints.restore(state)
    checkpoints.close()
    return restored


@dataclasses.dataclass(frozen=True)
class Watch(ContextTransform):
    """A transform that notes how far the training is."""

    seen: ClassVar[dict[int, float]] = {}

    def __call__(self, example, rng, context):
        self.seen[context.step] = context.progress
        return example


def test_transforms_know_how_far_the_training_is(tmp_path):
    tree = config(steps=4, eval_every=4)
    tree.train.transforms = (node(Watch),)
    run.train(tree, tmp_path)
    assert [Watch.seen[step] for step in range(4)] == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("how", ["pmap", "jit"])
def test_the_mapping_over_devices_does_not_matter(tmp_path, how):
    for name in ("shard_map", how):
        run.train(config(parallel=name, task__mixup=0.2), tmp_path / name)
    expected, found = (rows(tmp_path / name, "train/loss") for name in ("shard_map", how))
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    if how == "pmap":
        assert found == expected


def test_a_run_goes_on_under_another_mapping(tmp_path, train_until_saved):
    run.train(config(), tmp_path / "straight")
    train_until_saved(config(), tmp_path / "broken")
    run.train(config(parallel="pmap"), tmp_path / "broken")
    files = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("straight", "broken")]
    assert files[0] == files[1]


def test_averaged_variables_are_what_is_evaluated(tmp_path):
    tree = config()
    tree.ema = node(optimizer.Ema, decay=0.5, warm_up=False)
    run.train(tree, tmp_path)
    state = params(tmp_path, tree)
    kernel = ("params", "head", "fc", "kernel")
    averaged, last = state.ema, {"params": state.params}
    for key in kernel:
        averaged, last = averaged[key], last[key]
    assert not np.array_equal(averaged, last)
    tree.ema = None
    run.train(tree, tmp_path / "plain")
    assert rows(tmp_path, "train/loss") == rows(tmp_path / "plain", "train/loss")
    assert rows(tmp_path, "eval/loss") != rows(tmp_path / "plain", "eval/loss")


def test_plateau_lowers_the_rate_and_its_counters_are_saved(tmp_path):
    tree = config(eval_every=1)
    tree.optimizer.plateau = node(
        schedule.ReduceOnPlateau, metric="eval/loss", mode="max", factor=0.5, patience=0
    )
    tree.optimizer.schedule = node(schedule.Constant, value=1e-8)
    run.train(tree, tmp_path)
    rates = rows(tmp_path, "train/lr")
    losses = rows(tmp_path, "eval/loss")
    best, scale, expected = losses[0], 1.0, [1e-8]
    for loss in losses:
        if expected[1:] or loss is not losses[0]:
            improved = loss > best + 1e-4 * abs(best)
            best, scale = (loss, scale) if improved else (best, scale * 0.5)
        expected.append(1e-8 * scale)
    np.testing.assert_allclose(rates, expected[: len(rates)], rtol=1e-5)
    assert np.isclose(float(params(tmp_path, tree).plateau.scale), scale)


def test_foreign_weights_and_a_changed_head(tmp_path, capsys):
    tree = config()
    experiment = build(tree)
    model = experiment.task.model
    other = model.clone(head=model.head.clone(num_classes=5))
    variables = other.init(jax.random.key(3), jnp.zeros((1, 32, 32, 3)))
    file = tmp_path / "weights.safetensors"
    save_file(weights.to_reference(jax.tree.map(np.asarray, variables), other), str(file))
    tree = config(init__weights=str(file))
    found, lines = initial.variables(build(tree))
    np.testing.assert_array_equal(
        found["params"]["backbone"]["conv1"]["conv"]["kernel"],
        variables["params"]["backbone"]["conv1"]["conv"]["kernel"],
    )
    assert found["params"]["head"]["fc"]["kernel"].shape[-1] == 8
    assert any(line.startswith("init: fresh: ") and "head/fc/kernel" in line for line in lines)
    skipped = initial.variables(
        build(config(init__weights=str(file), init__reinitialize="backbone/conv1/.*"))
    )
    assert not np.array_equal(
        skipped[0]["params"]["backbone"]["conv1"]["conv"]["kernel"],
        variables["params"]["backbone"]["conv1"]["conv"]["kernel"],
    )
    with pytest.raises(UserError, match=r"init\.reinitialize"):
        initial.variables(build(config(init__weights=str(file), init__reinitialize="nothing")))


def test_stages_run_in_sequence_each_from_the_one_before(tmp_path):
    tree = config()
    tree.stages = (
        node(Stage, name="all"),
        node(
            Stage,
            name="head",
            changes=(("init.weights", "stage:all"), ("optimizer.trainable", ("head/.*",))),
        ),
    )
    run.train(tree, tmp_path)
    fresh = initial.variables(build(config()))[0]
    first = restore_params(tmp_path / "all" / "checkpoints", fresh).variables["params"]
    second = params(tmp_path / "head", config(optimizer__trainable=("head/.*",))).params
    jax.tree.map(np.testing.assert_array_equal, first["backbone"], second["backbone"])
    assert not np.array_equal(first["head"]["fc"]["kernel"], second["head"]["fc"]["kernel"])
    tree.stages[1].changes = (("init.weights", "stage:al"),)
    with pytest.raises(UserError, match="no earlier stage 'al' - did you mean all"):
        run.train(tree, tmp_path)


SEVERAL = ("--config.steps_per_dispatch=2", "--config.train.device_cache=True")


def told(i: int, port: int) -> tuple[list[str], dict[str, str]]:
    """Returns flags and variables of process i of two that are told of each other."""
    flags = ["--coordinator", f"127.0.0.1:{port}", "--num_processes", "2", "--process_id", str(i)]
    return flags, {}


def of_slurm(i: int, port: int) -> tuple[list[str], dict[str, str]]:
    """Returns flags and variables of process i of two that Slurm starts on one node."""
    return ["--distributed"], {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(i),
        "SLURM_LOCALID": str(i),
        "JAX_COORDINATOR_PORT": str(port),
    }


@pytest.mark.parametrize(
    ("start", "changes"), [(of_slurm, ()), pytest.param(told, SEVERAL, marks=pytest.mark.slow)]
)
def test_two_processes_equal_one(tmp_path, start, changes):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "launch.py", "--config", "experiments/quickstart.py:smoke"]
    command += ["--workdir", str(tmp_path / "two"), "--config.task.mixup=0.2"]
    command += ["--config.optimizer.rule.eps=1.0"]  # Adam with a small one amplifies last bits
    command += changes
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = [
        subprocess.Popen(
            [*command, *start(i, port)[0]],
            env=environment | start(i, port)[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    tree = load("experiments/quickstart.py:smoke")
    override(tree, "task.mixup", 0.2)
    override(tree, "optimizer.rule.eps", 1.0)
    run.train(tree, tmp_path / "one")
    for name in ("train/loss", "eval/loss"):
        one, two = rows(tmp_path / "one", name), rows(tmp_path / "two", name)
        np.testing.assert_allclose(two, one, rtol=2e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--distributed: JAX recognises no cluster here (Slurm, Open MPI, Kubernetes, a TPU"),
        (("--num_processes", "2"), "--distributed finds out what --coordinator and its like say"),
    ],
)
def test_where_no_processes_can_be_found_it_says_so(tmp_path, more, message):
    command = [sys.executable, "launch.py", "--config", "experiments/quickstart.py:smoke"]
    command += ["--workdir", str(tmp_path / "run"), "--distributed", *more]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_metric_that_is_not_measured_is_named(tmp_path):
    with pytest.raises(
        UserError, match=r"best='eval/top2' is not measured - did you mean eval/top1"
    ):
        run.train(config(best="eval/top2"), tmp_path)


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    tree = config(log_every=1000, optimizer__schedule__value=1e38)
    with pytest.raises(failures.NotFinite) as error:
        run.train(tree, tmp_path)
    assert "no checkpoint was written yet" in str(error.value)
    assert not (tmp_path / "DONE").exists()
