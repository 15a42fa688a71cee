"""Reads a record and makes it a decoded, checked and transformed example."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol

import numpy as np

from vision_jax.data import geometry, run_lengths
from vision_jax.data.decode import RecordError, decode_image, decode_labels
from vision_jax.data.sources import Example, Source
from vision_jax.structs import Batch, Targets

_PLACED = ("boxes", "segmentation")
_BATCH = 3  # the second word of the seed of draws that a whole batch shares


class Transform(Protocol):
    """A host transform, example → example; transforms of your own derive from it.

    It is a function of the example and of what it draws from the generator, and leaves the example
    that it is given as it is.
    """

    in_context: ClassVar[Literal[False]] = False

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Returns the transformed example; raises ValueError for one that it cannot transform."""
        ...


class ContextTransform(Protocol):
    """A host transform that needs more than its example; see `Transform`."""

    in_context: ClassVar[Literal[True]] = True

    def __call__(self, example: Example, rng: np.random.Generator, context: "Context") -> Example:
        """Returns the transformed example; raises ValueError for one that it cannot transform."""
        ...


AnyTransform = Transform | ContextTransform


@dataclasses.dataclass(frozen=True)
class Context:
    """Other examples, and the place in the training, for transforms with `in_context = True`."""

    loader: "Loader"  # with the transforms that come before this one
    step: int

    def more(self, rng: np.random.Generator) -> Example:
        """Draws another example uniformly, and brings it as far as the one that is transformed."""
        return self.loader(int(rng.integers(len(self.loader.source))), rng, self.step)

    def generator(self, every: int) -> np.random.Generator:
        """Returns a generator that starts alike for all rows of `every` consecutive batches."""
        seed = [self.loader.data_seed, _BATCH, self.step // every]
        return np.random.Generator(np.random.PCG64(seed))

    @property
    def progress(self) -> float:
        """The share of the training that lies behind, 0..1; 0 where its length is not known."""
        return self.step / self.loader.steps if self.loader.steps else 0.0


@dataclasses.dataclass(frozen=True)
class Loader:
    """Reads examples; each depends on the record, the generator and the step alone.

    Decoded, an example has `image` uint8 (h, w, c); with boxes or semantic labels also `size`, the
    original height and width, and `scale`, (1, 1) at first; `rle` has become `masks` (n, h, w)
    uint8, and `segmentation` uint8 (h, w). `dropped` counts degenerate objects.

    Attributes:
      source, transforms: see `pipeline.Pipeline`.
      degenerate: 'raise' or 'drop', see there.
      data_seed: the seed of draws that a batch shares.
      steps: the whole training's length, or None where that is not known.
    """

    source: Source
    transforms: tuple[AnyTransform, ...] = ()
    degenerate: str = "raise"
    data_seed: int = 0
    steps: int | None = None

    def __call__(self, i: int, rng: np.random.Generator, step: int = 0) -> Example:
        """Returns example i, decoded and transformed.

        Raises:
          RecordError: it cannot be read, decoded or transformed, or has a degenerate object; the
            message names it.
        """
        try:
            example = self._decoded(self.source[i])
            for number, transform in enumerate(self.transforms):
                example = apply(transform, example, rng, functools.partial(self._at, number, step))
        except ValueError as error:
            raise RecordError(f"{self.source.describe(i)}: {error}") from error
        return example

    def _at(self, number: int, step: int) -> Context:
        """Returns the context of the transform of that number."""
        before = dataclasses.replace(self, transforms=self.transforms[:number])
        return Context(before, step)

    def _decoded(self, example: Example) -> Example:
        """Decodes what an example holds as bytes, and checks its objects."""
        if isinstance(example["image"], bytes):
            example = {**example, "image": decode_image(example["image"])}
        if not any(key in example for key in _PLACED):
            return example
        size = example["image"].shape[:2]
        example = {**example, **unannotated(example["image"])}
        if "rle" in example:
            example["masks"] = run_lengths.decode(example.pop("rle"), *size)
        if "segmentation" in example:
            example["segmentation"] = _labels(example["segmentation"], size)
        return _checked(example, self.degenerate) if "boxes" in example else example


def unannotated(image: np.ndarray) -> Example:
    """Returns a decoded image alone as an example, whose `scale` transforms keep."""
    size = np.asarray(image.shape[:2], np.float32)
    return {"image": image, "size": size, "scale": np.ones(2, np.float32)}


def fed(image: np.ndarray, transforms: Sequence[AnyTransform]) -> Batch:
    """Makes a batch of one decoded image (h, w, c), transformed as in evaluation.

    Raises:
      ValueError: a transform that needs other examples.
    """
    example = unannotated(image)
    for transform in transforms:
        if transform.in_context:
            raise ValueError(f"{type(transform).__name__} needs other examples beside the image")
        example = transform(example, np.random.default_rng(0))
    return Batch(
        image=np.asarray(example["image"])[None],
        valid=np.ones(1, bool),
        index=np.zeros(1, np.int32),
        size=example["size"][None],
        scale=np.asarray(example["scale"], np.float32)[None],
        targets=_proposed(example),
    )


def _proposed(example: Example) -> Targets:
    """Returns the proposals that a transform has made, for a batch of one image."""
    if "proposals" not in example:
        return Targets()
    proposals, valid = example["proposals"][None], example["proposal_valid"][None]
    return Targets(proposals=proposals, proposal_valid=valid)


def apply(
    transform: AnyTransform,
    example: Example,
    rng: np.random.Generator,
    context: Callable[[], Context],
) -> Example:
    """Transforms an example; `context()` makes the third argument for transforms that take one."""
    if transform.in_context:
        return transform(example, rng, context())
    return transform(example, rng)


def degenerate_boxes(
    boxes: np.ndarray, height: int | np.ndarray, width: int | np.ndarray
) -> np.ndarray:
    """Returns (n,) bool: boxes that are not finite, without extent, or all outside of the image.

    Height and width are those of one image, or (n,) of each box's own.
    """
    finite = np.isfinite(boxes).all(1)
    finite_boxes = np.where(finite[:, None], boxes, 0)
    x0, y0, x1, y1 = finite_boxes.T
    inside = (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height)
    return ~(finite & geometry.with_extent(finite_boxes) & inside)


def _checked(example: Example, degenerate: str) -> Example:
    """Leaves out, and counts, objects whose box no network can learn; or raises at the first."""
    bad = degenerate_boxes(example["boxes"], *example["image"].shape[:2])
    if not bad.any():
        return example
    if degenerate == "raise":
        number = int(np.flatnonzero(bad)[0])
        box = ", ".join(f"{side:g}" for side in example["boxes"][number])
        height, width = example["image"].shape[:2]
        raise ValueError(
            f"object {number} has the box ({box}) on {width}×{height} pixels; correct it, or leave "
            "such objects out by degenerate='drop'"
        )
    return {**geometry.keep(example, ~bad), "dropped": int(bad.sum())}


def _labels(segmentation: bytes | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Decodes semantic labels, which must have the image's size."""
    labels = decode_labels(segmentation) if isinstance(segmentation, bytes) else segmentation
    if labels.shape != size:
        raise ValueError(f"the semantic mask is {labels.shape}, the image {size}")
    return np.asarray(labels, np.uint8)
