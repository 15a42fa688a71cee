"""Weak scaling: training steps of a small network with equally many images on every device.

On the CPU they are virtual, and share the cores: more of them cannot be faster. What is shown
there is that the collectives work, by the losses on one batch split over any number of devices, and
what they cost.
"""

import os
import pathlib
import time

import numpy as np

from benchmarks.work import Work, on_gpu
from benchmarks.work.inputs import DECAY, MOMENTUM, RATE, images, normalisation

MOST = 8
_VIRTUAL = "--xla_force_host_platform_device_count"


def train(
    shared: pathlib.Path,
    devices: int,
    depth: int,
    per_device: int,
    steps: int,
    device: str = "cpu",
    dtype: str = "float32",
) -> Work:
    """On so many of the devices; the losses are of `MOST` times `per_device` images.

    Args:
      shared: not used.
      devices: 'cuda' or 'cpu' ones, as `device` says.
      depth: of the ResNet for CIFAR.
      per_device, steps: images of a step on each device; steps of a round.
      dtype: that the network computes in.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _VIRTUAL not in flags:  # read when JAX first looks for devices; GPUs stay what they are
        os.environ["XLA_FLAGS"] = f"{flags} {_VIRTUAL}={MOST}"
    on_gpu.start(device)
    import jax

    if jax.device_count() < devices:
        raise RuntimeError(f"{jax.device_count()} devices, not {devices}")
    from vision_jax import models, tasks
    from vision_jax import training as hall

    model = models.CifarResNet(depth, layers=models.Layers(dtype=dtype))
    task = tasks.Classification(model, *normalisation("resnet20"))
    parallel = hall.Parallel("shard_map", jax.devices()[:devices])
    variables = task.init(jax.random.key(0), _batch(1))
    optimizer = hall.Optimizer(hall.Sgd(MOMENTUM), hall.Constant(RATE), decay=DECAY)
    update = optimizer.build(variables["params"], 1000, 1000)
    step = parallel.compile(hall.make_train_step(task, update, parallel.axis))
    seed = np.uint32(0)

    def losses(global_batch: int, count: int):
        state, found = parallel.put_state(hall.create(variables, update)), []
        batch = parallel.put_batch(_batch(global_batch))
        for _ in range(count):
            state, metrics = step(state, batch, seed)
            found.append(float(metrics["loss"]))
        return state, batch, np.array(found)

    _, _, compared = losses(MOST * per_device, 2)
    began = time.perf_counter()
    state, batch, _ = losses(devices * per_device, 1)
    facts = {"compile_seconds": time.perf_counter() - began}

    def run() -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = step(state, batch, seed)
        jax.block_until_ready(state)

    return Work(run, steps * devices * per_device, {"loss": compared}, facts)


def _batch(count: int):
    from vision_jax.structs import Batch, Targets

    image, label = images("resnet20", count, 32)
    index, valid = np.arange(count, dtype=np.int32), np.ones(count, bool)
    return Batch(image=image, valid=valid, index=index, targets=Targets(label=label))
