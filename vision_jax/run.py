"""The conductor: experiment → config → data → model → loss → step → metrics → report.

A run can be killed anywhere: the same command goes on from the newest checkpoint, and because the
data's position, the random keys and the rows of metrics.jsonl all derive from the step, it ends
with the same bits.
"""

import argparse
import collections
import contextlib
import pathlib
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax import report, show, sweep
from vision_jax.config import build
from vision_jax.training import (
    Checkpoints,
    Evaluator,
    Experiment,
    Interrupt,
    Parallel,
    baselines,
    environment,
    failures,
    folder,
    initial,
    make_train_step,
    multiprocess,
    stages,
)


def launch(flags: argparse.Namespace, config: ConfigDict, overrides: dict[str, str]) -> int:
    """Does what the flags of launch.py ask for; returns the exit code."""
    environment.enable_cache()
    if config.deterministic:
        environment.require_determinism()
    workdir = pathlib.Path(flags.workdir or pathlib.Path("runs") / folder.name(flags.config))
    if flags.sweep or flags.sweep_list or flags.sweep_index is not None:
        return sweep.launch(flags, overrides, workdir)
    multiprocess.initialize(flags.coordinator, flags.num_processes, flags.process_id)
    if flags.mode == "train":
        train(config, workdir)
    else:
        show.MODES[flags.mode](config, workdir, flags.input)
    return 0


