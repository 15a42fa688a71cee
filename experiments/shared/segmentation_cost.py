"""The networks whose cost `sweeps/sliding_vs_fcn.py` compares, and the metric that measures it."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from experiments.shared import embedded
from vision_jax import models
from vision_jax.evaluation import SummedMetric
from vision_jax.inspect import summarize
from vision_jax.ops.initial import init

KINDS = ("patches1", "patches8", "full", "fcn")


@dataclasses.dataclass(frozen=True)
class Cost(SummedMetric):
    """A metric of what predictions cost, instead of what they are worth: it times the network.

    Attributes:
      model: the network.
      size: side of the images, pixels.
      passes: number of timed passes, of which the median counts.
    """

    model: nn.Module
    size: int = 64
    passes: int = 5

    def names(self) -> tuple[str, ...]:
        return ("multiply_adds", "seconds")

    def empty(self) -> np.ndarray:
        return np.zeros((), np.int64)

    def update(self, outputs: dict[str, Any], batch: Any) -> jax.Array:
        return batch.valid.sum(dtype=jnp.int32)

    def result(self, state: np.ndarray) -> dict[str, float]:
        image = jnp.ones((1, self.size, self.size, 3))
        variables = init(self.model, jax.random.key(0), image)
        answer = jax.jit(lambda v, x: self.model.apply(v, x)["logits"])
        answer(variables, image).block_until_ready()
        seconds = []
        for _ in range(self.passes):
            start = time.perf_counter()
            answer(variables, image).block_until_ready()
            seconds.append(time.perf_counter() - start)
        counted = summarize(self.model, image).multiply_adds
        return {"multiply_adds": float(counted), "seconds": float(np.median(seconds))}


def network(kind: str = "fcn", width: int = 64) -> nn.Module:
    """Makes one of `KINDS`, on VGG's five stages with one convolution each.

    Args:
      kind: its name.
      width: channels of the first stage.
    """
    backbone = models.VGG(kernels=((3,),) * 5, width=width, ceil_mode=True)
    classes, hidden = embedded.SEGMENTED, (8 * width,)
    if kind.startswith("patches"):
        head = models.FcHead(classes, hidden, grid=0)
        return models.PatchSegmenter(backbone, head, 33, int(kind.removeprefix("patches")))
    if kind == "full":
        return models.full_resolution(classes, widths=(width,) * 8)
    head = models.FCNHead(classes, hidden, window=3, skips=("pool4", "pool3"))
    return models.FCN(backbone, head)
