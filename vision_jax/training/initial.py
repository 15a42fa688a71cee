"""The state before the first step: fresh, or from weights that an experiment names."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vision_jax import weights
from vision_jax.config import UserError
from vision_jax.structs import Batch
from vision_jax.tasks import Completed
from vision_jax.training import paths
from vision_jax.training.checkpoint import Restored, restore_params
from vision_jax.training.experiment import Experiment, Init
from vision_jax.training.optimizer import Update
from vision_jax.training.state import TrainState, create

Tree = Any
CHECKPOINTS = "checkpoints"  # within a run folder
FRESH = "init: fresh: "  # begins the line that lists what weights lack
_LOG = logging.getLogger(__name__)


def check(init: Mapping[str, Any] | Init) -> None:
    """Fetches weights that have a name, before anything is read or compiled.

    Raises:
      UserError: no such file, run folder or name, or it cannot be fetched.
    """
    name = init["weights"] if isinstance(init, Mapping) else init.weights
    if name is not None:
        try:
            weights.resolve(name)
        except UserError as error:
            raise UserError(f"init.weights={error}") from None


def state(experiment: Experiment) -> tuple[Update, TrainState, list[str]]:
    """Makes the state before the first step.

    Returns:
      The update rule, the state, and lines to tell about its weights.

    Raises:
      UserError: weights that do not fit, or cannot be read.
    """
    start, lines = variables(experiment)
    if isinstance(experiment.task, Completed):
        start = experiment.task.complete(start, functools.partial(_first_batch, experiment))
    update = _update(experiment, start)
    return update, create(start, update, experiment.ema is not None), lines


def shapes(experiment: Experiment) -> tuple[Update, TrainState]:
    """Returns the update rule, and the state before the first step as shapes; nothing is computed.

    Raises:
      UserError: a pattern of the optimizer's that matches no parameter.
    """
    start = _shapes(experiment, experiment.task.model)
    update = _update(experiment, start)
    return update, jax.eval_shape(lambda v: create(v, update, experiment.ema is not None), start)


def _update(experiment: Experiment, start: dict[str, Tree]) -> Update:
    """Makes the update rule for first variables, arrays or shapes."""
    if experiment.solver is not None or experiment.optimizer is None:
        # No gradient steps: nothing is trained by them, and no optimizer state kept.
        return Update(optax.identity(), jnp.zeros_like, frozenset())
    return experiment.optimizer.build(
        start["params"], experiment.total_steps, experiment.steps_per_epoch
    )


def variables(experiment: Experiment) -> tuple[dict[str, Tree], list[str]]:
    """Makes the first variables on the host, and lines that list what `init.weights` gave of them.

    Heads that the weights lack, or have for another number of classes, stay fresh and are listed,
    and so does all that a file of a backbone cannot have; anything else that does not fit must be
    named in `init.reinitialize`.

    Raises:
      UserError: weights that do not fit, or cannot be read.
    """
    fresh = experiment.task.init(jax.random.key(experiment.seed), experiment.train.element())
    fresh = jax.tree.map(np.asarray, fresh)
    init = experiment.init
    if init.weights is None:
        return fresh, []
    check(init)
    names = {path: _without_collection(path) for path in paths.flatten(fresh)}
    pattern = [] if init.reinitialize is None else [init.reinitialize]
    paths.check_patterns("init.reinitialize", pattern, names.values())
    heads = weights.Heads(
        functools.partial(_shapes, experiment),
        experiment.task.model,
        lambda path: paths.matches(pattern, path),
    )
    start = _read(experiment, fresh, heads)
    wrong = [p for p in start.left if names[p] not in heads and p not in start.out_of_reach]
    if wrong:
        raise UserError(_misfits(experiment, start, wrong, len(names)))
    ours, chosen = paths.flatten(fresh), [p for p in names if paths.matches(pattern, names[p])]
    left = set(weights.whole_layers(start.left, names)) | set(chosen)
    theirs = paths.flatten(start.variables)
    start_variables = paths.like(fresh, {p: ours[p] if p in left else theirs[p] for p in names})
    lines = [f"init: {len(names) - len(left)} arrays from {init.weights}"]
    told = {"init: adapted: ": start.adapted, FRESH: sorted(left), "init: unused: ": start.unused}
    lines += [title + weights.listed(some) for title, some in told.items() if some]
    return start_variables, lines


def _first_batch(experiment: Experiment) -> Batch:
    """Reads this process's share of the first batch."""
    place = jax.process_index(), jax.process_count()
    batches = experiment.train.batches(0, experiment.data_seed, *place, experiment.total_steps)
    with contextlib.closing(batches):
        batch: Batch = next(batches)
    return batch


class _Start(NamedTuple):
    """The variables as weights give them; paths are flat.

    Fields:
      variables: the network's, as far as they fit.
      left: what the weights have not, or with another shape; with both shapes there.
      out_of_reach: what a file of a part of the network cannot have.
      adapted: kernels made to fit the images' channels.
      unused: arrays of the weights that the network has not.
    """

    variables: Tree
    left: Mapping[str, tuple[tuple, tuple] | None]
    out_of_reach: Set[str]
    adapted: Sequence[str]
    unused: Sequence[str]


