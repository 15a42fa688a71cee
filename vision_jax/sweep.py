"""Ablation sweeps: one config, many overrides, each run in a process of its own.

A sweep file has `get_config(arg)` like every experiment, and

    def sweep(add, argument=""):
        for depth in (20, 56):
            for seed in range(3):
                add(**{"task.model.backbone.depth": depth, "seed": seed})
        add(**{"optimizer.rule": node(optimizer.AdamW)})

A change may be a whole part, as the last one is.
`argument` is the text after the colon in `--config F.py:twin`; `add(argument="net=vgg", …)` gives a
run another one. A run is called by its changes, or `add("name", …)`. `report.SweepFile` lists what
else a file may have.
"""

import argparse
import contextlib
import dataclasses
import pathlib
import subprocess
import sys
from typing import Any

from ml_collections import ConfigDict

from vision_jax import config as config_lib
from vision_jax import report
from vision_jax.config import UserError
from vision_jax.system import signals
from vision_jax.training import spread
from vision_jax.training.flags import apply
from vision_jax.training.folder import finished


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Attributes:
      name: the name of its folder.
      spec: its config, 'F.py:argument'.
      overrides: its changes to that config.
      columns: its cells in the table: the overrides, and the argument if it has its own.
    """

    name: str
    spec: str
    overrides: dict[str, Any]
    columns: dict[str, Any]

    def config(self) -> ConfigDict:
        """Makes its config tree.

        Raises:
          UserError: an unknown key, a bad argument, or a value that does not fit.
        """
        config = config_lib.load(self.spec)
        apply(config, self.overrides)
        return spread(config)

    def arguments(self) -> list[str]:
        """Writes its changes as arguments of a command line."""
        return [f"--config.{key}={_text(value)}" for key, value in self.overrides.items()]


def plan(file: report.SweepFile, overrides: dict[str, str]) -> list[Run]:
    """Lists the runs of a sweep.

    Args:
      file: from `report.read_sweep`.
      overrides: those of the command line, which hold for every run.

    Raises:
      UserError: two runs alike, an unknown key, or a key that both the command line and the sweep
        set.
    """
    runs = []
    for entry in file.entries():
        spec = file.spec if entry.argument is None else f"{file.path}:{entry.argument}"
        runs.append(Run(entry.name, spec, dict(entry.changes), dict(entry.columns)))
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise UserError(
                f"sweep {file.spec!r}: two runs are named {run.name!r}; name one otherwise"
            )
        for key in overrides:
            if key in run.overrides:
                raise UserError(f"--config.{key} is set by the sweep itself; leave it away")
        run.config()
    return runs


def launch(
    flags: argparse.Namespace,
    overrides: dict[str, str],
    workdir: pathlib.Path,
    script: pathlib.Path,
) -> int:
    """Lists, or runs, one or all runs of a sweep; finished runs are not run again.

    Args:
      flags: of the command line.
      overrides: of the command line, {path: text}.
      workdir: each run has a folder in it.
      script: launch.py, which runs each of them.

    Returns:
      0, or 1 if a run failed: the others are still run, and the table says which failed. If a
      signal ended one, so does the sweep, with that run's code.
    """
    file = report.read_sweep(flags.config)
    runs = plan(file, overrides)
    if flags.sweep_list:
        for number, run in enumerate(runs):
            print(f"{number:4d}  {run.name}")
        return 0
    if flags.sweep_index is not None:
        if not 0 <= flags.sweep_index < len(runs):
            raise UserError(f"--sweep_index={flags.sweep_index}: the sweep has {len(runs)} runs")
        return _run(runs[flags.sweep_index], overrides, workdir, script)
    failed = []
    for number, run in enumerate(runs):
        print(f"sweep {number + 1}/{len(runs)}: {run.name}", flush=True)
        code = _run(run, overrides, workdir, script)
        if signals.is_code(code):
            print(f"sweep: interrupted at {run.name}; the same command goes on", file=sys.stderr)
            return abs(code) % 128 + 128
        if code:
            failed.append(run.name)
            print(f"sweep: {run.name} failed; going on", flush=True)
        write_tables(file, runs, workdir)
    print(f"sweep: {len(runs) - len(failed)} of {len(runs)} runs done, table in {workdir}/table.md")
    return 1 if failed else 0


def write_tables(file: report.SweepFile, runs: list[Run], workdir: pathlib.Path) -> None:
    """Writes results.csv, table.md and pictures from the runs that have finished."""
    rows: list[report.SweepRow] = []
    for run in runs:
        config = run.config()
        stages = [workdir / run.name / stage.name for stage in config.stages]
        folders = stages or [workdir / run.name]
        done = None
        with contextlib.suppress(UserError):  # that run's own command has told it
            done = finished(folders[-1])
        if done is None:
            rows.append(report.SweepRow(run.name, run.columns, None))
            continue
        metrics = done["metrics"] | file.extras(config)
        of_seeds = _of_each_seed(report.SweepRow(run.name, run.columns, metrics), config.seed)
        share = sum(map(report.wall_seconds, folders)) / len(of_seeds)
        rows += [
            dataclasses.replace(row, metrics={**(row.metrics or {}), report.WALL: share})
            for row in of_seeds
        ]
    report.write_sweep(
        workdir,
        rows,
        file.claims(file.argument),
        bubbles=file.bubbles,
        headline=runs[0].config().best if runs else "",
        budget=file.budget,
        regime=file.regime,
    )


def _run(run: Run, overrides: dict[str, str], workdir: pathlib.Path, script: pathlib.Path) -> int:
    """Runs a run in a process of its own; returns its exit code."""
    folder = workdir / run.name
    command = [sys.executable, str(script), "--config", run.spec, "--workdir", str(folder)]
    command += [f"--config.{key}={value}" for key, value in overrides.items()] + run.arguments()
    # A process each frees the device's memory between runs and keeps one failure from the others.
    # In a group of its own it gets a terminal's Ctrl-C once, from here.
    with subprocess.Popen(command, process_group=0) as child, signals.taken(child.send_signal):
        return child.wait()


def _text(value: Any) -> str:
    """Writes a value so that a flag reads it as it is: parts as the dicts that describe them."""
    parts = value if isinstance(value, list | tuple) else [value]
    has_parts = any(isinstance(part, ConfigDict) for part in parts)
    return repr(config_lib.plain(value)) if has_parts else str(value)


def _of_each_seed(row: report.SweepRow, seed: int) -> list[report.SweepRow]:
    """Splits a row into one for each of the seeds that its run trained at once, if it did."""
    of_seeds: dict[int, dict[str, float]] = {}
    for name, value in row.metrics.items():
        metric, at, number = name.rpartition("@")
        if at:
            of_seeds.setdefault(int(number), {})[metric] = value
    if not of_seeds:
        return [row]
    common = {name: v for name, v in row.metrics.items() if "@" not in name}
    return [
        report.SweepRow(
            f"{row.name}@{k}", {**row.overrides, "seed": seed + k}, {**common, **metrics}
        )
        for k, metrics in sorted(of_seeds.items())
    ]
