"""Makes this process's share of the global batch of a step: order, decoding, transforms, stacking.

Everything is a pure function of the step, so a run resumes by seeking. Global stream position
g = step · batch_size + row; process p of P holds the contiguous rows
[p · batch_size / P, (p + 1) · batch_size / P) of each global batch, so the global batches do not
depend on P, and neither do they on threads or workers.
"""

import dataclasses
import functools
import threading
from typing import Any

import numpy as np
from absl import logging

from vision_jax.config import UserError
from vision_jax.data import padding
from vision_jax.data.by_identity import Grouped
from vision_jax.data.decode import RecordError
from vision_jax.data.loading import AnyTransform, Loader
from vision_jax.data.sources import Example, Source

Element = dict[str, Any]  # one process's share of a batch: arrays by name, and counts

_ENDLESS = 2**40  # batches: the library below wants a length
_TRIES = 16  # records tried in the place of one that cannot be read
# The second word of a random stream's seed, after the data seed.
_ORDER, _TRAIN, _EVAL = range(3)
_order_lock = threading.Lock()


def order(data_seed: int, epoch: int, count: int) -> np.ndarray:
    """Returns the records 0..count-1 in the order of an epoch, (count,) int64.

    The stable argsort of raw draws: numpy promises these, but not its shuffle, for all versions.
    """
    with _order_lock:  # threads that enter an epoch together sort once
        return _order(data_seed, epoch, count)


@functools.lru_cache(maxsize=4)
def _order(data_seed: int, epoch: int, count: int) -> np.ndarray:
    draws = np.random.PCG64([data_seed, _ORDER, epoch]).random_raw(count)
    return np.argsort(draws, kind="stable")


