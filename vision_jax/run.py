"""The training loop: experiment → config → data → model → loss → step → metrics → report.

A run can be killed anywhere: the same command goes on from the newest checkpoint, and because the
data's position, the random keys and the rows of metrics.jsonl all derive from the step, it ends
with the same bits.
"""

import collections
import contextlib
import pathlib
import time
from typing import Any

import jax
from ml_collections import ConfigDict

from vision_jax import report
from vision_jax.training import (
    Checkpoints,
    Interrupt,
    Parts,
    baselines,
    failures,
    folder,
    initial,
    metrics_at,
    multiprocess,
    phases,
    prepare,
    scalars,
    signature,
    stages,
)


def train(config: ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
    """Trains an experiment, or its stages one after the other, and reports.

    Args:
      config: as `get_config` gives it.
      workdir: the run folder. A finished run is not run again; an unfinished one goes on.

    Returns:
      The last evaluation's metrics, by name.

    Raises:
      UserError: bad input, in one line; `NotFinite` if the loss diverged, `Interrupted` after
        SIGTERM or Ctrl-C, when the state has been saved.
    """
    began = time.monotonic()
    multiprocess.check_same("the config", config.to_json())
    if config.stages:
        each = stages.resolve(config, workdir)
        folder.open_folder(workdir, config)
        return [train(*stage) for stage in each][-1]
    config, parts, lines = prepare(config)
    with folder.opened(workdir, config, parts.experiment):
        signature.write(workdir, parts.experiment)
        if done := folder.finished(workdir):
            print(f"finished already; report: {report.write_report(workdir)}")
            return done["metrics"]
        run = Run(parts, workdir, lines, began)
        nans = jax.debug_nans(parts.experiment.debug_nans)
        with nans, contextlib.closing(run), report.so_far(run.log):
            run.loop()
            return run.finish()


class Run:
    """One experiment on its devices, from its newest checkpoint to its last step."""

    def __init__(self, parts: Parts, workdir: pathlib.Path, lines: list[str], began: float):
        self.parts, self.workdir, self.began = parts, workdir, began
        experiment, self.parallel = parts.experiment, parts.parallel
        self.experiment = experiment
        self.leads = jax.process_index() == 0
        best = (experiment.best or None, experiment.best_mode)
        self.checkpoints = Checkpoints(workdir / initial.CHECKPOINTS, experiment.keep, *best)
        parts.begin()
        fresh, told = parts.start
        restored = self.checkpoints.restore(fresh)
        state, meta = restored if restored else (fresh, {})
        self.start = self.step = self.finite = int(state.step)
        self.evaluated: bool = meta.get("evaluated", False)  # whether this very step was
        self.metrics: dict[str, float] = meta.get("metrics", {})  # of the last evaluation
        self.measured: dict[str, Any] = {}  # by the last program
        self.state = self.parallel.put_state(state)
        self.log = report.Log(
            workdir if self.leads else None,
            resumed=self.step if restored else None,
            evaluated=self.evaluated,
            total_steps=experiment.total_steps,
            batch_size=experiment.train.batch_size,
        )
        if self.leads:
            folder.write_json(workdir / "versions.json", report.versions())
        origin = [f"resumed from step {self.step}"] if restored else told
        self.log.say("\n".join([f"run folder: {workdir}", *lines, *origin, *parts.notes]))

    def loop(self) -> None:
        """Makes steps, evaluations and checkpoints up to the last step."""
        experiment = self.experiment
        in_flight: collections.deque = collections.deque()
        batches = self.parts.batches(self.step)
        with Interrupt() as interrupt, contextlib.closing(batches):
            while True:
                new, stop = self.step > self.start, interrupt.requested()
                due = experiment.is_checkpoint_step(self.step)
                if experiment.is_eval_step(self.step) and not (self.evaluated or stop):
                    if new and due:
                        self._save()  # so that an evaluation that fails loses nothing
                    new |= self._evaluate(interrupt)
                stop |= interrupt.requested()
                if new and (due or stop):
                    self._save()
                if stop:
                    self.checkpoints.wait()
                    raise failures.Interrupted(self.step, self.workdir, interrupt.number)
                if self.step >= experiment.total_steps:
                    break
                if not (made := self._advance(batches, interrupt)):
                    continue
                in_flight.append(self.measured.get("finite"))
                if len(in_flight) > 2:  # the host stays at most two programs ahead of the devices
                    jax.block_until_ready(in_flight.popleft())
                for step in range(self.step - made + 1, self.step + 1):
                    if self.measured and step % experiment.log_every == 0:
                        row = self._finite(step)
                        self.log.metrics(step, {f"train/{k}": v for k, v in row.items()})
                self.log.advance(self.step)
            if batches.skipped:
                self.log.say(f"{batches.skipped} training records could not be read")

    def finish(self) -> dict[str, float]:
        """Waits for the last checkpoint, marks the run as done, writes the report."""
        self.checkpoints.wait()
        self.metrics |= baselines.scores(self.experiment)
        self.log.timing(self.step, {"seconds": round(time.monotonic() - self.began, 3)})
        self.log.close()
        phases.tell("writing the report …")
        if self.leads:
            folder.finish(self.workdir, self.step, self.metrics)
            print(report.last_lines(self.workdir, report.write_report(self.workdir), self.metrics))
        return self.metrics

    def close(self) -> None:
        """Waits for what is being written."""
        with contextlib.closing(self.log):
            self.checkpoints.close()

    def _advance(self, batches: Any, interrupt: Interrupt) -> int:
        """Runs one program, the first to its end; counts its updates, 0 if interrupted before."""
        made = self.experiment.dispatched(self.step)
        if self.experiment.solver is not None:
            solved = stages.solve(self.experiment, self.parallel.get_state(self.state))
            self.state = self.parallel.put_state(solved)
        else:
            called, first = time.monotonic(), self.step == self.start
            with failures.explained(self.experiment.train.batch_size, self.experiment.accumulate):
                if not self.parts.ready(made, interrupt.requested):
                    return 0
                update, batch = self.parts.program(batches, made)
                self.state, self.measured = update(self.state, batch, self.parts.seed)
                if first:
                    jax.block_until_ready(self.measured)
                    self.log.first_step(self.step + made, self.began, called)
        self.step, self.evaluated = self.step + made, False
        return made

    def _finite(self, step: int) -> dict[str, Any]:
        """Returns the metrics of one of the last program's steps; inf or nan ends the run."""
        measured = metrics_at(self.measured, step - self.step - 1)
        failures.check_finite(step, measured, self.checkpoints, self.finite)
        self.finite = step
        return measured

    def _evaluate(self, interrupt: Interrupt) -> bool:
        """Evaluates the state as it is; returns False if the run was interrupted meanwhile."""
        watcher = report.Watcher.of(self.experiment.eval, self.experiment.train)
        with self.log.pause():
            results = self.parts.evaluator(self.state.averaged, interrupt.requested, watcher)
        if results is None:
            return False
        self.metrics = scalars(results)
        self.log.metrics(self.step, self.metrics, say=True)
        if self.leads:
            self.log.pictures(self.step, report.save_evaluation(self.workdir, results, watcher))
        self.state = self.parts.after_evaluation(self.state, self.metrics, self.log.say)
        self.evaluated = True
        return True

    def _save(self) -> None:
        """Begins to write a checkpoint; never of a state that is not finite."""
        self._finite(self.step)
        meta = {"evaluated": self.evaluated, "metrics": self.metrics}
        with self.log.pause():
            self.log.flush()
            state = self.parallel.get_state(self.state)
            best = self.metrics if self.evaluated else None
            self.checkpoints.save(self.step, state, meta, best)
