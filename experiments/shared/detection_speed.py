"""How fast a detector is in its evaluation, as `sweeps/speed_accuracy.py` tables it."""

import dataclasses
import time
from typing import Any, ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Speed:
    """Not what detections are worth but how fast they come: a metric that reads the clock.

    `images_per_second` of the evaluation, with all that it does: decoding, network, suppression.
    The first batch, which may compile, is left out; an evaluation of one batch gives nothing.
    """

    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("detections",)

    def empty(self) -> list:
        return []

    def collect(self, state: list, outputs: dict[str, Any], batch: Any) -> list:
        return [*state, (time.perf_counter(), int(np.sum(batch.valid)))]

    def result(self, state: list) -> dict[str, float]:
        if len(state) < 2:
            return {}
        seconds = state[-1][0] - state[0][0]
        return {"images_per_second": sum(images for _, images in state[1:]) / seconds}
