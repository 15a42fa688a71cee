"""Drawn faces of individuals, a data set for verification that needs no download.

An individual is a fixed set of proportions and colours: of skin, hair, eyes, brows, nose and mouth.
Its images differ in pose, light, expression, background and noise, which are drawn independently of
who it is. They are cartoons: a network that tells them apart has learnt nothing about people.
"""

import dataclasses
import functools

import cv2
import numpy as np

from vision_jax.config import UserError, one_of, within
from vision_jax.data.sources import Example, LazySource

_CANVAS = 96  # pixels that are drawn, before the image is warped to its size
_SKIN = ((245, 220, 195), (225, 185, 150), (190, 140, 105), (140, 95, 65), (95, 62, 42))
_HAIR = ((25, 22, 20), (80, 50, 30), (150, 100, 50), (215, 180, 110), (160, 60, 30), (170,) * 3)
_IRIS = ((70, 45, 30), (60, 100, 150), (70, 120, 70), (110, 110, 110))


@dataclasses.dataclass(frozen=True)
class Individual:
    """The looks of one individual. Lengths are shares of the canvas."""

    skin: np.ndarray  # (3,) RGB 0..255
    hair: np.ndarray
    iris: np.ndarray
    face: tuple[float, float]  # half axes
    eyes: tuple[float, float, float]  # half distance, height above the middle, radius
    brow: tuple[float, float, float]  # height above the eye, thickness, slope
    nose: tuple[float, float]  # length, half width
    mouth: tuple[float, float, float]  # below the middle, half width, thickness
    fringe: float  # share of the forehead that hair covers
    long_hair: bool


@dataclasses.dataclass(frozen=True)
class Individuals(LazySource):
    """Drawn faces with the individual as their label.

    'train' holds the first `known` individuals; 'validation' other images of them, and images of
    the rest, whom no training image shows.

    Attributes:
      split: 'train' or 'validation'.
      identities: number of individuals.
      known: how many of them are trained on.
      images: of each individual in the split.
      size: height and width in pixels.
      seed: of all drawing.

    Raises:
      UserError: another split, or numbers that none of these can be.
    """

    split: str = "train"
    identities: int = 400
    known: int = 300
    images: int = 16
    size: int = 32
    seed: int = 0

    def __post_init__(self):
        one_of(self, split=("train", "validation"))
        within(self, "[1, inf)", "identities", "known", "images")
        within(self, "[8, inf)", "size")
        if self.known > self.identities:
            raise UserError(f"known={self.known} exceeds identities={self.identities}")

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(f"person {i}" for i in range(self.identities))

    def __len__(self) -> int:
        return self.images * (self.known if self.split == "train" else self.identities)

    def __getitem__(self, i: int) -> Example:
        who, number = divmod(i, self.images)
        words = [self.seed, 1 + (self.split == "validation"), who, number]
        rng = np.random.Generator(np.random.PCG64(words))
        return {"image": photograph(self._people[who], self.size, rng), "label": who}

    def image_labels(self) -> np.ndarray:
        return np.arange(len(self)) // self.images

    def arrays(self) -> dict[str, np.ndarray]:
        return self._drawn

    @functools.cached_property
    def _people(self) -> list[Individual]:
        return [
            invent(np.random.Generator(np.random.PCG64([self.seed, 0, who])))
            for who in range(self.identities)
        ]

    @functools.cached_property
    def _drawn(self) -> dict[str, np.ndarray]:
        images = np.stack([self[i]["image"] for i in range(len(self))])
        return {"image": images, "label": self.image_labels().astype(np.int32)}


def invent(rng: np.random.Generator) -> Individual:
    """Draws an individual's looks."""

    def colour(known: tuple, spread: float) -> np.ndarray:
        mixed = np.asarray(known[rng.integers(len(known))]) + rng.normal(0, spread, 3)
        return np.clip(mixed, 0, 255)

    def lengths(*bounds: tuple[float, float]) -> tuple:
        return tuple(float(rng.uniform(*bound)) for bound in bounds)

    return Individual(
        skin=colour(_SKIN, 10),
        hair=colour(_HAIR, 8),
        iris=colour(_IRIS, 8),
        face=lengths((0.22, 0.31), (0.3, 0.38)),
        eyes=lengths((0.08, 0.15), (0.02, 0.1), (0.022, 0.045)),
        brow=lengths((0.05, 0.09), (0.01, 0.03), (-0.3, 0.3)),
        nose=lengths((0.06, 0.16), (0.015, 0.05)),
        mouth=lengths((0.14, 0.22), (0.05, 0.13), (0.012, 0.04)),
        fringe=float(rng.uniform(0.1, 0.6)),
        long_hair=bool(rng.integers(2)),
    )


