"""One process of a run: what `run.py` does, with the toy task. Prints one line per step.

python training_worker.py '{"folder": ..., "steps": ..., ...}' [coordinator processes id]
"""

import json
import os
import pathlib
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"
if __name__ == "__main__":
    os.environ.pop("XLA_FLAGS", None)  # of the tests that start this
    if len(sys.argv) > 2:
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
sys.path[:0] = [str(pathlib.Path(__file__).parents[2]), str(pathlib.Path(__file__).parent)]

# ruff: noqa: E402
import jax
import numpy as np
from training_toy import Toy, make_batch

from vision_jax.config import UserError
from vision_jax.training import (
    Checkpoints,
    Constant,
    Ema,
    Interrupt,
    Optimizer,
    Parallel,
    Sgd,
    create,
    make_train_step,
    multiprocess,
)

OPTIMIZER, EMA, SEED = Optimizer(Sgd(), Constant(0.05)), Ema(0.9), np.uint32(3)


def update():
    """The toy's update, the same in every process."""
    return OPTIMIZER.build(Toy().init()["params"], 100, 10)


def local_rows(step):
    """This process's contiguous rows of the step's global batch."""
    size = 16 // jax.process_count()
    first = jax.process_index() * size
    return jax.tree.map(lambda x: x[first : first + size], make_batch(16, seed=step))


def train(
    folder,
    steps,
    how="shard_map",
    every=2,
    keep=3,
    interrupt=None,
    slow=0.0,
    fail_at=None,
):
    """Resumes or begins; returns the state on the host."""
    task, parallel = Toy(), Parallel(how)
    parallel.check(16)
    step = parallel.compile(make_train_step(task, update(), parallel.axis, ema=EMA))
    checkpoints = Checkpoints(folder, keep)
    state = create(task.init(), update(), ema=True)
    found = checkpoints.restore(state)
    state = found[0] if found else state
    count = int(state.step)
    print(f"start {count}", flush=True)
    state = parallel.put_state(state)
    while count < steps and not (interrupt and interrupt.requested()):
        if count == fail_at and jax.process_index() == 1:
            raise RuntimeError("the toy breaks here")
        state, report = step(state, parallel.put_batch(local_rows(count)), SEED)
        count += 1
        print(f"step {count} {float(report['loss']):.6f}", flush=True)
        if count % every == 0 and not (interrupt and interrupt.requested()):
            checkpoints.save(count, parallel.get_state(state), {"seed": 3})
        time.sleep(slow)
    checkpoints.wait()
    if count not in checkpoints.steps():
        checkpoints.save(count, parallel.get_state(state), {"seed": 3})
    checkpoints.close()
    print(f"end {count}", flush=True)
    return parallel.get_state(state)


def main():
    options = json.loads(sys.argv[1])
    if len(sys.argv) > 2:
        coordinator, processes, this = sys.argv[2:]
        multiprocess.initialize(coordinator, int(processes), int(this), heartbeat_s=10)
    try:
        multiprocess.check_same("the config", str(options.pop("config", "")))
        with Interrupt() as interrupt:
            train(**options, interrupt=interrupt)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        multiprocess.leave(error.code)
    if interrupt.number is not None:
        print(f"interrupted by {interrupt.number}", flush=True)


if __name__ == "__main__":
    main()
