"""Host transforms that need more than their example: other examples, or what the batch shares.

They are `loading.ContextTransform`s, and take a third argument, a `loading.Context`. They remain
pure functions of the data seed and the position in the stream.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.loading import AnyTransform, Context, ContextTransform, apply
from vision_jax.data.sources import Example
from vision_jax.data.transforms_objects import fitting

GRAY = (114, 114, 114)


@dataclasses.dataclass(frozen=True)
class Mosaic(ContextTransform):
    """Puts four examples around a point of a square (Bochkovskiy et al. 2020, section 3.3).

    Each keeps its proportions, with its long side at a random length, and touches the point with
    the corner that is next to it. Parts beyond its quarter are cut, the rest of it is filled. All
    four have been through the transforms before the mosaic. `size` and `scale` become those of the
    square; labels of the whole image are those of the first example.

    Attributes:
      size: side of the square, pixels.
      centre: range of the point's coordinates, as shares of the side.
      side: range of each long side, as shares of the square's, uniform.
      probability: probability of a mosaic, 0..1.
      min_visibility: objects go of whose box less than this share is left.
      min_size: objects go with a side of at most so many pixels left.
      fill: the colour where there is no image.
      antialias: see `geometry.resize_image`.
    """

    size: int = 640
    centre: tuple[float, float] = (0.25, 0.75)
    side: tuple[float, float] = (0.5, 1.0)
    probability: float = 1.0
    min_visibility: float = 0.1
    min_size: float = 2.0
    fill: tuple[int, ...] = GRAY
    antialias: bool = True

    def __call__(self, example: Example, rng: np.random.Generator, context: Context) -> Example:
        if rng.random() >= self.probability:
            return example
        x, y = (int(v) for v in np.rint(rng.uniform(*self.centre, 2) * self.size))
        examples = [example] + [context.more(rng) for _ in range(3)]
        # top, left, height and width of each quarter.
        rest = (self.size - x, self.size - y)
        quarters = [(0, 0, y, x), (0, x, y, rest[0]), (y, 0, rest[1], x), (y, x, *rest[::-1])]
        parts = [
            self._part(each, quarter, number, rng)
            for number, (each, quarter) in enumerate(zip(examples, quarters, strict=True))
        ]
        return {**_combine(example, parts, self.size), "dropped": _dropped(examples)}

    def _part(
        self,
        example: Example,
        quarter: tuple[int, int, int, int],
        number: int,
        rng: np.random.Generator,
    ) -> Example:
        """Puts an example into its quarter of a canvas of the whole square."""
        top, left, height, width = quarter
        long = max(1, round(rng.uniform(*self.side) * self.size))
        h, w = fitting(example["image"].shape[:2], long)
        scaled = geometry.resize(example, h, w, self.antialias)
        # Upper quarters show the lower end of their images, left ones the right end.
        y, x = (h - height if number < 2 else 0), (w - width if number % 2 == 0 else 0)
        part = geometry.crop(scaled, y, x, height, width, self.fill)
        part = geometry.clip(part, self.min_visibility, self.min_size)
        return geometry.crop(part, -top, -left, self.size, self.size, (0,) * len(self.fill))


@dataclasses.dataclass(frozen=True)
class BoxMixUp(ContextTransform):
    """Blends two examples, and keeps the objects of both (Zhang et al. 2019, section 3.1).

    Neither is resized: the canvas holds both, each at its top left. The images are weighed by
    λ ~ Beta(alpha, alpha).

    Attributes:
      alpha: parameter of λ's distribution; 1.5 in the paper.
      probability: probability of a blend, 0..1.

    Raises (when called):
      ValueError: examples with semantic labels, which cannot be blended.
    """

    alpha: float = 1.5
    probability: float = 0.5

    def __call__(self, example: Example, rng: np.random.Generator, context: Context) -> Example:
        if "segmentation" in example:
            raise ValueError("BoxMixUp: semantic labels cannot be blended")
        if rng.random() >= self.probability:
            return example
        weight = rng.beta(self.alpha, self.alpha)
        other = context.more(rng)
        height, width = np.maximum(example["image"].shape[:2], other["image"].shape[:2])
        a, b = (
            geometry.crop(each, 0, 0, int(height), int(width), geometry.BLACK)
            for each in (example, other)
        )
        mixed = {**example}
        for key in geometry.PER_OBJECT:
            if key in a:
                mixed[key] = np.concatenate([a[key], b[key]])
        blend = a["image"] * np.float32(weight) + b["image"] * np.float32(1 - weight)
        blended = np.rint(blend).astype(np.uint8)
        return {**mixed, "image": blended, "dropped": _dropped((example, other))}


@dataclasses.dataclass(frozen=True)
class PerBatch(ContextTransform):
    """Applies one of several transforms, the same for a whole batch: random batch shapes.

    Redmon & Farhadi 2017, section 2 ("multi-scale training"): every 10 batches another of ten
    sizes. The choice is a function of the data seed and the step, alike in all processes; each
    shape is compiled once. (`Train.element` has the first step's shape.)

    Attributes:
      choices: transforms, such as Letterboxes of several sizes.
      every: batches between draws.
    """

    choices: tuple[AnyTransform, ...]
    every: int = 10

    def __call__(self, example: Example, rng: np.random.Generator, context: Context) -> Example:
        number = int(context.generator(self.every).integers(len(self.choices)))
        return apply(self.choices[number], example, rng, lambda: context)


@dataclasses.dataclass(frozen=True)
class Until(ContextTransform):
    """Applies a transform in the first part of the training, which ends with plain examples.

    Mixup in the bag of freebies and mosaics are stopped so. A training of several stages counts
    each by itself.

    Attributes:
      transform: it must leave shapes to later ones, so that nothing is compiled again.
      share: share of all steps in which it is applied, 0..1.

    Raises:
      UserError: a share outside of 0..1.
    """

    transform: AnyTransform
    share: float = 0.9

    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise UserError(f"Until: share={self.share} is not within 0..1")

    def __call__(self, example: Example, rng: np.random.Generator, context: Context) -> Example:
        if context.progress >= self.share:
            return example
        return apply(self.transform, example, rng, lambda: context)


def _dropped(examples: Iterable[Example]) -> int:
    """Counts the degenerate objects that were left out of the examples."""
    return sum(example.get("dropped", 0) for example in examples)


def _combine(first: Example, parts: list[Example], size: int) -> Example:
    """Makes one example of canvases that do not overlap."""
    if "proposals" in first:
        raise ValueError("Mosaic: proposals of one image do not fit four")
    combined = {**first, "image": np.zeros_like(parts[0]["image"])}
    for part in parts:
        combined["image"] |= part["image"]  # zero outside of its quarter
    for key in geometry.PER_OBJECT:
        if key in first:
            combined[key] = np.concatenate([part[key] for part in parts])
    if "segmentation" in first:
        combined["segmentation"] = np.minimum.reduce([part["segmentation"] for part in parts])
    combined["size"] = np.full(2, size, np.float32)
    combined["scale"] = np.ones(2, np.float32)
    return combined
