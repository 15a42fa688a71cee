"""The input pipelines: endless shuffled training batches, and one pass for evaluation.

`stream` says which examples make up a batch, `batches` reads them.
"""

import dataclasses
from typing import Any

import numpy as np

from vision_jax.config import UserError, suggest
from vision_jax.data.batches import Batches, as_batch
from vision_jax.data.decode import RecordError
from vision_jax.data.stream import Stream
from vision_jax.structs import Batch


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
      device_cache: a training run puts all images and labels on every device once, and batches are
        gathered there; for accelerators, and for sources that `in_memory` gives.

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
    device_cache: bool = False

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

    def in_memory(self) -> dict[str, np.ndarray]:
        """All examples, `image` (n, h, w, c) uint8 and `label` (n,) int32, as batches show them.

        Raises:
          UserError: host transforms, or a source that is not held in memory.
        """
        if self.transforms:
            raise UserError(
                "train.device_cache=True: train.transforms work on the host; set "
                "train.device_cache=False, or augment on the device (task.augment)"
            )
        arrays = _arrays(self)
        if arrays is None:
            raise UserError(
                f"train.device_cache=True: {type(self.source).__name__} does not hold its images "
                "in memory (of one size, with a label, within cache_mb); "
                "set train.device_cache=False"
            )
        return arrays

    def batches(
        self,
        start_step: int,
        data_seed: int,
        process_index: int = 0,
        process_count: int = 1,
        steps: int | None = None,
        pixels: bool = True,
    ) -> Batches:
        """This process's share of the global batches start_step, start_step + 1, ...

        In epoch e = g // n the order is the stable argsort of n draws of PCG64([data_seed, 0, e]);
        the transforms of stream position g draw from PCG64([data_seed, 1, g]). `steps` is the
        training's length, for transforms that end before it (`Until`); not where batches end.
        Without `pixels` nothing is read: image and label are None, for who takes them from
        `in_memory` by `id`.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        stream = _stream(self, data_seed, process_index, process_count)
        return Batches(self, dataclasses.replace(stream, steps=steps, pixels=pixels), start_step)


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

    def batches(self, process_index: int = 0, process_count: int = 1) -> Batches:
        """This process's share of each batch. Padding rows are zeros with label and id -1.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        return Batches(self, _stream(self, None, process_index, process_count), 0)


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


def _element(pipeline: Train | Eval, data_seed: int | None) -> Batch:
    """A batch whose rows all lie on one row of zeros."""
    stream = _stream(pipeline, data_seed, 0, 1)
    stream = dataclasses.replace(stream, batch_size=1, repeats=1)
    return as_batch(
        {
            key: np.broadcast_to(np.zeros_like(rows[:1]), (pipeline.batch_size, *rows.shape[1:]))
            for key, rows in stream[0].items()
            if rows.ndim
        }
    )
