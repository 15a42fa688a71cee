"""What the loop runs for an experiment: one run, or several in one program."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vision_jax.training import initial, vmapped
from vision_jax.training.device_cache import DeviceCache
from vision_jax.training.evaluate import Evaluator
from vision_jax.training.experiment import Experiment
from vision_jax.training.parallel import Parallel
from vision_jax.training.state import TrainState
from vision_jax.training.step import make_train_step


class Parts(NamedTuple):
    """The state before the first step, on the host, and what takes it further."""

    state: TrainState
    lines: list[str]  # what to tell about its weights
    step: Callable  # compiled: (state, batch, seed) -> (state, metrics)
    steps: Callable  # the same for `put_batches` of several steps
    seed: Any  # () uint32, or one per run
    evaluator: Callable | None
    cache: DeviceCache | None


def make_parts(experiment: Experiment, parallel: Parallel) -> Parts:
    """Builds and compiles the steps; nothing runs yet."""
    evaluator: Callable | None = None
    if experiment.eval is not None:
        evaluator = Evaluator(experiment.task, experiment.eval, experiment.metrics, parallel)
    several = vmapped.runs(experiment)
    if several is None:
        update, state, lines = initial.state(experiment)
        step = make_train_step(
            experiment.task, update, parallel.axis, experiment.accumulate, experiment.ema
        )
        seed = np.uint32(experiment.seed)
    else:
        update, state, lines = several.state()
        step, seed = several.step(parallel.axis), several.seeds
        evaluator = evaluator and several.evaluator(evaluator)
    cached = experiment.train.device_cache and experiment.fit is None
    return Parts(
        state=state,
        lines=lines,
        step=parallel.compile(step),
        steps=parallel.compile(step, several=True),
        seed=seed,
        evaluator=evaluator,
        cache=DeviceCache(experiment.train, parallel) if cached else None,
    )
