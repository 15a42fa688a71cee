"""Stages: ordinary runs in sequence, each from what an earlier one left.

A stage, like any run, may be a fit in place of gradient steps.
"""

import contextlib
import copy
import dataclasses
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from vision_jax.config import UserError, leaves, override, suggest
from vision_jax.data import Eval
from vision_jax.training.experiment import Experiment
from vision_jax.training.parallel import Parallel
from vision_jax.training.state import TrainState

PREFIX = "stage:"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One run of a staged experiment: the experiment's config with some settings changed.

    Attributes:
      name: of its run folder, inside the experiment's.
      changes: (path, value) pairs as for `--config.path=value`. A text value 'stage:NAME', or
        'stage:NAME/FILE', becomes the run folder of an earlier stage, or a file in it: so
        `('init.weights', 'stage:frozen')` starts from that stage's best checkpoint. A stage that
        writes a file may name itself.
    """

    name: str
    changes: tuple = ()


def resolve(config: ConfigDict, workdir: pathlib.Path) -> list[tuple[ConfigDict, pathlib.Path]]:
    """The stages as (config, run folder), in order.

    Raises:
      UserError: two stages of one name, or a reference to a stage that is not an earlier one.
    """
    runs: list[tuple[ConfigDict, pathlib.Path]] = []
    earlier: list[str] = []
    for stage in config.stages:
        if stage.name in earlier:
            raise UserError(f"two stages are named {stage.name!r}; rename one")
        earlier.append(stage.name)
        own = copy.deepcopy(config)
        override(own, "stages", ())
        for path, value in stage.changes:
            override(own, path, value)
        for path, value in list(leaves(own)):
            if isinstance(value, str) and value.startswith(PREFIX):
                override(own, path, _resolve(value, earlier, workdir))
        runs.append((own, workdir / stage.name))
    return runs


def fit(experiment: Experiment, state: TrainState) -> TrainState:
    """The state after the experiment's `fit`, which counts as the run's one step.

    It sees each image of the training set once, in order, prepared as for training; on all devices.

    Args:
      experiment: with a `fit`.
      state: on the host, from `initial.state`; nothing in it is changed.

    Raises:
      UserError: the batch size does not divide over the devices, or the fit's own.
    """
    parallel = Parallel("jit")
    parallel.check(experiment.train.batch_size)
    settings = {f.name: getattr(experiment.train, f.name) for f in dataclasses.fields(Eval)}
    once = Eval(**settings)
    with contextlib.closing(once.batches(jax.process_index(), jax.process_count())) as batches:
        variables = experiment.fit.fit(
            experiment.task,
            parallel.put_state(state.variables),
            map(parallel.put_batch, batches),
            once.steps,
        )
    variables = parallel.get_state(parallel.put_state(variables))
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    return state.replace(step=state.step + 1, params=variables["params"], collections=collections)


def _resolve(value: Any, earlier: list[str], workdir: pathlib.Path) -> str:
    name, _, rest = value.removeprefix(PREFIX).partition("/")
    if name not in earlier:
        raise UserError(f"{value!r}: no earlier stage {name!r}{suggest(name, earlier)}")
    return str(workdir / name / rest)
