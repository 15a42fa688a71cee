"""The work that is measured. A module's functions return a `Work`; they import what they need."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """Work that is ready to be timed: compiled, warm, its input in place.

    Attributes:
      run: one round, complete on return; it may return the seconds to take instead of the
        worker's clocks, {'wall': …, 'cpu': …}.
      units: how many units of work a round does.
      outputs: for comparison with the peer, computed before timing; empty compares nothing.
      facts: other numbers for the record, such as `compile_seconds`. With `flops` and `bytes`, of
        one unit, shares of what the GPU could do are told (`peaks`).
      ending: more facts, which only the end can tell, such as the most memory used.
    """

    run: Callable[[], dict[str, float] | None]
    units: int
    outputs: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    facts: dict[str, float] = dataclasses.field(default_factory=dict)
    ending: Callable[[], dict[str, float]] = dict
