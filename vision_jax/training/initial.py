"""The state before the first step: fresh, or from weights that an experiment names."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vision_jax import weights
from vision_jax.config import UserError
from vision_jax.training import paths
from vision_jax.training.checkpoint import restore_params
from vision_jax.training.experiment import Experiment, Init
from vision_jax.training.optimizer import Update
from vision_jax.training.state import TrainState, create

Tree = Any
CHECKPOINTS = "checkpoints"  # within a run folder
_HEAD = "head/.*"


def check(init: Mapping[str, Any] | Init) -> None:
    """Refuses weights that are not there, before anything is read or compiled.

    Raises:
      UserError: no such file or run folder.
    """
    path = init["weights"] if isinstance(init, Mapping) else init.weights
    if path is not None and not pathlib.Path(path).exists():
        raise UserError(f"init.weights={path!r}: no such file or run folder")


def state(experiment: Experiment) -> tuple[Update, TrainState, list[str]]:
    """The update rule, the state before the first step, and what to tell about its weights."""
    start, lines = variables(experiment)
    if experiment.fit is None:
        update = experiment.optimizer.build(
            start["params"], experiment.total_steps, experiment.steps_per_epoch
        )
    else:  # no gradient steps: nothing is trained by them, and no optimizer state kept
        update = Update(optax.identity(), jnp.zeros_like, frozenset())
    return update, create(start, update, experiment.ema is not None), lines


def variables(experiment: Experiment) -> tuple[dict[str, Tree], list[str]]:
    """First variables on the host, and lines that list what `init.weights` gave and did not.

    A head of another shape stays fresh and is listed; anything else that does not fit must be
    named in `init.skip`.

    Raises:
      UserError: weights that do not fit, or cannot be read.
    """
    fresh = experiment.task.init(jax.random.key(experiment.seed), experiment.train.element())
    fresh = jax.tree.map(np.asarray, fresh)
    init = experiment.init
    if init.weights is None:
        return fresh, []
    check(init)
    source = pathlib.Path(init.weights)
    if source.is_dir():
        given = restore_params(source / CHECKPOINTS, fresh)
        found, left = given.variables, [*given.missing, *given.mismatched]
        restored, unused = given.restored, given.unused
    else:
        found, report = weights.restore(fresh, weights.load(str(source), experiment.task.model))
        restored, unused = report.restored, report.unused
        left = [*report.missing, *report.reshaped]
    found, skipped = _keep_fresh(fresh, found, init.skip)
    wrong = [_without_collection(path) for path in left if path not in skipped]
    wrong = [path for path in wrong if not paths.matches([_HEAD], path)]
    if wrong:
        raise UserError(
            f"init.weights={init.weights!r}: {len(wrong)} of {len(restored) + len(left)} arrays do "
            f"not fit, {wrong[0]} first; --config.init.skip='{wrong[0]}' leaves it fresh"
        )
    taken = [path for path in restored if path not in skipped]
    lines = [f"init: {len(taken)} arrays from {init.weights}"]
    for title, names in (("fresh", sorted({*left, *skipped})), ("unused", list(unused))):
        if names:
            lines.append(f"init: {title}: {', '.join(names)}")
    return found, lines


def trained(experiment: Experiment, workdir: pathlib.Path) -> tuple[dict[str, Tree], str]:
    """Variables to look at, and where they are from: the run's best checkpoint, or init.weights.

    Raises:
      UserError: neither is there, or it does not fit.
    """
    if (workdir / CHECKPOINTS).is_dir():
        fresh = experiment.task.init(jax.random.key(0), experiment.train.element())
        found = restore_params(workdir / CHECKPOINTS, jax.tree.map(np.asarray, fresh))
        if found.missing or found.mismatched:
            first = [*found.missing, *found.mismatched][0]
            raise UserError(f"the checkpoint in {workdir} does not fit this config: {first}")
        return found.variables, f"{workdir}, step {found.step}"
    if experiment.init.weights is None:
        raise UserError(
            f"no checkpoint in {str(workdir)!r} and no --config.init.weights; train first, or name "
            "the run's --workdir"
        )
    return variables(experiment)[0], experiment.init.weights


def _keep_fresh(fresh: Tree, found: Tree, skip: str | None) -> tuple[Tree, set[str]]:
    """`found`, but the paths that `skip` matches as in `fresh`; and these paths."""
    if skip is None:
        return found, set()
    ours, theirs = paths.flatten(fresh), paths.flatten(found)
    paths.check_patterns("init.skip", [skip], [_without_collection(path) for path in ours])
    skipped = {path for path in ours if paths.matches([skip], _without_collection(path))}
    return paths.like(fresh, {p: ours[p] if p in skipped else theirs[p] for p in ours}), skipped


def _without_collection(path: str) -> str:
    """'head/fc/kernel' for 'params/head/fc/kernel': the name by which flags know it."""
    return path.partition("/")[2]
