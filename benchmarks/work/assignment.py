"""The assignment of objects to queries (DETR): ours in the program, SciPy's by a callback.

Costs are those of random boxes and classes; of an image's slots only the first hold objects.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.work import Work

QUERIES, SLOTS = 100, 100


def ours(shared: object, images: int, most: int, repeats: int) -> Work:
    import jax

    from vision_jax.ops.set_prediction import match_set

    return _timed(jax.vmap(match_set), images, most, repeats)


def scipy(shared: object, images: int, most: int, repeats: int) -> Work:
    import jax
    from scipy.optimize import linear_sum_assignment

    def on_host(cost: np.ndarray, valid: np.ndarray) -> np.ndarray:
        matched = np.full(cost.shape[:2], -1, np.int32)
        for row, (one, there) in enumerate(zip(np.asarray(cost), np.asarray(valid), strict=True)):
            queries, objects = linear_sum_assignment(one[:, : there.sum()])
            matched[row, queries] = objects
        return matched

    def run(cost: Any, valid: Any) -> Any:
        shape = jax.ShapeDtypeStruct(cost.shape[:2], np.int32)
        return jax.pure_callback(on_host, shape, cost, valid)

    return _timed(run, images, most, repeats)


def _timed(function: Callable, images: int, most: int, repeats: int) -> Work:
    import jax

    rng = np.random.default_rng(0)
    boxes, truth = rng.random((images, QUERIES, 1, 4)), rng.random((images, 1, SLOTS, 4))
    likely = rng.random((images, QUERIES, SLOTS))
    cost = (5 * np.abs(boxes - truth).sum(-1) - likely).astype(np.float32)
    valid = np.arange(SLOTS)[None] < rng.integers(0, most + 1, images)[:, None]
    run, inputs = jax.jit(function), jax.device_put((cost, valid))
    matched = np.asarray(run(*inputs))

    def rounds() -> None:
        for _ in range(repeats):
            jax.block_until_ready(run(*inputs))

    objects = np.maximum(matched, 0)[:, :, None]
    chosen = np.where(matched >= 0, np.take_along_axis(cost, objects, 2)[..., 0], 0)
    return Work(rounds, images * repeats, {"cost": chosen.sum(1)}, {})