def photograph(who: Individual, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws an image of an individual, uint8 (size, size, 3), in a pose and a light of its own."""
    canvas = np.empty((_CANVAS, _CANVAS, 3), np.float32)
    canvas[:] = rng.uniform(0, 255, 3)
    gaze, smile = rng.uniform(-0.3, 0.3, 2), float(rng.uniform(-0.5, 1))
    _face(canvas, who, gaze, smile)
    turn, scale = rng.uniform(-20, 20), rng.uniform(0.85, 1.15) * size / _CANVAS
    matrix = cv2.getRotationMatrix2D((_CANVAS / 2, _CANVAS / 2), turn, scale)
    shift = size / 2 - _CANVAS / 2 + rng.uniform(-0.06, 0.06, 2) * size
    matrix = matrix + np.column_stack([np.zeros((2, 2)), shift])
    background = tuple(float(value) for value in canvas[0, 0])
    image = cv2.warpAffine(
        canvas, matrix, (size, size), flags=cv2.INTER_AREA, borderValue=background
    )
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    light = rng.uniform(0.6, 1.3) + strength * (x * np.cos(angle) + y * np.sin(angle))
    tint = rng.uniform(0.85, 1.15, 3)
    image = image * light[..., None] * tint + rng.normal(0, 8, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def _face(canvas: np.ndarray, who: Individual, gaze: np.ndarray, smile: float) -> None:
    """Paints a face in the middle of the canvas."""
    wide, high = who.face
    middle = 0.5

    def ellipse(x, y, rx, ry, colour, start=0, end=360, thickness=-1):
        place = tuple(round(v * _CANVAS * 16) for v in (x, y))
        axes = tuple(max(16, round(v * _CANVAS * 16)) for v in (rx, ry))
        colour = tuple(float(v) for v in colour)
        _ellipse(canvas, place, axes, start, end, colour, thickness)

    hair_low = 0.16 if who.long_hair else -0.1
    ellipse(middle, middle - 0.04, wide * 1.18, high * 1.12, who.hair, 180, 360)
    ellipse(middle, middle + hair_low, wide * 1.18, high * 0.8, who.hair)
    ellipse(middle, middle, wide, high, who.skin)
    ellipse(middle, middle - high * (1 - who.fringe / 2), wide, high * who.fringe / 2, who.hair)
    distance, above, radius = who.eyes
    height, thick, slope = who.brow
    eye_y = middle - above
    for side in (-1, 1):
        x = middle + side * distance
        ellipse(x, eye_y, radius * 1.5, radius, (245, 245, 245))
        ellipse(
            x + gaze[0] * radius, eye_y + gaze[1] * radius, radius * 0.8, radius * 0.8, who.iris
        )
        first, last = (
            (int((x + end * radius * 1.6) * _CANVAS), int((eye_y - height + rise) * _CANVAS))
            for end, rise in ((-1, -side * slope * radius), (1, side * slope * radius))
        )
        dark = tuple(float(v) for v in who.hair * 0.8)
        cv2.line(canvas, first, last, dark, max(1, round(thick * _CANVAS)), cv2.LINE_AA)
    length, half = who.nose
    ellipse(middle, eye_y + length, half, length * 0.35, who.skin * 0.82)
    below, half, thick = who.mouth
    lips = who.skin * (0.8, 0.5, 0.5)
    thickness = max(1, round(thick * _CANVAS))
    start, end = (15, 165) if smile > 0 else (195, 345)
    bow = max(abs(smile) * 0.05, 0.008)
    ellipse(middle, middle + below - smile * 0.03, half, bow, lips, start, end, thickness)


def _ellipse(canvas, place, axes, start, end, colour, thickness):
    """Paints an ellipse or, with a thickness, its line; places are in sixteenths of a pixel."""
    cv2.ellipse(
        canvas, place, axes, 0, start, end, colour, thickness, lineType=cv2.LINE_AA, shift=4
    )
