"""Our training as it should be run on a GPU; it runs on a CPU too, which shows that it works.

bfloat16 with float32 statistics and parameters, a donated state, batches that lie on the device,
several steps in every dispatch. The host waits at a round's end alone, as PyTorch's side does.
"""

import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.work import Work, classify, counts, detect, ours
from benchmarks.work.inputs import DECAY, DETECTION_RATE, MOMENTUM, RATE

DTYPE = "bfloat16"


def classifier(
    shared: pathlib.Path,
    network: str,
    batch_size: int,
    size: int,
    steps: int,
    device: str,
    dispatch: int = 1,
    deterministic: bool = False,
) -> Work:
    """The training step of a network of `classify`.

    Args:
      shared: where the peer left its weights.
      network, batch_size, size, steps: as of `classify.train`.
      device: 'cuda' or 'cpu'; see `entries.Entry`.
      dispatch: steps per program; no more than `steps`, which it should divide.
      deterministic: only operations whose results do not depend on the order of sums.
    """
    start(device, deterministic)
    setting = classify.setting(shared, network, batch_size, size, DTYPE)
    return _training(*setting, RATE, (".*",), steps, dispatch)


def detector(
    shared: pathlib.Path,
    network: str,
    batch_size: int,
    height: int,
    width: int,
    steps: int,
    device: str,
    dispatch: int = 1,
    deterministic: bool = False,
) -> Work:
    """The training step of a network of `detect`; arguments as of `classifier`."""
    start(device, deterministic)
    setting = detect.setting(shared, network, batch_size, height, width, DTYPE, deterministic)
    outputs = detect.compared(network, setting[0])
    trained = detect.trained(network)
    return _training(*setting, DETECTION_RATE, trained, steps, dispatch, outputs)


def start(device: str, deterministic: bool = False) -> None:
    """Starts JAX on the device.

    Raises:
      RuntimeError: JAX has no such device.
    """
    from vision_jax.training import environment

    if deterministic:
        environment.require_determinism()
    import jax

    if (jax.default_backend() == "gpu") != (device == "cuda"):
        raise RuntimeError(f"JAX runs on {jax.default_backend()}, not on {device}")


def peak() -> dict[str, float]:
    """The most memory of the device that was in use, where it tells."""
    import jax

    memory = jax.devices()[0].memory_stats() or {}
    found = memory.get("peak_bytes_in_use")
    return {} if found is None else {"device_peak_bytes": found}


class Prepared(NamedTuple):
    """A training step, ready to be compiled.

    Attributes:
      parallel: of one device.
      step: as `Parallel.compile` takes it.
      state: on the device.
      facts: `flops` and `bytes` of one image, in a single step.
    """

    parallel: Any
    step: Callable
    state: Any
    facts: dict[str, float]


def prepare(
    task: Any, batch: Any, variables: Any, rate: float, trainable: tuple[str, ...] = (".*",)
) -> Prepared:
    """Arguments as of `ours.training`."""
    import jax

    from vision_jax import training as hall

    rule = hall.Sgd(MOMENTUM)
    optimizer = hall.Optimizer(rule, hall.Constant(rate), decay=DECAY, trainable=trainable)
    update = optimizer.build(variables["params"], 1000, 1000)
    parallel = hall.Parallel("shard_map", jax.devices()[:1])
    state, seed = hall.create(variables, update), np.uint32(0)
    flops = counts.flops(hall.make_train_step(task, update), state, batch, seed)
    step = hall.make_train_step(task, update, parallel.axis)
    state = parallel.put_state(state)
    single = parallel.compile(step).lower(state, parallel.put_batch(batch), seed).compile()
    facts = {"flops": flops / batch.count, "bytes": counts.traffic(single) / batch.count}
    return Prepared(parallel, step, state, facts)


def _training(
    task: Any,
    batch: Any,
    variables: Any,
    rate: float,
    trainable: tuple[str, ...],
    steps: int,
    dispatch: int,
    outputs: Callable[[Any, Any], dict[str, Any]] | None = None,
) -> Work:
    """See `ours.training`; `dispatch` steps in one program, each with the same batch."""
    import jax

    compared = {}
    if outputs is not None:
        found = jax.device_get(jax.jit(outputs)(variables, batch))
        compared = {name: value.astype(np.float32) for name, value in found.items()}
    parallel, step, state, facts = prepare(task, batch, variables, rate, trainable)
    dispatch, seed = min(dispatch, steps), np.uint32(0)
    several = dispatch > 1
    given = parallel.put_batches([batch] * dispatch) if several else parallel.put_batch(batch)
    run = parallel.compile(step, several)
    losses: list[float] = []
    began = time.perf_counter()
    while len(losses) < ours.COMPARED_STEPS:
        state, metrics = run(state, given, seed)
        losses += np.ravel(metrics["loss"]).tolist()
        facts.setdefault("compile_seconds", time.perf_counter() - began)

    def rounds() -> None:
        nonlocal state
        for _ in range(steps // dispatch):
            state, _ = run(state, given, seed)
        jax.block_until_ready(state)

    compared = compared or {"loss": np.array(losses[: ours.COMPARED_STEPS])}
    units = steps // dispatch * dispatch * batch.count
    return Work(rounds, units, compared, facts, peak)
