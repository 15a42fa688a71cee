"""Johnson's super-resolution (2016): small uint8 pixels to large ones, and the pixel loss's step.

Weights are the peer's; the pictures are noise, of which both sides draw the same.
"""

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.work import Work, ours
from benchmarks.work.inputs import RATE

FACTOR, BLOCKS, WIDTH = 4, 4, 64
LIMIT = 150.0  # of the last tanh


def infer(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    import jax
    import jax.numpy as jnp

    from vision_jax.export import fold_norms

    task, batch, variables = _setting(shared, batch_size, size)
    variables = fold_norms(task.model, variables, task.normalize(jnp.asarray(batch.image)))

    def run(variables: Any, batch: Any) -> dict[str, jax.Array]:
        made = task.apply(variables, task.normalize(batch.pixels))["image"]
        return {"image": jnp.clip(task.pixels(made), 0, 255)}

    return ours.inference(run, variables, batch, steps)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    task, batch, variables = _setting(shared, batch_size, size)
    return ours.training(task, variables, batch, steps, RATE)


def pictures(batch_size: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns small images and what is to be made of them, uint8."""
    rng = np.random.default_rng(0)
    sides = size, size * FACTOR
    small, large = (rng.integers(0, 256, (batch_size, n, n, 3), dtype=np.uint8) for n in sides)
    return small, large


def _setting(shared: pathlib.Path, batch_size: int, size: int) -> tuple[Any, Any, Any]:
    """Makes the task, the batch and the variables."""
    from vision_jax import models, tasks
    from vision_jax.structs import Batch, Targets

    model = models.JohnsonSuperResolution(FACTOR, WIDTH, BLOCKS, LIMIT)
    task = tasks.SuperResolution(model)
    small, large = pictures(batch_size, size)
    index, valid = np.arange(batch_size, dtype=np.int32), np.ones(batch_size, bool)
    batch = Batch(image=small, valid=valid, index=index, targets=Targets(target_image=large))
    return task, batch, ours.weights_of(shared, model, task, batch, _table())


def _table() -> Any:
    """Makes the table of the names of `super_resolution_torch`."""
    from vision_jax.weights.engine import Row, Table

    def rows(model: Any) -> Iterator[Row]:
        names = ["conv1"]
        names += [f"block{i}/conv{k}" for i in range(1, BLOCKS + 1) for k in (1, 2)]
        names += [f"up{i}" for i in range(1, FACTOR.bit_length())]
        for name in names:
            kind = "conv_transpose_bias" if name.startswith("up") else "conv_bias"
            reference = name.replace("/", ".")
            yield Row(f"{reference}.conv", f"{name}/conv", kind)
            yield Row(f"{reference}.norm", f"{name}/norm", "norm")
        yield Row("conv2", "conv2/conv", "conv_bias")

    return Table("benchmarks", rows)
