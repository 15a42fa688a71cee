"""Reads ahead: hands out a stream's elements, one after the other, as batches.

Host-decoded data goes through Grain (threads, worker processes, prefetching); small images that
are held in memory are gathered without it.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Protocol

from absl import flags, logging

from vision_jax.config import UserError
from vision_jax.data.stream import Element, Stream
from vision_jax.structs import Batch, Targets
from vision_jax.system import signals

_FEW = 8  # so many bad records never exceed the tolerated share


class Batches(Iterator[Batch]):
    """Batches of numpy arrays. Close it when done: it may own threads and processes.

    Attributes:
      skipped: records that could not be read so far, in this process.
      dropped: objects left out so far because their boxes are degenerate.
      cut: objects left out so far because there were more than max_boxes.
    """

    def __init__(
        self, stream: Stream, start: int, threads: int | None, workers: int, max_skipped: float
    ):
        """
        Args:
          stream: where elements come from.
          start: the first one's number.
          threads, workers, max_skipped: see `pipeline.Pipeline`.
        """
        self.skipped = self.dropped = self.cut = 0
        self._max_boxes = stream.max_boxes
        self._max_skipped = max_skipped
        self._rows = 0
        self._left = len(stream) - start
        self._elements: _Elements | None
        if stream.arrays is not None or not stream.pixels:
            self._elements = _InOrder(stream, start)
        else:
            self._elements = _read_ahead(stream, start, threads, workers)

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
        if elements is not None:
            elements.close()

    def _count(self, element: Element) -> None:
        """Adds up what is left out, and stops where too many records cannot be read."""
        self.skipped += int(element["skipped"])
        if element["dropped"] and not self.dropped:
            logging.warning("objects with degenerate boxes are left out")
        self.dropped += int(element["dropped"])
        if element["cut"] and not self.cut:
            logging.warning(
                "images have more than max_boxes=%d objects: those beyond are cut, from what "
                "evaluation measures by as well; raise max_boxes to count them",
                self._max_boxes,
            )
        self.cut += int(element["cut"])
        self._rows += len(element["valid"])
        if self.skipped > max(_FEW, self._max_skipped * self._rows):
            self.close()
            raise UserError(
                f"{self.skipped} of {self._rows} records cannot be read, more than "
                f"max_skipped={self._max_skipped} allows; the log names them"
            )


def as_batch(element: Element) -> Batch:
    """Returns a stream's element as a batch."""
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


class _Elements(Protocol):
    """A stream's elements, one after the other."""

    def __next__(self) -> Element: ...

    def close(self) -> None: ...


class _InOrder:
    """Makes each element when it is asked for."""

    def __init__(self, stream: Stream, start: int):
        self._stream, self._step = stream, start

    def __next__(self) -> Element:
        if self._step >= len(self._stream):
            raise StopIteration
        element = self._stream[self._step]
        self._step += 1
        return element

    def close(self) -> None:
        """Does nothing: there are no threads and processes."""


def _begin_worker(index: int, count: int) -> None:
    """Leaves a terminal's Ctrl-C, which all of its processes get, to the one that trains."""
    signals.ignore()


def _read_ahead(stream: Stream, start: int, threads: int | None, workers: int) -> _Elements:
    """Makes elements in threads, or worker processes, before they are asked for."""
    import grain

    if threads is None:
        threads = max(1, len(os.sched_getaffinity(0)) // max(1, workers))
    # The buffer counts batches: one under way per thread, and one ready.
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads + 1)
    elements = grain.MapDataset.source(stream).slice(slice(start, None)).to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():  # in notebooks and tests nobody has; Grain reads flags
            flags.FLAGS.mark_as_parsed()
        elements = elements.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
            worker_init_fn=_begin_worker,
        )
    return iter(elements)
