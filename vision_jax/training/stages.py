"""Stages: ordinary runs in sequence, each from what an earlier one left.

A stage, like any run, may have a solver in place of gradient steps.
"""

import contextlib
import copy
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from vision_jax.config import SettingError, UserError, build, leaves, override, suggest
from vision_jax.data import Eval
from vision_jax.structs import Batch
from vision_jax.system import signals
from vision_jax.tasks.solvers import Pass
from vision_jax.training import flags
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
    changes: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or {"/", "\\"} & {*self.name}:
            raise SettingError("name", f"={self.name!r} must be the name of a folder")


def resolve(config: ConfigDict, workdir: pathlib.Path) -> list[tuple[ConfigDict, pathlib.Path]]:
    """Makes each stage's config and run folder, in order.

    Raises:
      UserError: two stages of one name, or a reference to a stage that is not an earlier one.
    """
    runs: list[tuple[ConfigDict, pathlib.Path]] = []
    earlier: list[str] = []
    for number, stage in enumerate(config.stages):
        if not isinstance(stage, ConfigDict):
            raise UserError(f"stages[{number}]={stage!r} is no node(Stage, name=…, changes=…)")
        build(stage, {"changes": ()}, f"stages[{number}]")  # the changes name data
        if stage.name in earlier:
            raise UserError(f"two stages are named {stage.name!r}; rename one")
        earlier.append(stage.name)
        stage_config = copy.deepcopy(config)
        override(stage_config, "stages", ())
        flags.apply(stage_config, dict(stage.changes))
        for path, value in list(leaves(stage_config)):
            if isinstance(value, str) and value.startswith(PREFIX):
                override(stage_config, path, _resolve(value, earlier, workdir))
        runs.append((stage_config, workdir / stage.name))
    return runs


def solve(experiment: Experiment, state: TrainState) -> TrainState:
    """Runs the experiment's solver, which counts as the run's one step.

    It sees each image of the training set once, in order, prepared as for training; on all devices.
    A solver that keeps what it did goes on after that (`tasks.solvers.after`), so that a signal
    need not wait for its end.

    Args:
      experiment: with a `solver`.
      state: on the host, from `initial.state`; nothing in it is changed.

    Returns:
      The state after it.

    Raises:
      UserError: there is no solver, the batch size does not divide over the devices, or an error
        of the solver's own.
    """
    if experiment.solver is None:
        raise UserError("this experiment has no `solver`")
    parallel = Parallel("jit")
    parallel.check(experiment.train.batch_size)
    settings = {f.name: getattr(experiment.train, f.name) for f in dataclasses.fields(Eval)}
    once = Eval(**settings)
    with contextlib.ExitStack() as opened:
        if jax.process_count() == 1:
            opened.enter_context(signals.at_once())

        def begin(start: int) -> Iterator[Batch]:
            read = once.batches(jax.process_index(), jax.process_count(), start)
            return map(parallel.put_batch, opened.enter_context(contextlib.closing(read)))

        variables = experiment.solver.solve(
            experiment.task, parallel.put_state(state.variables), Pass(begin), once.steps
        )
    variables = parallel.get_state(parallel.put_state(variables))
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    return state.replace(step=state.step + 1, params=variables["params"], collections=collections)


def _resolve(value: str, earlier: list[str], workdir: pathlib.Path) -> str:
    """Turns 'stage:NAME/FILE' into the path of that stage's file."""
    name, _, rest = value.removeprefix(PREFIX).partition("/")
    if name not in earlier:
        raise UserError(f"{value!r}: no earlier stage {name!r}{suggest(name, earlier)}")
    return str(workdir / name / rest)
