"""The input pipelines: endless shuffled training batches, and one pass for evaluation.

`stream` says which examples make up a batch, `batches` reads them.
"""

import dataclasses

import numpy as np

from vision_jax.config import UserError, one_of, within
from vision_jax.data.batches import Batches, as_batch
from vision_jax.data.by_identity import Grouped
from vision_jax.data.decode import RecordError
from vision_jax.data.loading import AnyTransform
from vision_jax.data.sources import Source
from vision_jax.data.stream import Stream
from vision_jax.structs import Batch

_LOOKED_AT = 32  # images that are read before anything is compiled


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """The settings that training and evaluation share: what is read, and how it becomes batches.

    Attributes:
      source: where examples come from; see `sources.Source`.
      transforms: host transforms, in order (`data.transforms`). Without any, a source of small
        images is held in memory and batches are gathered from there.
      batch_size: examples per global batch.
      threads: threads that decode, per process; None is one per core.
      workers: processes that decode; with 0 threads of this one do, which is enough as long as
        most of the work is decoding, which needs no Python lock.
      on_error: how to treat a record that cannot be read: 'raise' stops with its name, 'skip' logs
        its name and counts it.
      max_skipped: share of skipped records among those read so far, beyond which 'skip' stops too
        (eight are always tolerated).
      max_boxes: objects per image, for sources with boxes; those beyond are cut off, counted and
        logged once.
      degenerate: how to treat an object whose box is not finite, has no extent or lies off the
        image: 'raise' stops with the image's name (`on_error` may skip the image); 'drop' leaves
        the object out, counted and logged once.

    Raises:
      UserError: a number that none of these can be, another `on_error` or `degenerate`.
    """

    source: Source
    transforms: tuple[AnyTransform, ...] = ()
    batch_size: int = 128
    threads: int | None = None
    workers: int = 0
    on_error: str = "raise"
    max_skipped: float = 0.01
    max_boxes: int = 100
    degenerate: str = "raise"

    def __post_init__(self):
        within(self, "[1, inf)", "batch_size", "max_boxes")
        within(self, "[0, inf)", "threads", "workers")
        within(self, "[0, 1]", "max_skipped")
        one_of(self, on_error=("raise", "skip"), degenerate=("raise", "drop"))

    @property
    def num_examples(self) -> int:
        return len(self.source)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of labels 0..C-1."""
        return self.source.classes

    def _arrays(self) -> dict[str, np.ndarray] | None:
        """Returns the source in memory, where it offers that and nothing happens per record."""
        if self.transforms:
            return None
        try:
            return self.source.arrays()
        except RecordError:
            if self.on_error == "raise":
                raise
            return None  # records that cannot be read are skipped one by one

    def _stream(
        self,
        data_seed: int | None,
        process_index: int = 0,
        process_count: int = 1,
        repeats: int = 1,
    ) -> Stream:
        """Returns one process's share of all batches."""
        if self.batch_size % process_count:
            raise UserError(
                f"batch_size={self.batch_size} is not a multiple of the {process_count} processes"
            )
        return Stream(
            source=self.source,
            transforms=self.transforms,
            batch_size=self.batch_size,
            process_index=process_index,
            process_count=process_count,
            data_seed=data_seed,
            skip=self.on_error == "skip",
            arrays=self._arrays(),
            max_boxes=self.max_boxes,
            degenerate=self.degenerate,
            repeats=repeats,
        )

    def _batches(self, stream: Stream, start: int) -> Batches:
        return Batches(stream, start, self.threads, self.workers, self.max_skipped)

    def _look(self, data_seed: int | None) -> None:
        """Reads a few images; where they differ in size, the first batch would only tell later."""
        stream = self._stream(data_seed)
        if stream.arrays is None:
            _ = dataclasses.replace(stream, batch_size=_LOOKED_AT)[0]

    def _element(self, data_seed: int | None) -> Batch:
        """Returns a batch whose rows all lie on one row of zeros."""
        stream = dataclasses.replace(self._stream(data_seed), batch_size=1)
        return as_batch(
            {
                key: np.broadcast_to(np.zeros_like(rows[:1]), (self.batch_size, *rows.shape[1:]))
                for key, rows in stream[0].items()
                if rows.ndim
            }
        )


