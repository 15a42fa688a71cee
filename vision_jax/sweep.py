"""Ablation sweeps: one config, many overrides, each run in a process of its own.

A sweep file has `get_config(arg)` like every experiment, and

    def sweep(add, argument=""):
        for depth in (20, 56):
            for seed in range(3):
                add(**{"task.model.backbone.depth": depth, "seed": seed})

`argument` is what follows the colon in `--config F.py:twin`; `add(argument="net=vgg", …)` gives a
run another one. A run is called by its changes, or `add("name", …)`. A file may also have
`claims(argument)`, a tuple of `report.Claim` that the generated table decides; `extras(config)`,
{name: number} of a run that its training does not measure, such as its network's parameters; and
`BUBBLES`, the three columns that a picture puts across, up and into the size of its circles.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

from ml_collections import ConfigDict

from vision_jax import config as config_lib
from vision_jax import report
from vision_jax.config import UserError

LAUNCH = pathlib.Path(__file__).parent.parent / "launch.py"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
      name: of its folder.
      spec: its config, 'F.py:argument'.
      overrides: what it changes there.
      columns: what sets it apart in the table: the overrides, and the argument if it has its own.
    """

    name: str
    spec: str
    overrides: dict[str, Any]
    columns: dict[str, Any]

    def config(self) -> ConfigDict:
        """Its config tree.

        Raises:
          UserError: an unknown key, or a bad argument.
        """
        config = config_lib.load(self.spec)
        for key, value in self.overrides.items():
            config_lib.override(config, key, value)
        return config


def plan(spec: str, overrides: dict[str, str]) -> list[Run]:
    """The runs of the sweep in an experiment file.

    Args:
      spec: 'F.py:argument'.
      overrides: those of the command line, which hold for every run.

    Raises:
      UserError: no sweep in the file, two runs alike, an unknown key, or a key that both the
        command line and the sweep set.
    """
    module, argument = config_lib.load_module(spec)
    if not hasattr(module, "sweep"):
        raise UserError(f"config {spec.partition(':')[0]!r} has no sweep(add) function")
    runs: list[Run] = []

    def add(name: str = "", argument: str | None = None, **changes: Any) -> None:
        columns = changes if argument is None else {"argument": argument, **changes}
        own = spec if argument is None else f"{spec.partition(':')[0]}:{argument}"
        label = ",".join(f"{k.rpartition('.')[2]}={v}" for k, v in columns.items())
        runs.append(Run(name or label.replace("/", "_") or "base", own, changes, columns))

    module.sweep(add, argument) if argument else module.sweep(add)
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise UserError(f"sweep {spec!r}: two runs are named {run.name!r}; name one otherwise")
        for key in overrides:
            if key in run.overrides:
                raise UserError(f"--config.{key} is set by the sweep itself; leave it away")
        run.config()
    return runs


def launch(flags: argparse.Namespace, overrides: dict[str, str], workdir: pathlib.Path) -> int:
    """Lists, or runs, one or all runs of a sweep; finished runs are not run again.

    Returns:
      0, or 1 if a run failed: the others are still run, and the table says which failed.
    """
    runs = plan(flags.config, overrides)
    if flags.sweep_list:
        for number, run in enumerate(runs):
            print(f"{number:4d}  {run.name}")
        return 0
    if flags.sweep_index is not None:
        if not 0 <= flags.sweep_index < len(runs):
            raise UserError(f"--sweep_index={flags.sweep_index}: the sweep has {len(runs)} runs")
        return _run(runs[flags.sweep_index], overrides, workdir)
    failed = []
    for number, run in enumerate(runs):
        print(f"sweep {number + 1}/{len(runs)}: {run.name}", flush=True)
        if _run(run, overrides, workdir):
            failed.append(run.name)
            print(f"sweep: {run.name} failed; going on", flush=True)
        _aggregate(flags.config, runs, workdir)
    print(f"sweep: {len(runs) - len(failed)} of {len(runs)} runs done, table in {workdir}/table.md")
    return 1 if failed else 0


def _run(run: Run, overrides: dict[str, str], workdir: pathlib.Path) -> int:
    folder = workdir / run.name
    changes = {**overrides, **run.overrides}
    command = [sys.executable, str(LAUNCH), "--config", run.spec, "--workdir", str(folder)]
    command += [f"--config.{key}={value}" for key, value in changes.items()]
    # A process each frees the device's memory between runs and keeps one failure from the others.
    return subprocess.run(command, check=False).returncode


def _aggregate(spec: str, runs: list[Run], workdir: pathlib.Path) -> None:
    """Writes results.csv, table.md and plot.png from the runs that have finished."""
    module, argument = config_lib.load_module(spec)
    rows: list[report.SweepRow] = []
    for run in runs:
        config = run.config()
        folder = workdir / run.name
        if config.stages:
            folder /= config.stages[-1].name
        done = folder / "DONE"
        if not done.exists():
            rows.append(report.SweepRow(run.name, run.columns, None))
            continue
        metrics = json.loads(done.read_text())["metrics"]
        if hasattr(module, "extras"):
            metrics |= module.extras(config)
        rows += _of_each_seed(report.SweepRow(run.name, run.columns, metrics), config.seed)
    claims = module.claims(argument) if hasattr(module, "claims") else ()
    report.write_sweep(workdir, rows, claims, getattr(module, "BUBBLES", None))


def _of_each_seed(row: report.SweepRow, seed: int) -> list[report.SweepRow]:
    """The row, or a row for each of the seeds that its run trained at once (`--config.seeds`)."""
    own: dict[int, dict[str, float]] = {}
    for name, value in row.metrics.items():
        metric, at, number = name.rpartition("@")
        if at:
            own.setdefault(int(number), {})[metric] = value
    if not own:
        return [row]
    common = {name: v for name, v in row.metrics.items() if "@" not in name}
    return [
        report.SweepRow(
            f"{row.name}@{k}", {**row.overrides, "seed": seed + k}, {**common, **metrics}
        )
        for k, metrics in sorted(own.items())
    ]
