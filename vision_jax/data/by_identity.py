"""Batches of a few classes with several images each, as losses on pairs and triplets need them.

What lies at a position of the stream follows from the position and the seed alone.
"""

import dataclasses
import functools

import numpy as np

# The second word of a seed, after the data seed; `stream` has those before.
_CLASSES, _WITHIN = 3, 4


@dataclasses.dataclass(frozen=True, eq=False)
class Grouped:
    """An endless order of records in which runs of `per_class` are of one class.

    In turn t every class comes once, in an order of its own, with the next images of its own
    endless order; an image comes again when all of its class have been seen. A class with fewer
    images than a run repeats some in it. Where a batch lies in two turns a class may come twice.

    Attributes:
      labels: (n,) class of each record.
      per_class: length of a run.
    """

    labels: np.ndarray
    per_class: int

    def records(self, positions: np.ndarray, data_seed: int) -> np.ndarray:
        """Returns the record at each position of the stream."""
        runs, place = np.divmod(positions, self.per_class)
        turns, slots = np.divmod(runs, len(self._members))
        return np.asarray(
            [
                self._record(data_seed, int(turn), int(slot), int(at))
                for turn, slot, at in zip(turns, slots, place, strict=True)
            ],
            np.int64,
        )

    def _record(self, data_seed: int, turn: int, slot: int, place: int) -> int:
        label = int(_drawn((data_seed, _CLASSES, turn), len(self._members))[slot])
        members = self._members[label]
        cycle, at = divmod(turn * self.per_class + place, len(members))
        return int(members[_drawn((data_seed, _WITHIN, label, cycle), len(members))[at]])

    @functools.cached_property
    def _members(self) -> list[np.ndarray]:
        """The records of each class that has any."""
        order = np.argsort(self.labels, kind="stable")
        _, starts = np.unique(self.labels[order], return_index=True)
        return np.split(order, starts[1:])


@functools.lru_cache(maxsize=4096)
def _drawn(words: tuple[int, ...], count: int) -> np.ndarray:
    return np.argsort(np.random.PCG64(words).random_raw(count), kind="stable")
