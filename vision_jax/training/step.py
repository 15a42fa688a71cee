"""The one training step and the one evaluation step, for every task, seen from one device.

Both are pure functions of a device's share of the batch. `axis` names the mapped axis that
collectives go over; None means that the function sees the global batch (one device, or `jit` with
a sharded batch). `parallel.Parallel` maps them over devices.

**Losses.** A task returns {name: (sum, weight)}. The loss is the sum over names of
sum_over_all(sum) / sum_over_all(weight), where "all" is every device and every micro-batch. So the
weights are added up first, outside the gradient, and each device's gradient is the vjp of its sums
with 1 / weight as cotangents; adding these over devices gives the gradient of the whole. A
normaliser that varies between devices (matched boxes, void pixels, padding) is then the same
number on 1 and on 8 devices, which a mean of per-device means is not. A name whose total weight is
0 contributes 0.

**Accumulation.** Micro-batch k of a devices' rows holds the row pairs k, k + n, k + 2n, …, so that
neighbours (2i, 2i + 1) stay together for mixup and, if the rows per device are divisible by twice
the number of micro-batches, the same images meet whatever the number of devices. Weights come
from a first pass, of which XLA keeps only what the weights need: nothing of the network, unless a
weight depends on its outputs (then that part runs twice). Collections pass from one micro-batch to
the next, so with batch normalisation accumulation is not the same as the large batch.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import lax

from vision_jax.evaluation.metric import Metric, SummedMetric
from vision_jax.ops import materialize
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch, Terms
from vision_jax.tasks import Predictor, Task
from vision_jax.training import paths
from vision_jax.training.optimizer import Ema, Update
from vision_jax.training.state import TrainState

Tree = Any
TrainStep = Callable[[TrainState, Batch, Any], tuple[TrainState, dict[str, jax.Array]]]
# (trainable parameters, collections, batch) → the loss's sums; its weights, collections, metrics
Sums = Callable[[Tree, dict[str, Tree], Batch], tuple[dict[str, jax.Array], tuple]]


class Evaluated(NamedTuple):
    """The results of one evaluation step, the same on all devices."""

    increments: tuple[Tree, ...]  # per metric, summed over devices; None for one that gathers
    outputs: dict[str, jax.Array]  # global outputs that metrics gather; empty if none does
    batch: Batch | None  # the global batch, its images reduced to (b, 0, 0, c), for those


class _Gradients(NamedTuple):
    """The sums over all devices and micro-batches."""

    gradients: Tree
    losses: Terms
    metrics: Terms
    collections: dict[str, Tree]


def make_train_step(
    task: Task,
    update: Update,
    axis: str | None = None,
    accumulate: int = 1,
    ema: Ema | None = None,
) -> TrainStep:
    """Makes the training step of a task.

    Args:
      task: its `loss` is differentiated.
      update: from `Optimizer.build`.
      axis: name of the mapped axis, or None for a step that sees the global batch.
      accumulate: micro-batches that a device's rows are split into; must divide them.
      ema: how `state.ema` follows the variables; needed exactly if the state has it.

    Returns:
      step(state, batch, seed) -> (state, metrics). `seed` is the run's, an integer scalar; the
      step's key is fold_in(key(seed), state.step). `metrics`, all () float32 but one: 'loss',
      'loss/<name>', the task's metrics as sum / count, 'grad_norm' before clipping, 'lr' as
      applied, and 'finite' () bool: whether loss and gradient norm are. A step that is not finite
      is applied like any other; the loop stops on it.
    """

    def step(state: TrainState, batch: Batch, seed: Any) -> tuple[TrainState, dict]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        trainable, frozen = update.split(state.params)
        sums = functools.partial(_sums, task, update, key, frozen)
        if accumulate == 1:
            total = _at_once(sums, trainable, state.collections, batch, axis)
        else:
            micro = _micro_batches(batch, accumulate)
            total = _accumulated(sums, trainable, state.collections, micro, axis)
        rate = update.rate(state.step) * state.plateau.scale
        trained, opt_state = update.apply(
            total.gradients,
            state.opt_state,
            trainable,
            rate,
            None if _is_spread(axis) else lambda p: _loss(sums(p, state.collections, batch)),
        )
        new = state.replace(
            step=state.step + 1,
            params=update.merge(trained, frozen),
            collections=total.collections,
            opt_state=opt_state,
        )
        new = new.replace(ema=_average(state.ema, new.variables, state.step, ema))
        _check_same_types(state, new)
        return new, _report(total, rate)

    return step


def make_eval_step(
    task: Predictor,
    metrics: Sequence[Metric],
    axis: str | None = None,
    shown: Sequence[str] = (),
) -> Callable[[dict[str, Tree], Batch], Evaluated]:
    """Makes the evaluation step: eval_step(variables, batch) -> `Evaluated`.

    Args:
      task: its `predict` is measured.
      metrics: those that gather name the outputs that they collect, which go to every host.
      axis: name of the mapped axis, or None for a step that sees the global batch.
      shown: further outputs that go to every host.
    """
    gatherers = [metric for metric in metrics if metric.gathers]

    def step(variables: dict[str, Tree], batch: Batch) -> Evaluated:
        outputs = task.predict(variables, batch)
        increments = tuple(
            None
            if metric.gathers
            else _psum(cast(SummedMetric, metric).update(outputs, batch), axis)
            for metric in metrics
        )
        if not gatherers and not shown:
            return Evaluated(increments, {}, None)
        names = {*shown}
        for metric in gatherers:
            names |= {*(outputs if metric.outputs is None else metric.outputs)}
        outputs = {name: outputs[name] for name in sorted(names)}
        batch = batch.replace(image=batch.pixels[:, :0, :0])
        return Evaluated(increments, _gather(outputs, axis), _gather(batch, axis))

    return step


def _sums(
    task: Task,
    update: Update,
    key: jax.Array,
    frozen: Tree,
    trainable: Tree,
    collections: dict[str, Tree],
    batch: Batch,
) -> tuple[dict[str, jax.Array], tuple]:
    """Computes a loss's sums, by name; and its weights, the new collections, the metrics."""
    variables = {"params": update.merge(trainable, frozen), **collections}
    terms, aux = task.loss(variables, batch, key, train=True)
    after = {**collections, **aux["collections"]}
    _check_same_types(collections, after)
    weights = {name: _float(weight) for name, (_, weight) in terms.items()}
    metrics = {name: (_float(s), _float(n)) for name, (s, n) in aux["metrics"].items()}
    return {name: _float(s) for name, (s, _) in terms.items()}, (weights, after, metrics)


