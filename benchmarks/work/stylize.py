"""Fast style transfer (Johnson et al. 2016): one pass of its network, and its training step.

The network is the form of pytorch/examples, with instance norms; weights are the peer's, those of
the loss network, a whole VGG-16, too.
"""

import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours
from benchmarks.work.gatys import Noise

SEED = 0
CONTENT, STYLE = "conv3_3", ("conv1_2", "conv2_2", "conv3_3", "conv4_3")
STYLE_WEIGHT, RATE = 2.0, 1e-3
BACKBONE = "backbone"  # the folder of the loss network's weights
AS_PIXELS = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}  # what the network takes and gives


def repaint(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    """Repaints pictures, as a prediction does."""
    import jax
    import jax.numpy as jnp

    from vision_jax import models, tasks

    task = tasks.MakesImages(models.transformer_net(), **AS_PIXELS)
    batch = batch_of(batch_size, size)
    variables = ours.weights_of(shared, task.model, task, batch)

    def run(variables: Any, batch: Any) -> dict[str, jax.Array]:
        made = task.apply(variables, task.normalize(batch.pixels))["image"]
        return {"image": jnp.clip(task.pixels(made), 0, 255)}

    return ours.inference(run, variables, batch, steps)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    """Trains the network by its losses in the maps of the frozen one."""
    import jax

    from vision_jax import models, tasks

    network = models.transformer_net()
    backbone = models.VGG(models.VGG16().backbone.kernels, keep=STYLE)
    task = tasks.Style(
        models.WithLossNetwork(network, backbone),
        loss_in=tasks.Perceptual(((CONTENT, 1.0),), tuple((name, 1.0) for name in STYLE)),
        styles=(Noise(1, size),),
        style_weight=STYLE_WEIGHT,
        **AS_PIXELS,
    )
    batch = batch_of(batch_size, size)
    variables = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    alone = tasks.MakesImages(network, **AS_PIXELS)
    frozen = ours.weights_of(shared / BACKBONE, task.model, task, batch)["params"]["backbone"]
    trained = ours.weights_of(shared, network, alone, batch)["params"]
    variables["params"] = {"network": trained, "backbone": frozen}
    variables = task.complete(variables, lambda: batch)
    return ours.training(task, variables, batch, steps, RATE, ("network/.*",))


def batch_of(batch_size: int, size: int) -> Any:
    """Makes a batch of noise."""
    from vision_jax.structs import Batch

    index = np.arange(batch_size, dtype=np.int32)
    return Batch(image=pictures(batch_size, size), valid=np.ones(batch_size, bool), index=index)


def pictures(batch_size: int, size: int) -> np.ndarray:
    """Returns noise, uint8 (b, size, size, 3)."""
    rng = np.random.default_rng(SEED)
    return rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