def train(config: ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
    """Trains an experiment, or its stages one after the other, and reports.

    Args:
      config: as `get_config` gives it.
      workdir: the run folder. A finished run is not run again; an unfinished one goes on.

    Returns:
      The last evaluation's metrics, by name.

    Raises:
      UserError: bad input, in one line.
      failures.NotFinite: the loss diverged.
      failures.Interrupted: SIGTERM or Ctrl-C; the state was saved.
    """
    multiprocess.check_same("the config", config.to_json())
    if config.stages:
        return [train(*stage) for stage in stages.resolve(config, workdir)][-1]
    initial.check(config.init)
    experiment: Experiment = build(config)
    parallel = Parallel(experiment.parallel)
    parallel.check(experiment.train.batch_size, experiment.accumulate, experiment.norm)
    folder.open_folder(workdir, config)
    if done := folder.finished(workdir):
        print(f"finished already; report: {report.write_report(workdir)}")
        return done["metrics"]
    with jax.debug_nans(experiment.debug_nans), Run(experiment, workdir, parallel) as run:
        run.loop()
        return run.finish()


class Run:
    """One experiment on its devices, from its newest checkpoint to its last step."""

    def __init__(self, experiment: Experiment, workdir: pathlib.Path, parallel: Parallel):
        self.began = time.monotonic()
        self.experiment, self.workdir, self.parallel = experiment, workdir, parallel
        self.leads = jax.process_index() == 0
        self.checkpoints = Checkpoints(
            workdir / initial.CHECKPOINTS, experiment.keep, experiment.best, experiment.best_mode
        )
        update, fresh, lines = initial.state(experiment)
        restored = self.checkpoints.restore(fresh)
        state, meta = restored if restored else (fresh, {})
        self.start = self.step = self.finite = int(state.step)
        self.evaluated: bool = meta.get("evaluated", False)  # whether this very step was
        self.metrics: dict[str, float] = meta.get("metrics", {})  # of the last evaluation
        self.state = parallel.put_state(state)
        step = make_train_step(
            experiment.task, update, parallel.axis, experiment.accumulate, experiment.ema
        )
        self.train_step = parallel.compile(step)
        self.evaluator = experiment.eval and Evaluator(
            experiment.task, experiment.eval, experiment.metrics, parallel
        )
        self.log = report.Log(
            workdir if self.leads else None,
            resumed=self.step if restored else None,
            evaluated=self.evaluated,
            total_steps=experiment.total_steps,
            batch_size=experiment.train.batch_size,
        )
        if self.leads:
            folder.write_json(workdir / "versions.json", report.versions())
        for line in [f"resumed from step {self.step}"] if restored else lines:
            self.log.say(line)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self.checkpoints.close()
        self.log.close()

    def loop(self) -> None:
        """Steps, evaluations and checkpoints up to the last step."""
        experiment, seed = self.experiment, np.uint32(self.experiment.seed)
        in_flight: collections.deque = collections.deque()
        batches = experiment.train.batches(
            self.step, experiment.data_seed, jax.process_index(), jax.process_count()
        )
        with Interrupt() as interrupt, contextlib.closing(batches):
            while True:
                fresh, stop = self.step > self.start, interrupt.requested(self.step)
                if experiment.is_eval_step(self.step) and not (self.evaluated or stop):
                    fresh |= self._evaluate(interrupt)
                stop |= interrupt.requested()
                if fresh and (experiment.is_checkpoint_step(self.step) or stop):
                    self._save()
                if stop:
                    self.checkpoints.wait()
                    raise failures.Interrupted(self.step, self.workdir, interrupt.number)
                if self.step == experiment.total_steps:
                    break
                batch = self.parallel.put_batch(next(batches))
                self.state, measured = self._first_or_next(batch, seed)
                self.step, self.evaluated = self.step + 1, False
                in_flight.append(measured["finite"])
                if len(in_flight) > 2:  # the host stays at most two steps ahead of the devices
                    in_flight.popleft().block_until_ready()
                if self.step % experiment.log_every == 0:
                    self._record(measured)
                self.log.advance(self.step)
            if batches.skipped:
                self.log.say(f"{batches.skipped} training records could not be read")

    def finish(self) -> dict[str, float]:
        """Waits for the last checkpoint, marks the run as done, writes the report."""
        self.checkpoints.wait()
        self.metrics |= baselines.scores(self.experiment)
        self.log.close()
        if self.leads:
            folder.finish(self.workdir, self.step, self.metrics)
            page = report.write_report(self.workdir)
            seconds = time.monotonic() - self.began
            print(report.last_lines(self.workdir, page, self.metrics, seconds))
        return self.metrics

    def _first_or_next(self, batch: Any, seed: np.uint32) -> tuple[Any, dict[str, Any]]:
        """One step; the first one is waited for, since it compiles and shows what does not fit."""
        if self.step > self.start:
            return self.train_step(self.state, batch, seed)
        called = time.monotonic()
        with failures.explained(self.experiment.train.batch_size, self.experiment.accumulate):
            state, measured = jax.block_until_ready(self.train_step(self.state, batch, seed))
        now = time.monotonic()
        times = {"first_step_seconds": now - self.began, "compile_seconds": now - called}
        self.log.timing(self.step + 1, {name: round(value, 3) for name, value in times.items()})
        return state, measured

    def _record(self, measured: dict[str, Any]) -> None:
        """A row of metrics.jsonl, and the end of the run if the loss is not finite."""
        measured = jax.device_get(measured)
        if not measured.pop("finite"):
            self.checkpoints.wait()
            raise failures.NotFinite(
                self.step, measured, self.checkpoints.latest_step(), self.finite
            )
        self.finite = self.step
        self.log.metrics(self.step, {f"train/{name}": value for name, value in measured.items()})

    def _evaluate(self, interrupt: Interrupt) -> bool:
        """Evaluates the state as it is; False if the run was interrupted meanwhile."""
        averaged = self.state.averaged
        gallery = report.Gallery(names=self.experiment.eval.classes)
        with self.log.pause():
            found = self.evaluator(averaged, interrupt.requested, report.watcher(gallery))
        if found is None:
            return False
        self.metrics = {f"eval/{k}": float(v) for k, v in found.items() if np.ndim(v) == 0}
        self.log.metrics(self.step, self.metrics)
        shown = " ".join(f"{name} {value:.4g}" for name, value in sorted(self.metrics.items()))
        self.log.say(f"step {self.step} {shown}")
        if self.leads:
            report.save_evaluation(self.workdir, found, gallery, self.experiment.eval.classes)
        plateau = self.experiment.optimizer.plateau
        if plateau is not None:
            counters = self.parallel.get_state(self.state.plateau)
            counters = plateau.update(counters, self.metrics[plateau.metric])
            self.state = self.state.replace(plateau=self.parallel.put_state(counters))
        self.evaluated = True
        return True

    def _save(self) -> None:
        """Begins to write a checkpoint; never of a state that is not finite."""
        meta = {"evaluated": self.evaluated, "metrics": self.metrics}
        with self.log.pause():
            self.log.flush()
            self.checkpoints.save(
                self.step,
                self.parallel.get_state(self.state),
                meta,
                self.metrics if self.evaluated else None,
            )