@dataclasses.dataclass(frozen=True)
class Train(Pipeline):
    """An endless stream of shuffled, augmented batches.

    Under `on_error='skip'` the next record of the stream that can be read takes the place of one
    that cannot.

    Attributes:
      source, transforms, batch_size, threads, workers, on_error, max_skipped, max_boxes,
        degenerate: see `Pipeline`.
      repeats: times that each record of a batch occurs in it, with draws of its own (Hoffer et al.
        2019); an epoch of as many rows then sees fewer records.
      per_class: images of one class in a row, so that a batch has batch_size / per_class classes
        (`by_identity.Grouped`), as losses on triplets need; 0 is off.
      device_cache: a training run puts all images and labels on every device once, and batches are
        gathered there; for accelerators, and for sources that `in_memory` gives.

    Raises:
      UserError: settings that `Pipeline` refuses, or a batch size that `repeats` or `per_class`
        does not divide; `per_class` and a source that does not know its labels.
    """

    repeats: int = 1
    per_class: int = 0
    device_cache: bool = False

    def __post_init__(self):
        super().__post_init__()
        within(self, "[1, inf)", "repeats")
        within(self, "[0, inf)", "per_class")
        if self.per_class and (self.batch_size % self.per_class or self.repeats > 1):
            raise UserError(
                f"per_class={self.per_class} does not divide batch_size={self.batch_size}, or "
                f"repeats={self.repeats} is not 1"
            )
        if self.batch_size % self.repeats:
            raise UserError(f"repeats={self.repeats} does not divide batch_size={self.batch_size}")

    def element(self) -> Batch:
        """Returns a global batch of zeros, in the real ones' shapes and dtypes; takes no memory."""
        return self._element(data_seed=0)

    def look(self) -> None:
        """Reads a few images of the set, and raises what would stop the first batch."""
        self._look(data_seed=0)

    def in_memory(self) -> dict[str, np.ndarray]:
        """Returns all examples: `image` (n, h, w, c) uint8 and `label` (n,) int32, as in batches.

        Raises:
          UserError: host transforms, or a source that is not held in memory.
        """
        if self.transforms:
            raise UserError(
                "train.device_cache=True: train.transforms work on the host; set "
                "train.device_cache=False, or augment on the device (task.augment)"
            )
        arrays = self._arrays()
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
        """Returns this process's share of the global batches start_step, start_step + 1, ...

        In epoch e = g // n the order is the stable argsort of n draws of PCG64([data_seed, 0, e]);
        the transforms of stream position g draw from PCG64([data_seed, 1, g]). `steps` is the
        training's length, for transforms that end before it (`Until`); not where batches end.
        Without `pixels` nothing is read: image and label are None, for who takes them from
        `in_memory` by `id`.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        stream = self._stream(data_seed, process_index, process_count, self.repeats)
        stream = dataclasses.replace(stream, steps=steps, pixels=pixels, grouped=self._grouped())
        return self._batches(stream, start_step)

    def _grouped(self) -> Grouped | None:
        """Returns the order by class, if that is asked for."""
        if not self.per_class:
            return None
        labels = self.source.image_labels()
        if labels is None:
            labels = (self.source.arrays() or {}).get("label")
        if labels is None:
            raise UserError(
                f"per_class={self.per_class}: {type(self.source).__name__} does not know its "
                "images' labels; use a source of classified images, such as data.ImageFolder"
            )
        return Grouped(labels, self.per_class)


@dataclasses.dataclass(frozen=True)
class Eval(Pipeline):
    """Every example exactly once, in the source's order; the last batch is padded.

    Under `on_error='skip'` a record that cannot be read becomes a row of zeros that is not valid.
    The settings are those of `Pipeline`.
    """

    @property
    def steps(self) -> int:
        """Batches per pass, the same in every process."""
        return -(-len(self.source) // self.batch_size)

    def element(self) -> Batch:
        """Returns a global batch of zeros, in the real ones' shapes and dtypes; takes no memory."""
        return self._element(data_seed=None)

    def look(self) -> None:
        """Reads the first images, and raises what would stop the first batch."""
        self._look(data_seed=None)

    def batches(self, process_index: int = 0, process_count: int = 1, start: int = 0) -> Batches:
        """Returns this process's share of each batch. Padding rows are zeros, label and id -1.

        Batches before number `start` are not read.

        Raises:
          UserError: the batch size is not a multiple of process_count.
        """
        return self._batches(self._stream(None, process_index, process_count), start)
