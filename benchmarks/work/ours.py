"""How our networks are timed: a compiled function, and a compiled training step."""

import inspect
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.work import Work
from benchmarks.work.inputs import DECAY, MOMENTUM

WEIGHTS = "weights.safetensors"  # where a peer leaves its own
COMPARED_STEPS = 2  # whose losses are compared: the second one shows what the first one changed


def inference(run: Callable, variables: Any, batch: Any, steps: int) -> Work:
    """`run(variables, batch)` → arrays by name, compiled, so many times in a round."""
    import jax

    forward = jax.jit(run)
    variables = jax.device_put(variables)
    began = time.perf_counter()
    outputs = jax.device_get(forward(variables, batch))
    facts = {"compile_seconds": time.perf_counter() - began}

    def rounds() -> None:
        for _ in range(steps):
            jax.block_until_ready(forward(variables, batch))

    return Work(rounds, steps * batch.count, outputs, facts)


def training(
    task: Any,
    variables: Any,
    batch: Any,
    steps: int,
    rate: float,
    trainable: tuple[str, ...] = (".*",),
    outputs: Callable[[Any, Any], dict[str, Any]] | None = None,
) -> Work:
    """The full step: from uint8 images to new weights and metrics.

    Args:
      task, variables, batch: what is trained, on what.
      steps: of a round.
      rate: of learning.
      trainable: patterns of the parameters that are.
      outputs: `outputs(variables, batch)` are compared where losses are random; None: the losses
        of the first steps.
    """
    import jax

    from vision_jax import training as hall

    rule = hall.Sgd(MOMENTUM)
    optimizer = hall.Optimizer(rule, hall.Constant(rate), decay=DECAY, trainable=trainable)
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = hall.Parallel("shard_map", jax.devices()[:1])
    compared = {} if outputs is None else jax.device_get(jax.jit(outputs)(variables, batch))
    state = parallel.put_state(hall.create(variables, update))
    step = parallel.compile(hall.make_train_step(task, update, parallel.axis))
    seed, losses = np.uint32(0), []
    began = time.perf_counter()
    for number in range(COMPARED_STEPS):
        state, metrics = step(state, parallel.put_batch(batch), seed)
        losses.append(float(metrics["loss"]))
        if number == 0:
            facts = {"compile_seconds": time.perf_counter() - began}

    def rounds() -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, parallel.put_batch(batch), seed)
            jax.block_until_ready(metrics)
        jax.block_until_ready(state)

    compared = compared or {"loss": np.array(losses)}
    return Work(rounds, steps * batch.count, compared, facts)


def in_precision(make: Callable, dtype: str) -> Any:
    """Returns `make`'s network, with the norms that it has by itself, computing in `dtype`."""
    layers = inspect.signature(make).parameters["layers"].default
    return make(layers=layers.replace(dtype=dtype))


def weights_of(
    shared: pathlib.Path | None, model: Any, task: Any, batch: Any, table: Any = None
) -> Any:
    """The peer's weights where it ran before, or else new ones.

    `table` stands in where `vision_jax.weights` has none for the network.
    """
    import jax

    from vision_jax import weights

    if shared is None or not (shared / WEIGHTS).exists():
        return task.init(jax.random.key(0), batch)
    given = shared / WEIGHTS
    if table is None:
        return weights.load(given, model)
    return weights.engine.read(weights.read_state(given), model, [table], ()).variables
