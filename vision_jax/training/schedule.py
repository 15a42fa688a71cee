"""Learning rates over time: dataclasses that `build(total_steps, steps_per_epoch)` into functions.

A built schedule maps the number of updates made, () int32, to a () float32 learning rate. Times
are given in `unit`: 'epochs', 'steps', or 'fraction' of the whole run.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.config import one_of, within
from vision_jax.training.state import PlateauState

Rate = Callable[[jax.Array], jax.Array]
_UNITS = ("epochs", "steps", "fraction")


class Schedule(Protocol):
    """A description of a learning rate that knows no run yet."""

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the learning rate a function of the number of updates made."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """A learning rate that stays the same."""

    value: float = 0.1

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "value")

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes a constant; see `Schedule`."""
        return lambda step: jnp.full((), self.value, jnp.float32)


@dataclasses.dataclass(frozen=True)
class Step:
    """A staircase: `value`, times `factor` at each boundary (He et al. 2016, section 3.4)."""

    value: float = 0.1
    boundaries: tuple[float, ...] = (30, 60, 90)
    factor: float = 0.1
    unit: str = "epochs"

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "value", "boundaries", "factor")
        one_of(self, unit=_UNITS)

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the staircase; see `Schedule`."""
        edges = [_steps(b, self.unit, total_steps, steps_per_epoch) for b in self.boundaries]
        values = np.array([self.value * self.factor**i for i in range(len(edges) + 1)], np.float32)
        ordered = np.array(sorted(edges), np.int32)
        return lambda step: jnp.asarray(values)[jnp.sum(step >= ordered, dtype=jnp.int32)]


@dataclasses.dataclass(frozen=True)
class Cosine:
    """A half cosine from `value` to `end` (Loshchilov & Hutter 2017, without restarts)."""

    value: float = 0.1
    end: float = 0.0

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "value", "end")

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the half cosine; see `Schedule`."""

        def rate(step: jax.Array) -> jax.Array:
            wave = 0.5 * (1 + jnp.cos(math.pi * _progress(step, total_steps)))
            return self.end + (self.value - self.end) * wave

        return rate


@dataclasses.dataclass(frozen=True)
class Polynomial:
    """A decay from `value` to `end` as (1 - progress)^power: DeepLab's 'poly'; 1 is linear."""

    value: float = 0.1
    power: float = 0.9
    end: float = 0.0

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "value", "power", "end")

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the decay; see `Schedule`."""

        def rate(step: jax.Array) -> jax.Array:
            left = (1 - _progress(step, total_steps)) ** self.power
            return self.end + (self.value - self.end) * left

        return rate


@dataclasses.dataclass(frozen=True)
class Exponential:
    """An exponential decay: `value` times `factor` for every `every` of time.

    GoogLeNet: factor 0.96 every 8 epochs; Inception-v3: 0.94 every 2 epochs.
    """

    value: float = 0.045
    factor: float = 0.94
    every: float = 2
    unit: str = "epochs"
    staircase: bool = True  # in jumps; False: a little at every step

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "value", "factor")
        within(self, "(0, inf)", "every")
        one_of(self, unit=_UNITS)

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the decay; see `Schedule`."""
        every = max(1, _steps(self.every, self.unit, total_steps, steps_per_epoch))

        def rate(step: jax.Array) -> jax.Array:
            if self.staircase:
                periods = (step // every).astype(jnp.float32)
            else:
                periods = step.astype(jnp.float32) / every
            return self.value * self.factor**periods

        return rate


@dataclasses.dataclass(frozen=True)
class WarmUp:
    """A straight line from `start` to the value of `then` at its end, and `then` from there on.

    Goyal et al. 2017, section 2.2: the schedule's own times count from step 0. With `shift` the
    schedule begins when the warm-up ends and has the rest of the run (He et al. 2019, Bag of
    Tricks, section 4.1), and its epochs count from there.
    """

    then: Schedule
    length: float = 5
    unit: str = "epochs"
    start: float = 0.0  # a learning rate
    shift: bool = False

    def __post_init__(self) -> None:
        within(self, "[0, inf)", "length", "start")
        one_of(self, unit=_UNITS)

    def build(self, total_steps: int, steps_per_epoch: float) -> Rate:
        """Makes the line and what follows; see `Schedule`."""
        length = _steps(self.length, self.unit, total_steps, steps_per_epoch)
        offset = length if self.shift else 0
        then = self.then.build(max(1, total_steps - offset), steps_per_epoch)
        if length == 0:
            return then

        def rate(step: jax.Array) -> jax.Array:
            peak = then(jnp.int32(length - offset))
            ramp = self.start + (peak - self.start) * (step.astype(jnp.float32) / length)
            return jnp.where(step < length, ramp, then(jnp.maximum(step - offset, 0)))

        return rate


@dataclasses.dataclass(frozen=True)
class ReduceOnPlateau:
    """A rule that multiplies the schedule by `factor` when a metric stops improving, as torch's.

    The loop calls `update` after each evaluation, on the host; the counters live in the state.
    """

    metric: str = "eval/top1"
    mode: str = "max"  # 'max' | 'min': which way is better
    factor: float = 0.1
    patience: int = 10  # evaluations without improvement that are borne
    threshold: float = 1e-4  # relative improvement that counts as one
    minimum: float = 0.0  # smallest factor reached, relative to the schedule

    def __post_init__(self) -> None:
        one_of(self, mode=("max", "min"))
        within(self, "[0, 1)", "factor")
        within(self, "[0, inf)", "patience", "threshold")
        within(self, "[0, 1]", "minimum")

    def update(self, state: PlateauState, value: float) -> PlateauState:
        """Counts one more evaluation, which gave `value`; NaN is no improvement."""
        best, margin = float(state.best), self.threshold * abs(float(state.best))
        if math.isinf(best):
            better = not math.isnan(value)
        elif self.mode == "max":
            better = value > best + margin
        else:
            better = value < best - margin
        bad = 0 if better else int(state.bad) + 1
        scale = float(state.scale)
        if bad > self.patience:
            bad, scale = 0, max(self.minimum, scale * self.factor)
        return PlateauState(
            best=np.float32(value if better else best), bad=np.int32(bad), scale=np.float32(scale)
        )


def _steps(amount: float, unit: str, total_steps: int, steps_per_epoch: float) -> int:
    """Turns an amount of a unit of time into steps."""
    return round(amount * {"epochs": steps_per_epoch, "steps": 1, "fraction": total_steps}[unit])


def _progress(step: jax.Array, total_steps: int) -> jax.Array:
    """Returns the part of the run that is over, () float32 in [0, 1]."""
    return jnp.clip(step.astype(jnp.float32) / total_steps, 0, 1)
