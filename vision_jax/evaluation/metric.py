"""The two kinds of metrics: those that add up sums, and those that gather every row."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from vision_jax.structs import Array, Batch

Results = dict[str, float | np.ndarray]  # floats are logged as `eval/<name>`, arrays reported


class Metric(Protocol):
    """A measure of outputs on a whole data set: a `SummedMetric` or a `GatheredMetric`."""

    gathers: ClassVar[bool]
    # Names of the outputs that `collect` reads; None is all. Metrics that do not gather ignore it.
    outputs: ClassVar[tuple[str, ...] | None]

    def names(self) -> tuple[str, ...] | None:
        """Returns the names of the numbers that it may report; None where nobody knows before."""
        ...

    def empty(self) -> Any:
        """Returns the state before the first batch."""
        ...

    def result(self, state: Any) -> Results:
        """Returns the results; those that nothing was measured for are left out."""
        ...


class SummedMetric(Metric, Protocol):
    """A metric for which sums suffice; a derived class adds `empty`, `update` and `result`.

    `empty()` is a pytree of zeros (float64 and int64, on the host). The caller sums the increments
    over devices and adds them on the host.
    """

    gathers: ClassVar[bool] = False
    outputs: ClassVar[tuple[str, ...] | None] = None

    def names(self) -> tuple[str, ...] | None:
        return None

    def update(self, outputs: dict[str, Array], batch: Batch) -> Any:
        """Returns a batch's increments, in the structure of `empty()`.

        It can be compiled. Increments are float32 and int32, and leave out rows with `batch.valid`
        False.
        """
        ...


class RatioMetric(SummedMetric, Protocol):
    """A metric whose results are sums over counts; a derived class adds `names` and `update`.

    The state is {name: (sum, count)}.
    """

    def names(self) -> tuple[str, ...]:
        """Returns the results' names."""
        ...

    def empty(self) -> dict[str, tuple[np.float64, np.int64]]:
        return {name: (np.float64(0), np.int64(0)) for name in self.names()}

    def result(self, state: dict[str, tuple[np.float64, np.int64]]) -> Results:
        return {name: float(total / count) for name, (total, count) in state.items() if count}


class GatheredMetric(Metric, Protocol):
    """A metric that needs every row; a derived class adds `outputs`, `collect` and `result`.

    The state is a list. Only the outputs that `outputs` names are sent to the host.
    """

    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...] | None] = None

    def names(self) -> tuple[str, ...] | None:
        return None

    def empty(self) -> list[Any]:
        return []

    def collect(self, state: list[Any], outputs: dict[str, Any], batch: Batch) -> list[Any]:
        """Returns the state with a batch's valid rows added; runs over numpy arrays."""
        ...


@dataclass(frozen=True)
class Prefixed:
    """A metric whose results bear other names, for a second one of a kind in one evaluation.

    Attributes:
      metric: the metric within.
      prefix: goes before the name of each result, such as 'small_'.
    """

    metric: Any
    prefix: str

    @property
    def gathers(self) -> bool:
        return self.metric.gathers

    @property
    def outputs(self) -> tuple[str, ...] | None:
        return self.metric.outputs

    def names(self) -> tuple[str, ...] | None:
        names = self.metric.names()
        return None if names is None else tuple(self.prefix + name for name in names)

    def empty(self) -> Any:
        return self.metric.empty()

    def update(self, outputs: dict[str, Array], batch: Batch) -> Any:
        return self.metric.update(outputs, batch)

    def collect(self, state: list[Any], outputs: dict[str, Any], batch: Batch) -> list[Any]:
        return self.metric.collect(state, outputs, batch)

    def result(self, state: Any) -> Results:
        return {self.prefix + name: value for name, value in self.metric.result(state).items()}
