"""Sweeps: planned, run in processes of their own, taken up again, put into tables."""

import csv
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import launch
from vision_jax import sweep
from vision_jax.config import build
from vision_jax.report import SweepRow, read_sweep, write_sweep
from vision_jax.tasks.augment import Flip
from vision_jax.training import Sgd

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = """
from experiments import (quickstart)
from vision_jax.config import node
from vision_jax.report import Claim
from vision_jax.tasks import augment
from vision_jax.training import Stage, optimizer

def get_config(arg=""):
    config = quickstart.get_config("smoke")
    config.steps, config.eval_every = 1, 1
    config.baselines = {}
    if arg == "stages":
        config.stages = (
            node(Stage, name="first"),
            node(Stage, name="second", changes=(("init.weights", "stage:first"),)),
        )
    return config

def extras(config):
    return {"width": float(config.task.model.backbone.width)}

def sweep(add, argument=""):
    for decay in (0.0, 0.1):
        add(**{"optimizer.decay": decay, "seed": 3})
    if argument == "twice":
        add(**{"optimizer.decay": 0.0, "seed": 3})
    if argument == "typo":
        add(**{"optimizer.decai": 0.0})
    if argument == "staged":
        add("staged", argument="stages", seed=7)
    if argument == "broken":
        add("broken", **{"parallel": "nothing"})
    if argument == "parts":
        add(**{"optimizer.rule": node(optimizer.Sgd, momentum=0.5)})
        add(**{"task.augment": (node(augment.Flip),)})
    if argument == "stranger":
        add(**{"optimizer.rule": node(optimizer.Ema)})

def claims(argument=""):
    return (Claim("less decay, more loss", "eval/loss", {"optimizer.decay": 0.0},
                  {"optimizer.decay": 0.1}),)
"""


@pytest.fixture
def file(at_the_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = tmp_path / "decay.py"
    path.write_text(SWEEP)
    return str(path)


def test_a_sweep_runs_and_is_taken_up_again(file, tmp_path, capfd, monkeypatch):
    work = tmp_path / "work"
    command = ["--config", f"{file}:broken", "--workdir", str(work)]
    assert launch.main([*command, "--sweep_list"]) == 0
    listed = capfd.readouterr().out.split()
    assert listed == ["0", "decay=0.0,seed=3", "1", "decay=0.1,seed=3", "2", "broken"]

    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert launch.main([*command, "--sweep_index=array"]) == 0
    done = work / "decay=0.1,seed=3" / "DONE"
    written = done.stat().st_mtime_ns
    capfd.readouterr()
    assert launch.main([*command, "--sweep"]) == 1
    assert "broken failed; going on" in capfd.readouterr().out
    assert done.stat().st_mtime_ns == written

    with (work / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == ["decay=0.0,seed=3", "decay=0.1,seed=3", "broken"]
    assert all(float(row["eval/loss"]) > 0 for row in rows[:2])
    table = (work / "table.md").read_text()
    assert "Not finished: broken." in table
    assert "less decay, more loss | eval/loss | – | undecided: 1 and 1 runs, 3 needed" in table
    assert (work / "plot.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("argument", "more", "message"),
    [
        ("twice", (), "two runs are named 'decay=0.0,seed=3'"),
        ("typo", (), "unknown config key 'optimizer.decai' - did you mean optimizer.decay?"),
        ("stranger", (), "config key 'optimizer.rule' takes a part (Rule), not Ema"),
        ("", ("--config.seed=1",), "--config.seed is set by the sweep itself"),
        ("", ("--sweep_index=9",), "--sweep_index=9: the sweep has 2 runs"),
        ("", ("--sweep_index=array",), "no job array is recognised: none of SLURM_ARRAY_TASK_ID"),
        ("", ("--sweep_index=-1",), "'-1' must be a whole number of at least 0"),
    ],
)
def test_a_mistake_is_one_line(file, capsys, argument, more, message):
    assert launch.main(["--config", f"{file}:{argument}", "--sweep", *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_whole_parts_are_swept_over(file, tmp_path, capfd, monkeypatch):
    command = ["--config", f"{file}:parts", "--workdir", str(tmp_path / "work")]
    assert launch.main([*command, "--sweep_list"]) == 0
    listed = [line.split()[-1] for line in capfd.readouterr().out.splitlines()]
    assert listed[2:] == ["rule=Sgd(momentum=0.5)", "augment=Flip"]
    given = []
    monkeypatch.setattr("vision_jax.run.train", lambda config, workdir: given.append(config))
    planned = sweep.plan(read_sweep(f"{file}:parts"), {})
    for run in planned[2:]:  # what the process of each run is started with
        assert launch.main(["--config", run.spec, *run.arguments()]) == 0
    assert build(given[0].optimizer.rule) == Sgd(momentum=0.5)
    assert build(given[1].task.augment) == (Flip(),)
    row = SweepRow(planned[2].name, planned[2].columns, {"eval/loss": 1.0, "eval/top1": 0.5})
    table = write_sweep(tmp_path / "table", [row], headline="eval/top1")
    assert "| Sgd(momentum=0.5) | 1 | 1 | 0.5 |" in table.read_text()
    assert "Sgd(momentum=0.5)" in (tmp_path / "table" / "results.csv").read_text()


def test_an_argument_of_a_runs_own_its_stages_and_its_seeds(file, tmp_path, capfd):
    work = tmp_path / "work"
    command = ["--config", f"{file}:staged", "--workdir", str(work)]
    assert launch.main([*command, "--sweep_list"]) == 0
    assert "staged" in capfd.readouterr().out
    assert launch.main([*command, "--sweep_index=2"]) == 0
    several = ["--sweep_index=0", "--config.seeds=2"]
    assert launch.main([*command, *several]) == 0
    planned = read_sweep(f"{file}:staged")
    sweep.write_tables(planned, sweep.plan(planned, {}), work)
    with (work / "results.csv").open() as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert [name for name in rows if name.startswith("decay=0.0")] == [
        "decay=0.0,seed=3@0",
        "decay=0.0,seed=3@1",
    ]
    assert rows["decay=0.0,seed=3@1"]["seed"] == "4"
    assert rows["staged"]["argument"] == "stages" and rows["staged"]["width"] == "16.0"
    assert float(rows["staged"]["eval/loss"]) > 0
    losses = [rows[f"decay=0.0,seed=3@{k}"]["eval/loss"] for k in range(2)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("code", [130, 143, -15])
def test_a_signal_that_ends_a_run_ends_the_sweep(file, tmp_path, capsys, monkeypatch, code):
    asked = []
    monkeypatch.setattr(sweep, "_run", lambda run, *rest: asked.append(run.name) or code)
    command = ["--config", file, "--workdir", str(tmp_path / "work"), "--sweep"]
    assert launch.main(command) == 128 + abs(code) % 128
    assert asked == ["decay=0.0,seed=3"]
    assert "interrupted at decay=0.0,seed=3; the same command goes on" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_passes_a_signal_on(file, tmp_path):
    work = tmp_path / "work"
    command = [sys.executable, "launch.py", "--config", file, "--config.steps=5000", "--sweep"]
    process = subprocess.Popen(
        [*command, "--config.log_every=1", "--workdir", str(work)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    rows = work / "decay=0.0,seed=3" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not rows.exists() or rows.read_bytes().count(b"\n") < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=60)[0]
    assert process.returncode == 130, out
    assert "Traceback" not in out and "interrupted at step" in out
    assert "sweep: interrupted at decay=0.0,seed=3; the same command goes on" in out
