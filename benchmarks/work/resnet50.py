"""ResNet-50 (v1.5, float32), inference and the full training step: from uint8 images to metrics.

Weights are the peer's where it ran before; outputs are compared before anything is timed.
"""

import pathlib
import time

import numpy as np

from benchmarks.work import Work

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4


def images(batch_size: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (b, s, s, 3) and labels (b,) int32, the same for every variant."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (batch_size, size, size, 3), np.uint8)
    return image, rng.integers(0, 1000, batch_size).astype(np.int32)


def infer(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    import jax

    task, batch, variables = _setting(shared, batch_size, size)
    forward = jax.jit(lambda v, b: task.predict(v, b)["logits"])
    began = time.perf_counter()
    logits = jax.block_until_ready(forward(variables, batch))
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        for _ in range(steps):
            jax.block_until_ready(forward(variables, batch))

    return Work(run, steps * batch_size, {"logits": np.asarray(logits)}, facts)


def train(shared: pathlib.Path, batch_size: int, size: int, steps: int) -> Work:
    import jax

    from vision_jax import training

    task, batch, variables = _setting(shared, batch_size, size)
    rule = training.Sgd(MOMENTUM)
    optimizer = training.Optimizer(rule, training.Constant(RATE), decay=DECAY)
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = training.Parallel("shard_map")
    state = parallel.put_state(training.create(variables, update))
    step = parallel.compile(training.make_train_step(task, update, parallel.axis))
    seed = np.uint32(0)
    began = time.perf_counter()
    state, metrics = step(state, parallel.put_batch(batch), seed)
    loss = float(metrics["loss"])
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, parallel.put_batch(batch), seed)
            jax.block_until_ready(metrics)
        jax.block_until_ready(state)

    return Work(run, steps * batch_size, {"loss": np.array([loss])}, facts)


def _setting(shared: pathlib.Path, batch_size: int, size: int):
    import jax

    from vision_jax import models, tasks, weights
    from vision_jax.structs import Batch, Targets

    model = models.ResNet50()
    task = tasks.Classification(model, MEAN, STD)
    image, label = images(batch_size, size)
    index, valid = np.arange(batch_size, dtype=np.int32), np.ones(batch_size, bool)
    batch = Batch(image=image, valid=valid, index=index, targets=Targets(label=label))
    given = shared / "weights.safetensors"
    if given.exists():
        return task, batch, weights.load(given, model)
    return task, batch, task.init(jax.random.key(0), batch)
