"""The input pipelines: endless shuffled training batches, and one pass for evaluation.

Host-decoded data goes through Grain (threads, worker processes, prefetching); small images that
are held in memory are gathered without it. `stream` says which examples make up a batch.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags, logging

from vision_jax.config import UserError, suggest
from vision_jax.data.decode import RecordError
from vision_jax.data.stream import Stream
from vision_jax.structs import Batch, Targets

_FEW = 8  # so many bad records never exceed the tolerated share


@dataclasses.dataclass(frozen=True)
class Train:
    """An endless stream of shuffled, augmented batches.

    Attributes:
      source: see `sources.Source`.
      transforms: host transforms, in order (`data.transforms`). Without any, a source of small
        images is held in memory and batches are gathered from there.
      batch_size: examples per global batch.
      threads: that decode, per process; None is one per core.
      workers: processes that decode; with 0 threads of this one do, which is enough as long as
        most of the work is decoding, which needs no Python lock.
      on_error: what a record that cannot be read does: 'raise' stops with its name; 'skip' puts
        the next good one of the stream in its place, logs its name and counts it.
      max_skipped: share of skipped records among those read so far, beyond which 'skip' stops too
        (eight are always tolerated).
      max_boxes: objects per image, for sources with boxes; those beyond are cut off, counted and
        logged once.
      degenerate: what an object does whose box is not finite, has no extent or lies off the image:
        'raise' stops with the image's name (`on_error` may skip the image); 'drop' leaves the
        object out, counted and logged once.
      repeats: each record of a batch comes so often in it, with draws of its own (Hoffer et al.
        2019); an epoch of as many rows then sees fewer records.

    Raises:
      UserError: a batch size or max_boxes below 1, another `on_error` or `degenerate`, or a batch
        size that `repeats` does not divide.
    """

    source: Any
    transforms: tuple = ()
    batch_size: int = 128
    threads: int | None = None
    workers: int = 0
    on_error: str = "raise"
    max_skipped: float = 0.01
    max_boxes: int = 100
    degenerate: str = "raise"
    repeats: int = 1

    def __post_init__(self):
        _check(self)
        if self.repeats < 1 or self.batch_size % self.repeats:
            raise UserError(f"repeats={self.repeats} does not divide batch_size={self.batch_size}")

    @property
    def num_examples(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0..C-1."""
        return self.source.classes

    def element(self) -> Batch:
        """A global batch of zeros, in the real ones' shapes and dtypes; takes no memory."""
        return _element(self, data_seed=0)

    def batches(
        self,
        start_step: int,
        data_seed: int,
        process_index: int = 0,
        process_count: int = 1,
        steps: int | None = None,
    ) -> "Batches":
        """This process's share of the global batches start_step, start_step + 1, ...

        In epoch e = g // n the order is the stable argsort of n draws of PCG64([data_seed, 0, e]);
        the transforms of stream position g draw from PCG64([data_seed, 1, g]). `steps` is the
        training's length, for transforms that end before it (`Until`); not where batches end.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        stream = _stream(self, data_seed, process_index, process_count)
        return Batches(self, dataclasses.replace(stream, steps=steps), start_step)


@dataclasses.dataclass(frozen=True)
class Eval:
    """Every example exactly once, in the source's order; the last batch is padded.

    Attributes:
      source, transforms, batch_size, threads, workers, max_skipped, max_boxes, degenerate: as of
        `Train`.
      on_error: 'raise' stops at a record that cannot be read, with its name; 'skip' makes it a row
        of zeros that is not valid, logs its name and counts it.

    Raises:
      UserError: a batch size or max_boxes below 1, another `on_error` or `degenerate`.
    """

    source: Any
    transforms: tuple = ()
    batch_size: int = 128
    threads: int | None = None
    workers: int = 0
    on_error: str = "raise"
    max_skipped: float = 0.01
    max_boxes: int = 100
    degenerate: str = "raise"

    def __post_init__(self):
        _check(self)

    @property
    def num_examples(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0..C-1."""
        return self.source.classes

    @property
    def steps(self) -> int:
        """Batches per pass, the same in every process."""
        return -(-len(self.source) // self.batch_size)

    def element(self) -> Batch:
        """A global batch of zeros, in the real ones' shapes and dtypes; takes no memory."""
        return _element(self, data_seed=None)

    def batches(self, process_index: int = 0, process_count: int = 1) -> "Batches":
        """This process's share of each batch. Padding rows are zeros with label and id -1.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        return Batches(self, _stream(self, None, process_index, process_count), 0)


class Batches(Iterator[Batch]):
    """Batches of numpy arrays. Close it when done: it may own threads and processes.

    Attributes:
      skipped: records that could not be read so far, in this process.
      dropped: objects left out so far because their boxes are degenerate.
      cut: objects left out so far because there were more than max_boxes.
    """

    def __init__(self, pipeline: Train | Eval, stream: Stream, start: int):
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
        return _batch(element)

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


def _check(pipeline: Train | Eval) -> None:
    if pipeline.batch_size < 1:
        raise UserError(f"batch_size={pipeline.batch_size} must be at least 1")
    if pipeline.max_boxes < 1:
        raise UserError(f"max_boxes={pipeline.max_boxes} must be at least 1")
    for name, actions in (("on_error", ("raise", "skip")), ("degenerate", ("raise", "drop"))):
        value = getattr(pipeline, name)
        if value not in actions:
            raise UserError(f"{name}={value!r}{suggest(value, actions)}")


def _stream(
    pipeline: Train | Eval, data_seed: int | None, process_index: int, process_count: int
) -> Stream:
    if pipeline.batch_size % process_count:
        raise UserError(
            f"batch_size={pipeline.batch_size} is not a multiple of the {process_count} processes"
        )
    return Stream(
        pipeline.source,
        pipeline.transforms,
        pipeline.batch_size,
        process_index,
        process_count,
        data_seed,
        pipeline.on_error == "skip",
        _arrays(pipeline),
        pipeline.max_boxes,
        pipeline.degenerate,
        getattr(pipeline, "repeats", 1),
    )


def _arrays(pipeline: Train | Eval) -> dict[str, np.ndarray] | None:
    """The source in memory, where it offers that and nothing happens per record."""
    if pipeline.transforms or not hasattr(pipeline.source, "arrays"):
        return None
    try:
        return pipeline.source.arrays()
    except RecordError:
        if pipeline.on_error == "raise":
            raise
        return None  # records that cannot be read are skipped one by one


def _read(pipeline: Train | Eval, stream: Stream, start: int) -> Iterator[dict[str, np.ndarray]]:
    if stream.arrays is not None:
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


def _element(pipeline: Train | Eval, data_seed: int | None) -> Batch:
    """A batch whose rows all lie on one row of zeros."""
    stream = _stream(pipeline, data_seed, 0, 1)
    stream = dataclasses.replace(stream, batch_size=1, repeats=1)
    return _batch(
        {
            key: np.broadcast_to(np.zeros_like(rows[:1]), (pipeline.batch_size, *rows.shape[1:]))
            for key, rows in stream[0].items()
            if rows.ndim
        }
    )


def _batch(element: dict[str, np.ndarray]) -> Batch:
    # The rows' own `valid` is the batch's; that of objects goes by another name.
    keys = {field.name: field.name for field in dataclasses.fields(Targets)} | {"valid": "objects"}
    targets = Targets(**{name: element.get(key) for name, key in keys.items()})
    return Batch(
        image=element["image"],
        valid=element["valid"],
        index=element["index"],
        targets=targets,
        size=element.get("size"),
        scale=element.get("scale"),
        id=element["id"],
    )
