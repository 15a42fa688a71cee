"""Steps on a picture's own pixels (Gatys 2016), VGG-19, float32: all of a round in one program.

Weights are the peer's; the pictures are noise, of which both sides draw the same.
"""

import dataclasses
import pathlib
import time

import numpy as np

from benchmarks.work import Work, ours

CONTENT, STYLE = ("conv4_2",), ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")
ALPHA, BETA, RATE = 1.0, 1e3, 2.0


@dataclasses.dataclass(frozen=True)
class Noise:
    """A picture of smooth noise."""

    seed: int
    size: int

    def read(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        coarse = rng.integers(0, 256, (self.size // 8, self.size // 8, 3))
        return np.kron(coarse, np.ones((8, 8, 1))).astype(np.float32)


def paint(shared: pathlib.Path, size: int, steps: int) -> Work:
    import jax

    from vision_jax import models, tasks, training
    from vision_jax.structs import Batch

    backbone = models.VGG(models.VGG19().backbone.kernels, pool="avg", keep=(*CONTENT, *STYLE))
    task = tasks.StyledPicture(
        models.WithLossNetwork(models.FreeImage(), backbone),
        loss_in=tasks.Perceptual(
            tuple((name, 1.0) for name in CONTENT), tuple((name, 0.2) for name in STYLE), "gatys"
        ),
        styles=(Noise(1, size),),
        style_weight=BETA,
        content_weight=ALPHA,
    )
    batch = Batch(
        image=Noise(0, size).read()[None].astype(np.uint8),
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
    )
    variables = jax.tree.map(np.asarray, task.init(jax.random.key(0), batch))
    loaded = ours.weights_of(shared, task.model, task, batch)
    variables["params"]["backbone"] = loaded["params"]["backbone"]
    variables = task.complete(variables, lambda: batch)
    optimizer = training.Optimizer(
        training.AdamW(), training.Constant(RATE), trainable=("network/.*",)
    )
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = training.Parallel("single")
    state = parallel.put_state(training.create(variables, update))
    step = training.make_train_step(task, update, parallel.axis)
    program, seed = parallel.compile(step, several=True), np.uint32(0)
    batches = parallel.put_batches([batch] * steps)
    began = time.perf_counter()
    state, metrics = program(state, batches, seed)
    losses = np.asarray(metrics["loss"])[: ours.COMPARED_STEPS]
    facts = {"compile_seconds": time.perf_counter() - began}

    def rounds() -> None:
        nonlocal state
        state, _ = program(state, batches, seed)
        jax.block_until_ready(state)

    return Work(rounds, steps, {"loss": losses}, facts)
