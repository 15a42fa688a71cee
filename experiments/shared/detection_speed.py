"""The speed of a detector in its evaluation, for the table of `sweeps/speed_accuracy.py`."""

import dataclasses
import time
from typing import Any, ClassVar

import numpy as np

from vision_jax.evaluation import GatheredMetric


@dataclasses.dataclass(frozen=True)
class Speed(GatheredMetric):
    """A metric of speed, not of worth: it reads the clock.

    Result: `images_per_second` of the evaluation, with all that it does: decoding, network,
    suppression. The first batch, which may compile, is left out; an evaluation of one batch gives
    nothing.
    """

    outputs: ClassVar[tuple[str, ...]] = ("detections",)

    def names(self) -> tuple[str, ...]:
        return ("images_per_second",)

    def collect(self, state: list, outputs: dict[str, Any], batch: Any) -> list:
        return [*state, (time.perf_counter(), int(np.sum(batch.valid)))]

    def result(self, state: list) -> dict[str, float]:
        if len(state) < 2:
            return {}
        seconds = state[-1][0] - state[0][0]
        return {"images_per_second": sum(images for _, images in state[1:]) / seconds}
