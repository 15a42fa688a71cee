"""The parts that the training loop works with: one run, or several in one program."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vision_jax.config import UserError
from vision_jax.structs import Batch
from vision_jax.training import initial, phases, vmapped
from vision_jax.training.device_cache import DeviceCache
from vision_jax.training.evaluate import Evaluate, Evaluator
from vision_jax.training.experiment import Experiment
from vision_jax.training.parallel import Parallel
from vision_jax.training.state import TrainState
from vision_jax.training.step import make_train_step


@dataclasses.dataclass(frozen=True)
class Parts:
    """The state before the first step, on the host, and the programs that take it further.

    Attributes:
      experiment, parallel: what the parts are made for.
      state: before the first step.
      lines: what to tell about its weights.
      step: compiled: (state, batch, seed) -> (state, metrics).
      steps: the same for `put_batches` of several steps.
      seed: () uint32, or one per run.
      evaluator: measures variables; None without an evaluation set.
      cache: the training set on the devices; None where batches bring their pixels.
      called: numbers of updates for which a program has been made.
    """

    experiment: Experiment
    parallel: Parallel
    state: TrainState
    lines: list[str]
    step: Callable
    steps: Callable
    seed: Any
    evaluator: Evaluate | None
    cache: DeviceCache | None
    called: set[int] = dataclasses.field(default_factory=set)

    @property
    def notes(self) -> list[str]:
        """Lines to tell at the beginning of every attempt."""
        return [self.cache.line] if self.cache else []

    def batches(self, start: int) -> Any:
        """Opens this process's share of the training batches from a step on, `data.Batches`."""
        experiment = self.experiment
        return experiment.train.batches(
            start,
            experiment.data_seed,
            jax.process_index(),
            jax.process_count(),
            experiment.total_steps,
            pixels=self.cache is None,
        )

    def program(self, batches: Iterator[Batch], count: int) -> tuple[Callable, Batch]:
        """Returns the program that makes so many updates, and what it takes, on the devices."""
        if count not in self.called:
            self.called.add(count)
            phases.tell("compiling the training step …")
        if count == 1:
            update, batch = self.step, self.parallel.put_batch(next(batches))
        else:
            update = self.steps
            batch = self.parallel.put_batches([next(batches) for _ in range(count)])
        if self.cache:
            batch = self.cache.fill(batch, several=count > 1)
        return update, batch

    def after_evaluation(
        self, state: TrainState, metrics: Mapping[str, float], say: Callable[[str], None]
    ) -> TrainState:
        """Updates the plateau's counters in a state on the devices, where there is a plateau.

        Args:
          state: on the devices.
          metrics: the evaluation's.
          say: is told which metric was not measured, though the run goes by it.

        Raises:
          UserError: the plateau's metric was not measured, so that nobody knows the learning rate.
        """
        plateau = self.experiment.plateau
        for line in self.experiment.unmeasured(metrics):
            say(line)
        if plateau is None:
            return state
        if plateau.metric not in metrics:
            raise UserError(
                f"optimizer.plateau.metric={plateau.metric!r} was not measured, and the learning "
                "rate follows it; is anything annotated in the evaluation data?"
            )
        counters = plateau.update(self.parallel.get_state(state.plateau), metrics[plateau.metric])
        return state.replace(plateau=self.parallel.put_state(counters))


def make_parts(experiment: Experiment, parallel: Parallel) -> Parts:
    """Builds and compiles the steps; nothing runs yet."""
    phases.tell("initialising the network …")
    evaluator: Evaluate | None = None
    if experiment.eval is not None:
        evaluator = Evaluator(
            experiment.task, experiment.eval, experiment.metrics, parallel, phases.tell
        )
    several = vmapped.runs(experiment)
    seed: Any = np.uint32(experiment.seed)
    if several is None:
        update, state, lines = initial.state(experiment)
        step = make_train_step(
            experiment.task, update, parallel.axis, experiment.accumulate, experiment.ema
        )
    else:
        state, lines = several.state()
        step, seed = several.step(parallel.axis), several.seeds
        evaluator = evaluator and several.evaluator(evaluator)
    cached = experiment.train.device_cache and experiment.solver is None
    return Parts(
        experiment=experiment,
        parallel=parallel,
        state=state,
        lines=lines,
        step=parallel.compile(step),
        steps=parallel.compile(step, several=True),
        seed=seed,
        evaluator=evaluator,
        cache=DeviceCache(experiment.train, parallel) if cached else None,
    )


def metrics_at(measured: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Returns one step's metrics of a program, on the host.

    Args:
      measured: each metric is a scalar, or an array with one value per step of the program.
      index: of the step, from the program's end: -1 is the last.
    """
    return {name: np.ravel(value)[index] for name, value in jax.device_get(measured).items()}
