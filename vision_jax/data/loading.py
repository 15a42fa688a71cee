"""Record → decoded, checked and transformed example."""

import dataclasses
import functools
from typing import Any

import numpy as np

from vision_jax.data import coco_json
from vision_jax.data.decode import RecordError, decode_image, decode_labels
from vision_jax.data.geometry import kept

_PLACED = ("boxes", "segmentation")
_BATCH = 3  # the second word of the seed of draws that a whole batch shares


@dataclasses.dataclass(frozen=True)
class Context:
    """What a transform whose class says `in_context = True` is given as a third argument."""

    loader: "Loader"  # with the transforms that come before this one
    step: int

    def more(self, rng: np.random.Generator) -> dict:
        """Another example, drawn uniformly and brought as far as the one that is transformed."""
        return self.loader(int(rng.integers(len(self.loader.source))), rng, self.step)

    def generator(self, every: int) -> np.random.Generator:
        """A generator that starts alike for all rows of `every` consecutive batches."""
        seed = [self.loader.data_seed, _BATCH, self.step // every]
        return np.random.Generator(np.random.PCG64(seed))

    @property
    def progress(self) -> float:
        """Share of the training that lies behind, 0..1; 0 where its length is not known."""
        return self.step / self.loader.steps if self.loader.steps else 0.0


@dataclasses.dataclass(frozen=True)
class Loader:
    """Reads examples. What comes out depends on the record, the generator and the step alone.

    Decoded, an example has `image` uint8 (h, w, c); with boxes or semantic labels also `size`, the
    original height and width, and `scale`, (1, 1) at first; `rle` has become `masks` (n, h, w)
    uint8, and `segmentation` uint8 (h, w). `dropped` counts degenerate objects.

    Attributes:
      source, transforms: see `pipeline.Train`.
      degenerate: 'raise' or 'drop', see there.
      data_seed: of the draws that a batch shares.
      steps: of the whole training, or None where that is not known.
    """

    source: Any
    transforms: tuple = ()
    degenerate: str = "raise"
    data_seed: int = 0
    steps: int | None = None

    def __call__(self, i: int, rng: np.random.Generator, step: int = 0) -> dict:
        """Example i, decoded and transformed.

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
        before = dataclasses.replace(self, transforms=self.transforms[:number])
        return Context(before, step)

    def _decoded(self, example: dict) -> dict:
        if isinstance(example["image"], bytes):
            example = {**example, "image": decode_image(example["image"])}
        if not any(key in example for key in _PLACED):
            return example
        size = example["image"].shape[:2]
        example = {**example, **unannotated(example["image"])}
        if "rle" in example:
            example["masks"] = coco_json.decode(example.pop("rle"), *size)
        if "segmentation" in example:
            example["segmentation"] = _labels(example["segmentation"], size)
        return _checked(example, self.degenerate) if "boxes" in example else example


def unannotated(image: np.ndarray) -> dict:
    """A decoded image alone as an example, whose `scale` transforms keep: for prediction."""
    size = np.asarray(image.shape[:2], np.float32)
    return {"image": image, "size": size, "scale": np.ones(2, np.float32)}


def apply(transform: Any, example: dict, rng: np.random.Generator, context: Any) -> dict:
    """The transformed example; `context()` makes the third argument for those that take one."""
    if getattr(transform, "in_context", False):
        return transform(example, rng, context())
    return transform(example, rng)


def degenerate_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n,) bool: not finite, without extent, or not on an image of that size at all."""
    finite = np.isfinite(boxes).all(1)
    x0, y0, x1, y1 = np.where(finite[:, None], boxes, 0).T
    with_extent = (x1 > x0) & (y1 > y0)
    return ~(finite & with_extent & (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height))


def _checked(example: dict, degenerate: str) -> dict:
    """Without the objects whose box no network can learn, counted; or an error at the first."""
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
    return {**kept(example, ~bad), "dropped": int(bad.sum())}


def _labels(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    labels = decode_labels(segmentation) if isinstance(segmentation, bytes) else segmentation
    if labels.shape != size:
        raise ValueError(f"the semantic mask is {labels.shape}, the image {size}")
    return np.asarray(labels, np.uint8)
