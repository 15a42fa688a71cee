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

from vision_jax.config import UserError
from vision_jax.structs import Batch
from vision_jax.training import initial
from vision_jax.training.checkpoint import restore_params
from vision_jax.training.evaluate import Evaluator, Watcher
from vision_jax.training.experiment import Experiment
from vision_jax.training.optimizer import Update
from vision_jax.training.state import TrainState
from vision_jax.training.step import TrainStep, make_train_step

Tree = Any
# The step is one number for all runs, so that the loop can read it.
_AXES = TrainState(step=None, params=0, collections=0, opt_state=0, ema=0, plateau=0)


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
        if experiment.fit is not None:
            raise UserError("a `fit` has no gradient steps that several runs could share")
        if experiment.optimizer.plateau is not None:
            raise UserError("optimizer.plateau follows one run's metric; set seeds=1")
        for value in experiment.values if experiment.vary else ():
            with_value(experiment, experiment.vary, value)

    @property
    def count(self) -> int:
        """Number of runs."""
        return len(self.experiment.values) if self.experiment.vary else self.experiment.seeds

    @property
    def seeds(self) -> np.ndarray:
        """Each run's seed, (n,) uint32, which its step takes."""
        return np.array([self.solo(k).seed for k in range(self.count)], np.uint32)

    def solo(self, k: int) -> Experiment:
        """Run k as an experiment of its own."""
        alone = dataclasses.replace(self.experiment, seeds=1, vary="", values=())
        if self.experiment.vary:
            return with_value(alone, self.experiment.vary, self.experiment.values[k])
        return dataclasses.replace(alone, seed=self.experiment.seed + k)

    def state(self) -> tuple[Update, TrainState, list[str]]:
        """As `initial.state`, with a run axis."""
        states = []
        for k in range(self.count):
            # An array, so that a value of 0 does not switch parts of the optimizer off.
            experiment = self.solo(k)
            if self.experiment.vary:
                value = np.float32(self.experiment.values[k])
                experiment = _set(experiment, self.experiment.vary.split("."), value)
            update, state, lines = initial.state(experiment)
            states.append(state)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *states)
        return update, stacked.replace(step=states[0].step), lines

    def step(self, axis: str | None) -> TrainStep:
        """The training step of all runs: step(state, batch, seeds) -> (state, metrics).

        Args:
          axis: as of `make_train_step`.

        Raises:
          UserError: when it is traced, if the program's form hangs on the varied number.
        """
        experiment = self.experiment
        values = jnp.asarray(experiment.values or np.zeros(self.count), jnp.float32)

        def one(state: TrainState, batch: Batch, seed: Any, value: jax.Array) -> tuple:
            own = experiment
            if experiment.vary:
                own = _set(experiment, experiment.vary.split("."), value)
            update = own.optimizer.build(state.params, own.total_steps, own.steps_per_epoch)
            step = make_train_step(own.task, update, axis, own.accumulate, own.ema)
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

    def evaluator(self, evaluator: Evaluator) -> Callable[..., dict[str, Any] | None]:
        """Evaluates run after run with one compiled evaluation; called as an `Evaluator`.

        Scalars come as mean and per run, arrays and pictures of run 0.
        """
        pick = jax.jit(take)

        def evaluate(
            variables: Tree,
            stop: Callable[[], bool] = lambda: False,
            watch: Watcher | None = None,
        ) -> dict[str, Any] | None:
            found = []
            for k in range(self.count):
                results = evaluator(pick(variables, np.int32(k)), stop, watch if k == 0 else None)
                if results is None:
                    return None
                found.append(results)
            scalars = {
                name: np.array([results[name] for results in found])
                for name, value in found[0].items()
                if np.ndim(value) == 0
            }
            return {**found[0], **spread(scalars, self.count)}

        return evaluate


def runs(experiment: Experiment) -> Runs | None:
    """The experiment's runs; None if it is a single one."""
    return Runs(experiment) if experiment.seeds > 1 or experiment.vary else None


def trained(
    experiment: Experiment, workdir: pathlib.Path
) -> list[tuple[Experiment, dict[str, Tree]]]:
    """Every run of a folder as (experiment of its own, variables on the host); one if it is single.

    Variables are of the best checkpoint, by the mean over runs, or of `init.weights`, as
    `initial.trained` finds them.

    Raises:
      UserError: no checkpoint and no weights, or one that does not fit.
    """
    several = runs(experiment)
    if several is None or not (workdir / initial.CHECKPOINTS).is_dir():
        return [(experiment, initial.trained(experiment, workdir)[0])]
    variables = stacked(several, workdir)[0]
    return [
        (several.solo(k), jax.tree.map(lambda x, k=k: x[k], variables))
        for k in range(several.count)
    ]


def stacked(several: Runs, workdir: pathlib.Path) -> tuple[dict[str, Tree], str]:
    """All runs' variables with a run axis, and where they are from.

    Raises:
      UserError: no checkpoint, or one that does not fit.
    """
    experiment = several.experiment
    fresh = experiment.task.init(jax.random.key(0), experiment.train.element())
    wanted = jax.tree.map(lambda x: np.broadcast_to(x, (several.count, *x.shape)), fresh)
    found = restore_params(workdir / initial.CHECKPOINTS, wanted)
    if wrong := [*found.missing, *found.mismatched]:
        raise UserError(f"the checkpoint in {workdir} does not fit this config: {wrong[0]}")
    return found.variables, f"{workdir}, step {found.step}, {several.count} runs"


def take(tree: Tree, k: Any) -> Tree:
    """Run k of a tree with a run axis, such as a checkpoint's parameters."""
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, k, keepdims=False), tree)


def spread(metrics: dict[str, Any], count: int) -> dict[str, Any]:
    """{name: (n,)} as {name: mean, name@0: …, name@1: …}."""
    each = {f"{name}@{k}": value[k] for name, value in metrics.items() for k in range(count)}
    return {name: value.mean() for name, value in metrics.items()} | each


def with_value(experiment: Experiment, path: str, value: Any) -> Experiment:
    """The experiment with one number replaced, checked as its part checks it.

    Args:
      experiment: built.
      path: as for `--config.path`, such as 'optimizer.schedule.value'.
      value: a number.

    Raises:
      UserError: no such setting, it is no number, or the value is refused.
    """
    here: Any = experiment
    for key in path.split("."):
        if not dataclasses.is_dataclass(here) or not hasattr(here, key):
            raise UserError(f"vary={path!r}: there is no {key!r}")
        here = getattr(here, key)
    if isinstance(here, bool) or not isinstance(here, (int, float)):
        raise UserError(f"vary={path!r} is {here!r}, which is no number")
    if isinstance(here, int):
        raise UserError(f"vary={path!r} is a whole number, which one program cannot vary")
    return _replace(experiment, path.split("."), float(value))


def _replace(node: Any, keys: list[str], value: Any) -> Any:
    """A new object along the path, through the constructors and their checks."""
    new = _replace(getattr(node, keys[0]), keys[1:], value) if keys[1:] else value
    if isinstance(node, nn.Module):
        return node.clone(**{keys[0]: new})
    return dataclasses.replace(node, **{keys[0]: new})


def _set(node: Any, keys: list[str], value: Any) -> Any:
    """As `_replace`, for a traced value, which constructors' checks could not read."""
    new = _set(getattr(node, keys[0]), keys[1:], value) if keys[1:] else value
    if isinstance(node, nn.Module):
        return node.clone(**{keys[0]: new})
    changed = copy.copy(node)
    object.__setattr__(changed, keys[0], new)
    return changed
