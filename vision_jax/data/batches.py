"""Reading ahead: a stream's elements, one after the other, as batches.

Host-decoded data goes through Grain (threads, worker processes, prefetching); small images that
are held in memory are gathered without it.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags, logging

from vision_jax.config import UserError
from vision_jax.data.stream import Stream
from vision_jax.structs import Batch, Targets

_FEW = 8  # so many bad records never exceed the tolerated share


class Batches(Iterator[Batch]):
    """Batches of numpy arrays. Close it when done: it may own threads and processes.

    Attributes:
      skipped: records that could not be read so far, in this process.
      dropped: objects left out so far because their boxes are degenerate.
      cut: objects left out so far because there were more than max_boxes.
    """

    def __init__(self, pipeline: Any, stream: Stream, start: int):
        self.skipped = self.dropped = self.cut = 0
        self._max_boxes = pipeline.max_boxes
        self._max_skipped = pipeline.max_skipped
        self._rows = 0
        self._left = len(stream) - start
        self._elements: Any = _read(pipeline, stream, start)

    def __next__(self) -> Batch:
        if self._elements is None:
            raise StopIteration
        try:
            element = next(self._elements)
        except BaseException as error:
            self.close()
            if isinstance(error, StopIteration) and self._left > 0:
                raise RuntimeError(
                    f"the input pipeline ended with {self._left} batches to come"
                ) from error
            raise
        self._left -= 1
        self._count(element)
        return as_batch(element)

    def close(self) -> None:
        """Stops reading; threads and worker processes end."""
        elements, self._elements = self._elements, None
        if hasattr(elements, "close"):
            elements.close()

    def _count(self, element: dict[str, np.ndarray]) -> None:
        self.skipped += int(element["skipped"])
        if element["dropped"] and not self.dropped:
            logging.warning("objects with degenerate boxes are left out")
        self.dropped += int(element["dropped"])
        if element["cut"] and not self.cut:
            logging.warning("images have more than max_boxes=%d objects: cut", self._max_boxes)
        self.cut += int(element["cut"])
        self._rows += len(element["valid"])
        if self.skipped > max(_FEW, self._max_skipped * self._rows):
            self.close()
            raise UserError(
                f"{self.skipped} of {self._rows} records cannot be read, more than "
                f"max_skipped={self._max_skipped} allows; the log names them"
            )


def as_batch(element: dict[str, np.ndarray]) -> Batch:
    """What a stream gives for a step, as a batch."""
    # The rows' own `valid` is the batch's; that of objects goes by another name.
    keys = {field.name: field.name for field in dataclasses.fields(Targets)} | {"valid": "objects"}
    targets = Targets(**{name: element.get(key) for name, key in keys.items()})
    return Batch(
        image=element.get("image"),
        valid=element["valid"],
        index=element["index"],
        targets=targets,
        size=element.get("size"),
        scale=element.get("scale"),
        id=element["id"],
    )


def _read(pipeline: Any, stream: Stream, start: int) -> Iterator[dict[str, np.ndarray]]:
    if stream.arrays is not None or not stream.pixels:
        return map(stream.__getitem__, range(start, len(stream)))
    import grain

    threads = pipeline.threads
    if threads is None:
        threads = max(1, len(os.sched_getaffinity(0)) // max(1, pipeline.workers))
    # The buffer counts batches: one under way per thread, and one ready.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
    elements = grain.MapDataset.source(stream).slice(slice(start, None)).to_iter_dataset(options)
    if pipeline.workers:
        if not flags.FLAGS.is_parsed():  # in notebooks and tests nobody has; Grain reads flags
            flags.FLAGS.mark_as_parsed()
        elements = elements.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=pipeline.workers, per_worker_buffer_size=2)
        )
    return iter(elements)
