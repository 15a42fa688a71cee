"""Several runs of one experiment in one program: N seeds, or N values of a number in the config.

Every array of the state but the step gets a leading run axis, and the ordinary training step is
vmapped over it; so each run has its own parameters, batch statistics and optimizer state, and all
see the same batches (one `data_seed`). Run k equals the solo run with `seed` k larger (or with
value k), up to the order of sums, in which batched convolutions differ.

Metrics are scalars as ever: `loss` is the mean over runs, `loss@k` run k's.
"""

import copy
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from vision_jax.config import SettingError, UserError
from vision_jax.structs import Batch
from vision_jax.training import initial
from vision_jax.training.evaluate import Evaluate, Watcher, never
from vision_jax.training.experiment import Experiment
from vision_jax.training.state import TrainState
from vision_jax.training.step import TrainStep, make_train_step

Tree = Any
_RUN: Any = 0  # the axis of runs
# The step is one number for all runs, so that the loop can read it.
_AXES = TrainState(None, _RUN, collections=_RUN, opt_state=_RUN, ema=_RUN, plateau=_RUN)


@dataclasses.dataclass(frozen=True)
class Runs:
    """The runs of an experiment with `seeds` above 1, or with `vary`.

    Raises:
      UserError: both, a setting that is no number, or what cannot be had in one program.
    """

    experiment: Experiment

    def __post_init__(self) -> None:
        experiment = self.experiment
        if experiment.vary and experiment.seeds > 1:
            raise UserError(f"seeds={experiment.seeds} and vary={experiment.vary!r}: use one")
        if experiment.vary and len(experiment.values) < 2:
            raise UserError(f"vary={experiment.vary!r} needs --config.values='(1.0, 2.0)'")
        if experiment.solver is not None or experiment.optimizer is None:
            raise UserError("a `solver` has no gradient steps that several runs could share")
        if experiment.optimizer.plateau is not None:
            raise UserError("optimizer.plateau follows one run's metric; set seeds=1")
        for value in experiment.values if experiment.vary else ():
            with_value(experiment, experiment.vary, value)

    @property
    def count(self) -> int:
        """The number of runs."""
        return len(self.experiment.values) if self.experiment.vary else self.experiment.seeds

    @property
    def seeds(self) -> np.ndarray:
        """The runs' seeds, (n,) uint32, which their steps take."""
        return np.array([self.solo(k).seed for k in range(self.count)], np.uint32)

    def solo(self, k: int) -> Experiment:
        """Makes run k an experiment of its own."""
        alone = dataclasses.replace(self.experiment, seeds=1, vary="", values=())
        if self.experiment.vary:
            return with_value(alone, self.experiment.vary, self.experiment.values[k])
        return dataclasses.replace(alone, seed=self.experiment.seed + k)

    def state(self) -> tuple[TrainState, list[str]]:
        """Makes the state before the first step, with a run axis, and lines to tell about it."""
        states = []
        lines: list[str] = []
        for k in range(self.count):
            _, state, lines = initial.state(self._member(k))
            states.append(state)
        together = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        return together.replace(step=states[0].step), lines

    def shapes(self) -> tuple[TrainState, TrainState]:
        """Returns the state before the first step as shapes: one run's, and all runs'."""
        _, one = initial.shapes(self._member(0))
        every = jax.tree.map(lambda x: x.update(shape=(self.count, *x.shape)), one)
        return one, every.replace(step=one.step)

    def _member(self, k: int) -> Experiment:
        """Makes run k as it is within the program."""
        if not self.experiment.vary:
            return self.solo(k)
        # An array, so that a value of 0 does not switch parts of the optimizer off.
        value = np.float32(self.experiment.values[k])
        return _set(self.solo(k), self.experiment.vary.split("."), value)

    def step(self, axis: str | None) -> TrainStep:
        """Makes the training step of all runs: step(state, batch, seeds) -> (state, metrics).

        Args:
          axis: see `make_train_step`.

        Raises:
          UserError: when it is traced, if Python control flow depends on the varied value, so that
            it cannot be traced.
        """
        experiment = self.experiment
        values = jnp.asarray(experiment.values or np.zeros(self.count), jnp.float32)

        def one(state: TrainState, batch: Batch, seed: Any, value: jax.Array) -> tuple:
            run: Any = experiment
            if experiment.vary:
                run = _set(experiment, experiment.vary.split("."), value)
            update = run.optimizer.build(state.params, run.total_steps, run.steps_per_epoch)
            step = make_train_step(run.task, update, axis, run.accumulate, run.ema)
            return step(state, batch, seed)

        every = jax.vmap(one, in_axes=(_AXES, None, 0, 0), out_axes=(_AXES, 0))

        def step(state: TrainState, batch: Batch, seeds: Any) -> tuple[TrainState, dict]:
            try:
                state, metrics = every(state, batch, seeds, values)
            except jax.errors.ConcretizationTypeError as error:
                raise UserError(
                    f"vary={experiment.vary!r}: this number decides what is compiled, so its values"
                    " do not fit in one program; use a sweep"
                ) from error
            finite = metrics.pop("finite").all()
            return state, {**spread(metrics, self.count), "finite": finite}

        return step

    def evaluator(self, evaluator: Evaluate) -> Evaluate:
        """Makes an evaluation of run after run from one of a single run's variables.

        Scalars come as mean and per run, arrays and pictures of run 0.
        """
        pick = jax.jit(take)

        def evaluate(
            variables: Tree, stop: Callable[[], bool] = never, watch: Watcher | None = None
        ) -> dict[str, Any] | None:
            of_runs = []
            for k in range(self.count):
                results = evaluator(pick(variables, np.int32(k)), stop, watch if k == 0 else None)
                if results is None:
                    return None
                of_runs.append(results)
            scalars = {
                name: np.array([results[name] for results in of_runs])
                for name, value in of_runs[0].items()
                if np.ndim(value) == 0
            }
            return {**of_runs[0], **spread(scalars, self.count)}

        return evaluate


