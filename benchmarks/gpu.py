"""Training on one GPU as it should be run there: `python -m benchmarks gpu`.

bfloat16 with float32 statistics and parameters, a donated state, and several steps in every
dispatch (a scan over batches that lie on the device). For each network it prints images per second,
MFU and the share of the memory's bandwidth: of XLA's counts of operations and of bytes for one
step, over what the device could do at best. The state is real, the images are not.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

from benchmarks.work import classify, detect
from benchmarks.work.inputs import DECAY, DETECTION_RATE, MOMENTUM

DTYPE = "bfloat16"
# Dense bfloat16 (V100, T4: float16) operations and bytes per second, by makers' data sheets; the
# first name that the device's name contains.
PEAKS = {
    "B200": (2250e12, 8.0e12),
    "H200": (989e12, 4.8e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100": (989e12, 3.35e12),
    "A100-SXM4-40GB": (312e12, 1.555e12),
    "A100": (312e12, 2.04e12),
    "L40S": (362e12, 0.864e12),
    "L4": (121e12, 0.3e12),
    "V100": (125e12, 0.9e12),
    "T4": (65e12, 0.32e12),
}
Setting = Callable[..., tuple[Any, Any, Any]]
# Name: how it is set up, for real and under --quick.
WORK: dict[str, tuple[Setting, tuple[int, ...], tuple[int, ...]]] = {
    "lenet": (classify.setting, (4096, 28), (4, 28)),
    "resnet50": (classify.setting, (256, 224), (2, 64)),
    "ssd300": (detect.setting, (64, 300, 300), (1, 300, 300)),
    "faster_rcnn": (detect.setting, (8, 800, 1344), (1, 64, 64)),
}


def main(argv: list[str]) -> int:
    """Returns the exit code."""
    import jax

    parser = argparse.ArgumentParser("python -m benchmarks gpu", description=__doc__)
    parser.add_argument("filter", nargs="?", default="", help=f"part of {', '.join(WORK)}")
    parser.add_argument("--dispatch", type=int, default=8, help="steps per dispatch")
    parser.add_argument("--rounds", type=int, default=5, help="timed dispatches; the best counts")
    parser.add_argument("--quick", action="store_true", help="tiny: does it work?")
    flags = parser.parse_args(argv)
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), {DTYPE}, {flags.dispatch} steps per dispatch")
    for name in (name for name in WORK if flags.filter in name):
        print(f"{name:>12}  {measure(name, flags.dispatch, flags.rounds, flags.quick)}", flush=True)
    return 0


def measure(name: str, dispatch: int, rounds: int, quick: bool) -> str:
    """One network's line."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from vision_jax import training as hall

    setting, real, small = WORK[name]
    task, batch, variables = setting(None, name, *(small if quick else real), dtype=DTYPE)
    optimizer = hall.Optimizer(hall.Sgd(MOMENTUM), hall.Constant(DETECTION_RATE), decay=DECAY)
    update = optimizer.build(variables["params"], 1000, 1000)
    one = functools.partial(hall.make_train_step(task, update), seed=np.uint32(0))
    state, batch = jax.device_put((hall.create(variables, update), batch))
    single = jax.jit(one).lower(state, batch).compile().cost_analysis()

    @functools.partial(jax.jit, donate_argnums=0)
    def several(state: Any, batches: Any) -> tuple[Any, Any]:
        return jax.lax.scan(one, state, batches)

    batches = jax.tree.map(lambda x: jnp.stack([x] * dispatch), batch)
    began = time.perf_counter()
    state, metrics = jax.block_until_ready(several(state, batches))
    compiled = time.perf_counter() - began
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        state, metrics = jax.block_until_ready(several(state, batches))
        spent.append((time.perf_counter() - began) / dispatch)
    if not bool(metrics["finite"].all()):
        return "the loss is not finite"
    return _line(jax.devices()[0].device_kind, batch.count, min(spent), single, compiled)


def _line(kind: str, images: int, seconds: float, counts: dict, compiled: float) -> str:
    peak = next((peak for name, peak in PEAKS.items() if name.lower() in kind.lower()), None)
    shares = []
    for i, (title, key) in enumerate((("MFU", "flops"), ("of bandwidth", "bytes accessed"))):
        share = "–" if peak is None else f"{counts[key] / seconds / peak[i]:.1%}"
        shares.append(f"{share} {title}")
    rates = f"{images / seconds:,.1f} images/s, {', '.join(shares)}"
    work, traffic = counts["flops"] / images / 1e9, counts["bytes accessed"] / images / 1e6
    per_image = f"{work:.2f} GFLOP and {traffic:,.0f} MB per image"
    return f"{rates}; {per_image}; first call {compiled:.0f} s"