def _at_once(
    sums: Sums, trainable: Tree, collections: dict, batch: Batch, axis: str | None
) -> _Gradients:
    """Differentiates the loss of all rows in one piece."""
    values, pullback, (weights, collections, metrics) = jax.vjp(
        lambda p: sums(p, collections, batch), trainable, has_aux=True
    )
    weights = _psum(weights, axis)
    (gradients,) = pullback(jax.tree.map(_inverse, weights))
    values, gradients, metrics = _psum((values, gradients, metrics), axis)
    losses = {name: (values[name], weights[name]) for name in values}
    return _Gradients(gradients, losses, metrics, _mean_floats(collections, axis))


def _accumulated(
    sums: Sums, trainable: Tree, collections: dict, micro: Batch, axis: str | None
) -> _Gradients:
    """Differentiates the loss one micro-batch after the other."""

    def weigh(_: None, rows: Batch) -> tuple[None, dict]:
        return None, sums(trainable, collections, rows)[1][0]

    _, weights = lax.scan(weigh, None, micro)
    weights = _psum(_total(weights), axis)
    cotangents = jax.tree.map(_inverse, weights)

    def add(carry: tuple, rows: Batch) -> tuple[tuple, tuple]:
        gradients, collections = carry
        values, pullback, (_, collections, metrics) = jax.vjp(
            lambda p: sums(p, collections, rows), trainable, has_aux=True
        )
        gradients = jax.tree.map(jnp.add, gradients, pullback(cotangents)[0])
        return (gradients, collections), (values, metrics)

    start = (jax.tree.map(jnp.zeros_like, trainable), collections)
    (gradients, collections), parts = lax.scan(add, start, micro)
    values, metrics = _total(parts)
    values, gradients, metrics = _psum((values, gradients, metrics), axis)
    losses = {name: (values[name], weights[name]) for name in values}
    return _Gradients(gradients, losses, metrics, _mean_floats(collections, axis))


def _loss(of: tuple[dict[str, jax.Array], tuple]) -> jax.Array:
    """Computes the loss of one device alone from what `_sums` returns."""
    values, (weights, *_) = of
    return sum((values[name] * _inverse(weights[name]) for name in values), jnp.float32(0))