def _read(experiment: Experiment, fresh: Tree, heads: weights.Heads) -> _Start:
    """Reads `init.weights`: a run folder's checkpoint, or a file of a reference, or its name."""
    init, channels = experiment.init, _channels(experiment)
    source = pathlib.Path(str(init.weights))
    if not source.is_dir():
        loaded = weights.read(str(init.weights), experiment.task.model, heads)
        tree, adapted = loaded.variables, list[str]()
        if init.adapt_input:
            tree, adapted = weights.adapt_input(tree, fresh, channels)
        start, report = weights.restore(fresh, tree)
        left = {**dict.fromkeys(report.missing), **report.reshaped}
        beyond = set(report.missing).difference(loaded.names) if loaded.is_part else set()
        return _Start(start, left, beyond, adapted, [*report.unused, *loaded.unused])
    run = restore_params(source / CHECKPOINTS, fresh)
    adapted = []
    if init.adapt_input:
        ours = paths.flatten(fresh)
        stored = {p: np.zeros(there, ours[p].dtype) for p, (there, here) in run.mismatched.items()
                  if weights.differs_in_input(there, here, channels)}  # fmt: skip
        run = restore_params(source / CHECKPOINTS, paths.like(fresh, ours | stored), run.step)
        start, adapted = weights.adapt_input(run.variables, fresh, channels)
        run = run._replace(variables=start)
    left = {**dict.fromkeys(run.missing), **run.mismatched}
    return _Start(run.variables, left, set(), adapted, run.unused)


def _shapes(experiment: Experiment, model: Any) -> Tree:
    """Returns the shapes of a network's variables in place of the experiment's."""
    of_another: Any = experiment.task  # a dataclass, as all tasks are
    task, element = dataclasses.replace(of_another, model=model), experiment.train.element()
    return jax.eval_shape(lambda key: task.init(key, element), jax.random.key(0))


def _channels(experiment: Experiment) -> int:
    """Returns the number of channels of the images."""
    return experiment.train.element().pixels.shape[-1]


def _misfits(experiment: Experiment, start: _Start, wrong: list[str], count: int) -> str:
    """Returns the message for arrays that do not fit outside heads."""
    init = experiment.init
    # A layer is left as a whole, its bias too: what is told is the array that differs.
    first, shapes = next((p, s) for p in wrong if (s := start.left[p]) is None or s[0] != s[1])
    name = _without_collection(first)
    reason = f"{name} is not in them"
    hint = ""
    if shapes is not None:
        reason = f"{name} has the shape {shapes[0]} there, {shapes[1]} here"
        if weights.differs_in_input(*shapes, _channels(experiment)):
            hint = "; --config.init.adapt_input=True adapts it to the images' channels"
    layers = dict.fromkeys(_without_collection(path).rpartition("/")[0] for path in wrong)
    if len(layers) > 3:
        layers = dict.fromkeys(layer.partition("/")[0] for layer in layers)
    pattern = "|".join(f"{re.escape(layer)}/.*" for layer in layers)
    return (
        f"init.weights={init.weights!r}: {len(wrong)} of {count} arrays do not fit: {reason}{hint}"
        f"; --config.init.reinitialize='{pattern}' leaves such layers fresh"
    )


def trained(experiment: Experiment, workdir: pathlib.Path) -> tuple[dict[str, Tree], str]:
    """Reads the variables of a run's best checkpoint or, without a run, of `init.weights`.

    Returns:
      The variables on the host, and where they are from.

    Raises:
      UserError: neither is there, or it does not fit.
    """
    if (workdir / CHECKPOINTS).is_dir():
        run = read_run(workdir, _shapes(experiment, experiment.task.model))
        return run.variables, f"{workdir}, step {run.step}"
    if experiment.init.weights is None:
        raise UserError(
            f"no checkpoint in {str(workdir)!r} and no --config.init.weights; train first, or name "
            "the run's --workdir"
        )
    start, lines = variables(experiment)
    for line in lines:
        if line.startswith(FRESH):
            _LOG.warning("%s; it lacks them, so they are not trained", line)
    return start, experiment.init.weights


def read_run(workdir: pathlib.Path, variables: dict[str, Tree]) -> Restored:
    """Reads the best checkpoint of a run folder, which must hold all of these variables.

    Args:
      workdir: the run folder.
      variables: arrays or ShapeDtypeStructs.

    Raises:
      UserError: it does not, or there is none.
    """
    restored = restore_params(workdir / CHECKPOINTS, variables)
    wrong = {"is not in it": restored.missing, "has another shape": tuple(restored.mismatched)}
    wrong["is not in this config's network"] = restored.unused
    for reason, names in wrong.items():
        if names:
            raise UserError(
                f"the checkpoint in {workdir} does not fit this config: {len(names)} arrays, such "
                f"as {names[0]}, which {reason}"
            )
    return restored


def _without_collection(path: str) -> str:
    """Turns 'params/head/fc/kernel' into 'head/fc/kernel', the name by which flags know it."""
    return path.partition("/")[2]
