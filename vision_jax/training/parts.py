"""The parts that the training loop works with: one run, or several in one program."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vision_jax.config import UserError
from vision_jax.structs import Batch
from vision_jax.training import checks, initial, phases, vmapped
from vision_jax.training.device_cache import DeviceCache
from vision_jax.training.evaluate import Evaluate, Evaluator
from vision_jax.training.experiment import Experiment
from vision_jax.training.parallel import Parallel
from vision_jax.training.programs import Program, compile_in_turn
from vision_jax.training.state import TrainState
from vision_jax.training.step import TrainStep, make_train_step


@dataclasses.dataclass(frozen=True)
class Parts:
    """The programs that take a run's state further, and the state before the first step.

    Attributes:
      experiment, parallel: what the parts are made for.
      step: compiled: (state, batch, seed) -> (state, metrics).
      steps: the same for `put_batches` of several steps.
      seed: () uint32, or one per run.
      evaluator: measures variables; None without an evaluation set.
      programs: what can be compiled ahead, in the order in which it is needed.
      updates: how many the first of them makes; 0 if it is none of training.
      called: numbers of updates for which a program has been made.
    """

    experiment: Experiment
    parallel: Parallel
    step: Callable
    steps: Callable
    seed: Any
    evaluator: Evaluate | None
    programs: tuple[Program, ...]
    updates: int
    called: set[int] = dataclasses.field(default_factory=set)

    def begin(self) -> None:
        """Begins to compile in a thread, while the network is initialised and data are read."""
        if not self.experiment.debug_nans:  # its programs are others
            compile_in_turn(self.programs)

    @functools.cached_property
    def start(self) -> tuple[TrainState, list[str]]:
        """The state before the first step, on the host, and lines to tell about its weights."""
        phases.tell("initialising the network …")
        several = vmapped.runs(self.experiment)
        return several.state() if several else initial.state(self.experiment)[1:]

    @functools.cached_property
    def cache(self) -> DeviceCache | None:
        """The training set on the devices; None where batches bring their pixels."""
        cached = self.experiment.train.device_cache and self.experiment.solver is None
        return DeviceCache(self.experiment.train, self.parallel) if cached else None

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

    def ready(self, count: int, stop: Callable[[], bool]) -> bool:
        """Waits for the program that makes so many updates; returns False if `stop()` said so."""
        if count in self.called:
            return True
        if count == self.updates:
            program = self.programs[0]
        else:
            program = Program("the training step", None)
        self.called.add(count)
        return program.wait(stop)

    def program(self, batches: Iterator[Batch], count: int) -> tuple[Callable, Batch]:
        """Returns the program that makes so many updates, and what it takes, on the devices."""
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


def prepare(config: ConfigDict) -> tuple[ConfigDict, Parts, list[str]]:
    """Builds an experiment, looks at its data, and traces its programs.

    Returns:
      The config as the data complete it, the parts, and lines to tell.

    Raises:
      UserError: in one line; see `checks.prepared`, `Parallel.check` and `make_parts`.
    """
    config, experiment, lines = checks.prepared(config)
    parallel = Parallel(experiment.parallel, donate=not experiment.debug_nans)
    parallel.check(experiment.train.batch_size, experiment.accumulate, experiment.norms)
    return config, make_parts(experiment, parallel), lines


def make_parts(experiment: Experiment, parallel: Parallel) -> Parts:
    """Traces a run's programs, with shapes in place of arrays; nothing is compiled or runs yet.

    Raises:
      UserError: in one line; network, losses or metrics do not fit each other or the data.
    """
    several = vmapped.runs(experiment)
    with checks.in_one_line("the network does not fit its settings or the images"):
        if several is None:
            step, one = _alone(experiment, parallel)
            every = one
        else:
            step, (one, every) = several.step(parallel.axis), several.shapes()
    seed: Any = np.uint32(experiment.seed) if several is None else several.seeds
    mapped = [parallel.compile(step), parallel.compile(step, several=True)]
    programs, updates = list[Program](), 0
    if experiment.solver is None:
        updates = experiment.dispatched(0)
        with checks.in_one_line("network, loss and training data do not fit"):
            train, element = mapped[updates > 1], experiment.train.element()
            traced = parallel.trace(train, every, element, seed, count=updates)
        programs.append(Program("the training step", traced))
    evaluator: Evaluate | None = None
    if experiment.eval is not None:
        measure = Evaluator(experiment.task, experiment.eval, experiment.metrics, parallel)
        with checks.in_one_line("network, metrics and evaluation data do not fit"):
            programs.append(measure.trace(one.averaged))
        evaluator = measure if several is None else several.evaluator(measure)
    return Parts(
        experiment=experiment,
        parallel=parallel,
        step=mapped[0],
        steps=mapped[1],
        seed=seed,
        evaluator=evaluator,
        programs=tuple(programs),
        updates=updates,
    )


def _alone(experiment: Experiment, parallel: Parallel) -> tuple[TrainStep, TrainState]:
    """Makes the step of a single run, and the shapes of the state that it begins with."""
    update, state = initial.shapes(experiment)
    axis, accumulate = parallel.axis, experiment.accumulate
    return make_train_step(experiment.task, update, axis, accumulate, experiment.ema), state


def metrics_at(measured: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Returns one step's metrics of a program, on the host.

    Args:
      measured: each metric is a scalar, or an array with one value per step of the program.
      index: of the step, from the program's end: -1 is the last.
    """
    return {name: np.ravel(value)[index] for name, value in jax.device_get(measured).items()}