@dataclasses.dataclass(frozen=True)
class Stream:
    """The elements of all steps, made when they are asked for. Picklable, and safe in threads.

    `stream[step]` is a dict of this process's rows: what `padding.stack` returns, valid, index,
    id, and the number of records `skipped` and of objects `dropped` (degenerate) and `cut` (beyond
    max_boxes).

    Attributes:
      source, transforms: see `pipeline.Pipeline`.
      batch_size: rows of the global batch.
      process_index, process_count: which process's share it is, of how many.
      data_seed: the seed of order and transforms; None is evaluation: in order, once.
      skip: leave out records that cannot be read, instead of raising RecordError.
      arrays: the whole source in memory, or None to read and decode.
      max_boxes, degenerate: see `pipeline.Pipeline`.
      repeats: see `pipeline.Train`.
      grouped: the order of the records where it is by class, see `pipeline.Train.per_class`.
      steps: see `loading.Loader`.
      pixels: False leaves out all but the records' numbers, and reads nothing.
    """

    source: Source
    transforms: tuple[AnyTransform, ...]
    batch_size: int
    process_index: int = 0
    process_count: int = 1
    data_seed: int | None = None
    skip: bool = False
    arrays: dict[str, np.ndarray] | None = None
    max_boxes: int = 100
    degenerate: str = "raise"
    repeats: int = 1
    grouped: Grouped | None = None
    steps: int | None = None
    pixels: bool = True

    def __len__(self) -> int:
        if self.data_seed is None:
            return -(-len(self.source) // self.batch_size)
        return _ENDLESS

    def __getitem__(self, step: int) -> Element:
        rows = self.batch_size // self.process_count
        index = np.arange(rows, dtype=np.int32) + np.int32(self.process_index * rows)
        positions = index.astype(np.int64) + step * self.batch_size
        if not self.pixels:
            return {"index": index, **self._numbers(positions)}
        if self.arrays is not None:
            return {"index": index, **self._gather(self.arrays, positions)}
        return {"index": index, **self._decode(positions)}

    def _records(self, positions: np.ndarray) -> np.ndarray:
        """Returns the record at each stream position; -1 beyond the end of an evaluation."""
        count = len(self.source)
        if self.data_seed is None:
            return np.where(positions < count, positions, -1)
        if self.grouped is not None:
            return self.grouped.records(positions, self.data_seed)
        if self.repeats > 1:
            # Copies lie far apart in the batch: mixing pairs neighbours.
            steps, rows = np.divmod(positions, self.batch_size)
            different = self.batch_size // self.repeats
            positions = steps * different + rows % different
        epochs, places = np.divmod(positions, count)
        records = np.empty_like(positions)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            records[here] = order(self.data_seed, int(epoch), count)[places[here]]
        return records

    def _numbers(self, positions: np.ndarray) -> Element:
        """Returns what is known of rows without reading them."""
        records = self._records(positions)
        counts = {"skipped": np.int32(0), "dropped": np.int32(0), "cut": np.int32(0)}
        return {"valid": records >= 0, "id": records.astype(np.int32), **counts}

    def _gather(self, arrays: dict[str, np.ndarray], positions: np.ndarray) -> Element:
        """Takes rows from the source in memory."""
        numbers = self._numbers(positions)
        valid = numbers["valid"]
        image = np.take(arrays["image"], numbers["id"], axis=0)
        label = np.take(arrays["label"], numbers["id"], axis=0)
        if not valid.all():
            image[~valid], label[~valid] = 0, -1
        return {"image": image, "label": label, **numbers}

    def _decode(self, positions: np.ndarray) -> Element:
        """Reads and stacks rows."""
        records, skipped = self._records(positions), 0
        examples: list[Example | None] = []
        for row, position in enumerate(positions):
            example = None
            if records[row] >= 0:
                example, records[row], unreadable = self._read(int(position))
                skipped += unreadable
            examples.append(example)
        present = [example for example in examples if example is not None]
        # Where there is nothing but padding, the shapes come from elsewhere.
        model = present[0] if present else self._read_any()
        self._check_shapes(examples, records, model)
        cut = [max(0, len(e.get("boxes", ())) - self.max_boxes) for e in present]
        return {
            **padding.stack(examples, model, self.max_boxes),
            "valid": np.asarray([example is not None for example in examples]),
            "id": records.astype(np.int32),
            "skipped": np.int32(skipped),
            "dropped": np.int32(sum(e.get("dropped", 0) for e in present)),
            "cut": np.int32(sum(cut)),
        }

    def _read(self, position: int) -> tuple[Example | None, int, int]:
        """Returns the example at a position, its record, and how many were skipped for it.

        In training the next records of the stream stand in for one that cannot be read, with the
        draws of its position; in evaluation there is then no example.
        """
        training = self.data_seed is not None
        tries = _TRIES if training and self.skip else 1
        records = self._records(np.arange(position, position + tries))
        seed = self.data_seed or 0
        loader = Loader(self.source, self.transforms, self.degenerate, seed, self.steps)
        step = position // self.batch_size
        words = [seed, _TRAIN if training else _EVAL, position]
        for unreadable, record in enumerate(records):
            rng = np.random.Generator(np.random.PCG64(words))
            try:
                return loader(int(record), rng, step), int(record), unreadable
            except RecordError as error:
                if not self.skip:
                    raise
                logging.warning("skipped: %s", error)
        if training:
            raise UserError(
                f"{tries} records in a row cannot be read, the last: "
                f"{self.source.describe(int(records[-1]))}"
            )
        return None, int(records[0]), 1

    def _read_any(self) -> Example:
        """Returns the first example that can be read, whose fields and shapes the others have."""
        for position in range(min(_TRIES, len(self.source))):
            example = self._read(position)[0]
            if example is not None:
                return example
        raise UserError(f"none of the first records can be read, e.g. {self.source.describe(0)}")

    def _check_shapes(
        self, examples: list[Example | None], records: np.ndarray, model: Example
    ) -> None:
        """Raises UserError, naming the record, where images differ in shape."""
        shape = model["image"].shape
        for example, record in zip(examples, records, strict=True):
            if example is not None and example["image"].shape != shape:
                raise UserError(
                    f"{self.source.describe(int(record))} is {example['image'].shape}, another "
                    f"image of the batch {shape}; add a transform that gives one size"
                )
