"""Fast style transfer by one pass of a network (Johnson et al. 2016), from uint8 pixels to pixels.

The network is the form of pytorch/examples, with instance norms; weights are the peer's.
"""

import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours

SEED = 0


def repaint(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    """Repaints pictures, as a prediction does."""
    import jax
    import jax.numpy as jnp

    from vision_jax import models, tasks
    from vision_jax.structs import Batch

    task = tasks.MakesImages(models.transformer_net(), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    image, index = pictures(batch_size, size), np.arange(batch_size, dtype=np.int32)
    batch = Batch(image=image, valid=np.ones(batch_size, bool), index=index)
    variables = ours.weights_of(shared, task.model, task, batch)

    def run(variables: Any, batch: Batch) -> dict[str, jax.Array]:
        made = task.apply(variables, task.normalize(batch.pixels))["image"]
        return {"image": jnp.clip(task.pixels(made), 0, 255)}

    return ours.inference(run, variables, batch, steps)


def pictures(batch_size: int, size: int) -> np.ndarray:
    """Returns noise, uint8 (b, size, size, 3)."""
    rng = np.random.default_rng(SEED)
    return rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