def runs(experiment: Experiment) -> Runs | None:
    """Returns the experiment's runs; None if it is a single one."""
    return Runs(experiment) if experiment.seeds > 1 or experiment.vary else None


def trained(
    experiment: Experiment, workdir: pathlib.Path
) -> list[tuple[Experiment, dict[str, Tree]]]:
    """Reads every run of a folder as (experiment of its own, variables on the host).

    Variables are of the best checkpoint, by the mean over runs, or of `init.weights`, as
    `initial.trained` finds them. A folder of a single run gives that one.

    Raises:
      UserError: no checkpoint and no weights, or one that does not fit.
    """
    several = runs(experiment)
    if several is None or not (workdir / initial.CHECKPOINTS).is_dir():
        return [(experiment, initial.trained(experiment, workdir)[0])]
    variables, _ = stacked(several, workdir)
    return [
        (several.solo(k), jax.tree.map(lambda x, k=k: x[k], variables))
        for k in range(several.count)
    ]


def stacked(several: Runs, workdir: pathlib.Path) -> tuple[dict[str, Tree], str]:
    """Reads all runs' variables, with a run axis, and tells where they are from.

    Raises:
      UserError: no checkpoint, or one that does not fit.
    """
    experiment = several.experiment
    element = experiment.train.element()
    shapes = jax.eval_shape(lambda key: experiment.task.init(key, element), jax.random.key(0))
    each = jax.tree.map(lambda x: x.update(shape=(several.count, *x.shape)), shapes)
    restored = initial.read_run(workdir, each)
    return restored.variables, f"{workdir}, step {restored.step}, {several.count} runs"


def take(tree: Tree, k: Any) -> Tree:
    """Takes run k of a tree with a run axis, such as a checkpoint's parameters."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k, keepdims=False), tree)


def spread(metrics: dict[str, Any], count: int) -> dict[str, Any]:
    """Turns {name: (n,)} into {name: mean, name@0: …, name@1: …}."""
    each = {f"{name}@{k}": value[k] for name, value in metrics.items() for k in range(count)}
    return {name: value.mean() for name, value in metrics.items()} | each


def with_value(experiment: Experiment, path: str, value: Any) -> Experiment:
    """Replaces one number of an experiment, checked as its part checks it.

    Args:
      experiment: built.
      path: as for `--config.path`, such as 'optimizer.schedule.value'.
      value: a number.

    Raises:
      UserError: no such setting, it is no number, or the value is refused.
    """
    setting: Any = experiment
    for key in path.split("."):
        if key not in _settings(setting):
            raise UserError(f"vary={path!r}: there is no {key!r}")
        setting = getattr(setting, key)
    if isinstance(setting, bool) or not isinstance(setting, (int, float)):
        raise UserError(f"vary={path!r} is {setting!r}, which is no number")
    if isinstance(setting, int):
        raise UserError(f"vary={path!r} is a whole number, which one program cannot vary")
    try:
        return _replace(experiment, path.split("."), float(value))
    except SettingError as error:
        raise UserError(f"vary={path!r}: {error}") from error


def _settings(part: Any) -> set[str]:
    """Returns the names of a part's settings; a value that is no part has none."""
    return {f.name for f in dataclasses.fields(part)} if dataclasses.is_dataclass(part) else set()


def _replace(node: Any, keys: list[str], value: Any) -> Any:
    """Makes new parts along the path, through the constructors and their checks."""
    new = _replace(getattr(node, keys[0]), keys[1:], value) if keys[1:] else value
    if isinstance(node, nn.Module):
        return node.clone(**{keys[0]: new})
    return dataclasses.replace(node, **{keys[0]: new})


def _set(node: Any, keys: list[str], value: Any) -> Any:
    """Makes new parts with a traced value, which constructors' checks could not read."""
    new = _set(getattr(node, keys[0]), keys[1:], value) if keys[1:] else value
    if isinstance(node, nn.Module):
        return node.clone(**{keys[0]: new})
    changed = copy.copy(node)
    object.__setattr__(changed, keys[0], new)
    return changed
