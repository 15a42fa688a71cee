"""SharpMask on ResNet-50: scores and sharpened masks of windows of 160 pixels with context."""

import pathlib

import numpy as np

from benchmarks.work import Work, ours
from benchmarks.work.inputs import MEAN, STD

SIDE = 192  # of a window with its context, pixels


def infer(shared: pathlib.Path, batch_size: int, steps: int) -> Work:
    """Computes masks and scores, norms folded."""
    import jax.numpy as jnp

    from vision_jax import models, tasks
    from vision_jax.export import fold_norms
    from vision_jax.structs import Batch, Targets

    model = models.SharpMaskResNet50()
    task = tasks.Detection(model, mean=MEAN, std=STD)
    image, index = windows(batch_size), np.arange(batch_size, dtype=np.int32)
    batch = Batch(image=image, valid=np.ones(batch_size, bool), index=index)
    variables = ours.weights_of(shared, model, task, batch)
    targets = Targets(boxes=jnp.zeros((batch_size, 1, 4)))  # the images are windows
    sizes = jnp.full((batch_size, 2), float(SIDE))
    inputs = task.normalize(jnp.asarray(image)), sizes, targets
    variables = fold_norms(model, variables, *inputs)

    def run(variables, batch):
        outputs = model.apply(variables, task.normalize(batch.pixels), sizes, targets)
        return {"masks": outputs["mask_logits"], "scores": outputs["objectness_logits"][:, 0]}

    return ours.inference(run, variables, batch, steps)


def windows(batch_size: int) -> np.ndarray:
    """Returns pixels, uint8 (b, 192, 192, 3)."""
    shape = (batch_size, SIDE, SIDE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
