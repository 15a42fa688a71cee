"""Gradients of each example's loss, of any task."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from vision_jax.structs import Batch
from vision_jax.tasks import Task

Tree = Any
Numbers = dict[str, jax.Array]


def per_example_gradients(
    task: Task,
    variables: dict[str, Tree],
    batch: Batch,
    key: jax.Array,
    train: bool = False,
    normalise: Literal["own", "batch"] = "own",
) -> tuple[Tree, jax.Array]:
    """Computes the gradient of every example's loss by the parameters, in one program (`vmap`).

    Each example is a batch of one with its own `index`, so that its random draws are those that it
    has in the whole batch. What couples examples has no gradient per example: in training, batch
    normalisation sees this one image (use norm 'frozen' or 'group', or `train=False`), and mixup
    finds no neighbour.

    Args:
      task: any; its loss is the sum over names of sum / weight.
      variables: 'params' and collections; the latter are read only.
      batch: b rows. A row that is not valid has gradient 0.
      key: the step's.
      train: dropout and augmentation on.
      normalise: 'own': the loss as if the example were the batch. 'batch': its share of the batch's
        loss, sums divided by the weights of the whole batch: these gradients add up to the batch's,
        also where weights differ (matched boxes).

    Returns:
      The parameters' tree with a leading axis b, and the losses (b,) float32.
    """
    params = variables["params"]

    def terms(params: Tree, row: Batch) -> tuple[Numbers, Numbers]:
        one = jax.tree.map(lambda x: x[None], row)
        losses, _ = task.loss({**variables, "params": params}, one, key, train=train)
        sums = {name: jnp.float32(total) for name, (total, _) in losses.items()}
        return sums, {name: jnp.float32(weight) for name, (_, weight) in losses.items()}

    batch_weights: Numbers | None = None
    if normalise == "batch":
        weights = jax.vmap(lambda row: terms(params, row)[1])(batch)
        batch_weights = {name: weight.sum() for name, weight in weights.items()}

    def loss(params: Tree, row: Batch) -> jax.Array:
        sums, weights = terms(params, row)
        return _mean(sums, weights if batch_weights is None else batch_weights)

    losses, gradients = jax.vmap(jax.value_and_grad(loss), (None, 0))(params, batch)
    return gradients, losses


def _mean(sums: Numbers, weights: Numbers) -> jax.Array:
    """Adds up sum / weight over names; a name without weight contributes 0."""
    total = jnp.float32(0)
    for name, value in sums.items():
        weight = weights[name]
        total += jnp.where(weight > 0, value / jnp.where(weight > 0, weight, 1), 0)
    return total