def _micro_batches(batch: Batch, parts: int) -> Batch:
    """Splits every (b, …) leaf into (parts, b / parts, …) and keeps neighbours together."""
    size, rest = divmod(batch.count, parts)
    if rest or not size:
        raise ValueError(
            f"{batch.count} rows per device cannot be split into {parts} micro-batches"
        )
    pair = 2 if size % 2 == 0 else 1

    def split(x: jax.Array) -> jax.Array:
        # The device's axis stays outermost until the end: no communication under `jit`.
        x = x.reshape(size // pair, parts, pair, *x.shape[1:])
        return jnp.moveaxis(x, 1, 0).reshape(parts, size, *x.shape[3:])

    return jax.tree.map(split, batch)


def _report(total: _Gradients, learning_rate: jax.Array) -> dict[str, jax.Array]:
    """Returns the step's metrics; see `make_train_step`."""
    losses = {name: value * _inverse(weight) for name, (value, weight) in total.losses.items()}
    loss = sum(losses.values(), jnp.float32(0))
    norm = optax.global_norm(total.gradients)
    report = {
        "loss": loss,
        **{f"loss/{name}": value for name, value in losses.items()},
        "grad_norm": norm,
        "lr": learning_rate,
        "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
    }
    if clash := report.keys() & total.metrics.keys():
        raise ValueError(f"the task's metrics {sorted(clash)} bear names of the step's own")
    means = {name: value * _inverse(count) for name, (value, count) in total.metrics.items()}
    return report | means


def _average(ema: Tree | None, variables: Tree, step: jax.Array, how: Ema | None) -> Tree | None:
    """Returns the averaged variables after a step; None where the run keeps none."""
    if (ema is None) != (how is None):
        raise ValueError("the state has averaged variables exactly if the step is given `ema`")
    if ema is None or how is None:
        return None
    n = step.astype(jnp.float32)
    decay = jnp.minimum(how.decay, (1 + n) / (10 + n)) if how.warm_up else jnp.float32(how.decay)

    def mix(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        d = decay.astype(new.dtype)
        return d * old + (1 - d) * new

    return jax.tree.map(mix, ema, variables)


def _check_same_types(before: Tree, after: Tree) -> None:
    """Refuses a state that changes its type.

    It would compile the step anew, or fail far from the cause.
    """
    old, new = _types(before), _types(after)
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path):
            raise TypeError(f"a step changes {path} from {old.get(path)} to {new.get(path)}")


def _types(tree: Tree) -> dict[str, tuple]:
    """Returns each array's shape and dtype, by path."""
    flat = paths.flatten(jax.eval_shape(lambda: tree))
    return {path: (x.shape, x.dtype.name) for path, x in flat.items()}


def _float(x: Any) -> jax.Array:
    """Makes a number an array of float32, or leaves it wider if it is."""
    return at_least_float32(jnp.asarray(x))


def _inverse(weight: jax.Array) -> jax.Array:
    """Computes 1 / weight, and 0 for nothing."""
    return jnp.where(weight > 0, 1 / jnp.where(weight > 0, weight, 1), 0)


def _total(tree: Tree) -> Tree:
    """Adds up over the leading axis."""
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), tree)


def _psum(tree: Tree, axis: str | None) -> Tree:
    """Adds up over devices."""
    if _is_spread(axis):
        return lax.psum(tree, axis)
    # XLA:CPU's sum over one device would copy all gradients. With nothing at all in its place it
    # copies the parameters, because an update might come before the last look at the old ones.
    return materialize(tree)


def _is_spread(axis: str | None) -> bool:
    """Returns whether a step sees a part of the batch alone."""
    return axis is not None and lax.axis_size(axis) > 1


def _mean_floats(tree: Tree, axis: str | None) -> Tree:
    """Averages statistics over devices; those that are synchronised already stay as they are."""
    if not _is_spread(axis):
        return tree

    def mean(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        # Equal numbers may have a rounded sum, and frozen statistics would creep.
        return jnp.clip(lax.pmean(x, axis), lax.pmin(x, axis), lax.pmax(x, axis))

    return jax.tree.map(mean, tree)


def _gather(tree: Tree, axis: str | None) -> Tree:
    """Collects all devices' rows."""
    return tree if axis is None else lax.all_gather(tree, axis, tiled=True)
