"""Our time and memory as the batch, the image or the number of boxes grows.

`temp_bytes` are the compiled program's temporaries, as XLA plans them.
"""

import dataclasses
import pathlib
import time
from typing import Any

import numpy as np

from benchmarks.work import Work, classify, detect
from benchmarks.work.inputs import DECAY, MOMENTUM, RATE


def train(shared: pathlib.Path, network: str, batch_size: int, size: int, steps: int) -> Work:
    """The training step of a classifier."""
    import jax

    from vision_jax import training as hall

    task, batch, variables = classify.setting(shared, network, batch_size, size)
    optimizer = hall.Optimizer(hall.Sgd(MOMENTUM), hall.Constant(RATE), decay=DECAY)
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = hall.Parallel("shard_map", jax.devices()[:1])
    state, batch = parallel.put_state(hall.create(variables, update)), parallel.put_batch(batch)
    step = parallel.compile(hall.make_train_step(task, update, parallel.axis))
    seed = np.uint32(0)
    compiled, facts = _compile(step, state, batch, seed)

    def run() -> None:
        nonlocal state
        for _ in range(steps):
            state, _ = compiled(state, batch, seed)
        jax.block_until_ready(state)

    return Work(run, steps * batch_size, facts=facts)


def propose(shared: pathlib.Path, boxes: int, height: int, width: int, steps: int) -> Work:
    """Inference of Faster R-CNN with so many proposals."""
    import jax

    task, batch, variables = detect.setting(shared, "faster_rcnn", 1, height, width)
    rpn = task.model.rpn.clone(pre_nms_top_n=boxes, post_nms_top_n=boxes)
    task = dataclasses.replace(task, model=task.model.clone(rpn=rpn))
    forward = jax.jit(lambda v, b: task.predict(v, b)["detections"])
    variables = jax.device_put(variables)
    compiled, facts = _compile(forward, variables, batch)

    def run() -> None:
        for _ in range(steps):
            jax.block_until_ready(compiled(variables, batch))

    return Work(run, steps, facts=facts)


def _compile(function: Any, *arguments: Any) -> tuple[Any, dict[str, float]]:
    began = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    memory = compiled.memory_analysis()
    facts = {"compile_seconds": time.perf_counter() - began}
    return compiled, facts | {"temp_bytes": memory.temp_size_in_bytes}
