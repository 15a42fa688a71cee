"""A host transform for networks that look at one object at a time: DeepMask's windows."""

import dataclasses
import math

import numpy as np

from vision_jax.config import UserError, within
from vision_jax.data import geometry
from vision_jax.data.loading import Transform
from vision_jax.data.sources import Example
from vision_jax.data.transforms_objects import MEAN

_TRIALS = 64  # windows drawn at once, of which the first that is no object's is taken


@dataclasses.dataclass(frozen=True)
class MaskPatches(Transform):
    """Cuts out a window with an object in its middle, or one without (Pinheiro et al. 2015, 3.3).

    An object is in its place where the middle of its box is the window's and its longer side is
    128 / 224 of the window's. With `probability` an object is drawn uniformly, and the window put
    around it, shifted and scaled a little: its mask alone, and its box, are kept. Otherwise the
    window lies anywhere at any of `scales`, but is no object's up to `far_shift` or `far_octaves`;
    it has no object. Images without objects have only such windows. Objects marked crowd or
    difficult are not drawn.

    Attributes:
      size: side of the window, pixels.
      context: pixels of the result around the window, on each side.
      probability: of a window with an object.
      shift: largest distance of the middles in x and y, pixels of the result.
      octaves: largest difference of scale, in powers of two.
      far_shift, far_octaves: a window is another than the object's beyond either.
      beside: of the windows without an object, the share that lies beside one, at its scale, up to
        three times `far_shift` off (not in the paper, whose windows lie anywhere): what a score has
        to tell from an object are parts of it.
      scales: lowest and highest scale of windows without an object, pixels of the result per pixel
        of the image, in powers of two.
      fill: the colour outside of the image.
      antialias: see `geometry.resize_image`.

    Raises:
      UserError: numbers out of range.

    Raises (when called):
      ValueError: an example without masks.
    """

    size: int = 160
    context: int = 16
    probability: float = 0.5
    shift: float = 16.0
    octaves: float = 0.25
    far_shift: float = 32.0
    far_octaves: float = 1.0
    beside: float = 0.0
    scales: tuple[float, float] = (-3.0, 2.0)
    fill: tuple[int, ...] = MEAN
    antialias: bool = True

    def __post_init__(self):
        within(self, "[1, inf)", "size")
        within(self, "[0, inf)", "context", "shift", "octaves", "far_shift", "far_octaves")
        within(self, "[0, 1]", "probability", "beside")
        if len(self.scales) != 2 or self.scales[0] > self.scales[1]:
            raise UserError(f"MaskPatches: scales={self.scales} must be two numbers, rising")

    @property
    def object_side(self) -> int:
        """Pixels of an object's longer side where it is in its place."""
        return math.ceil(self.size * 128 / 224)

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        if "masks" not in example:
            raise ValueError("MaskPatches needs masks: a source with 'rle' among its fields")
        example = geometry.keep(example, _drawable(example))
        boxes = example["boxes"].astype(np.float64)
        middles, octaves = (boxes[:, :2] + boxes[:, 2:]) / 2, self._octaves(boxes)
        chosen = np.zeros(len(boxes), bool)
        if len(boxes) and rng.random() < self.probability:
            number = int(rng.integers(len(boxes)))
            chosen[number] = True
            octave = octaves[number] + rng.uniform(-self.octaves, self.octaves)
            middle = middles[number] + rng.uniform(-self.shift, self.shift, 2) / 2**octave
        else:
            middle, octave = self._elsewhere(example["image"].shape, middles, octaves, rng)
        return self._cut(geometry.keep(example, chosen), middle, float(octave))

    def _octaves(self, boxes: np.ndarray) -> np.ndarray:
        """Returns the scales that bring objects into place, in powers of two."""
        sides = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=1)
        return np.log2(self.object_side / sides)

    def _elsewhere(
        self,
        shape: tuple[int, ...],
        middles: np.ndarray,
        octaves: np.ndarray,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, float]:
        """Draws middle and scale of a window that is no object's."""
        drawn = rng.uniform(*self.scales, _TRIALS)
        places = rng.random((_TRIALS, 2)) * (shape[1], shape[0])
        if self.beside and len(middles) and rng.random() < self.beside:
            number = rng.integers(len(middles), size=_TRIALS)
            drawn = octaves[number] + rng.uniform(-self.octaves, self.octaves, _TRIALS)
            off = rng.uniform(-3, 3, (_TRIALS, 2)) * self.far_shift / 2 ** drawn[:, None]
            places = np.clip(middles[number] + off, 0, (shape[1], shape[0]))
        apart = np.abs(places[:, None] - middles[None]).max(2) * 2 ** drawn[:, None]
        near = (apart < self.far_shift) & (
            np.abs(drawn[:, None] - octaves[None]) < self.far_octaves
        )
        first = int(np.argmin(near.any(1)))
        return places[first], float(drawn[first])

    def _cut(self, example: Example, middle: np.ndarray, octave: float) -> Example:
        """Cuts the window around a middle, in whole pixels, and resizes it."""
        side = self.size + 2 * self.context
        pixels = max(1, round(side / 2**octave))
        left, top = (int(v) for v in np.round(middle - pixels / 2))
        window = geometry.crop(example, top, left, pixels, pixels, self.fill)
        return geometry.clip(geometry.resize(window, side, side, self.antialias))


def _drawable(example: Example) -> np.ndarray:
    """Returns (n,) bool: objects with a mask that are neither crowds nor difficult."""
    drawable = example["masks"].any((1, 2))
    for flag in ("crowd", "difficult"):
        if flag in example:
            drawable &= ~np.asarray(example[flag], bool)
    return drawable
