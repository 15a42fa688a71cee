"""Proposals that hardly look at the image, the yardstick of all others (Hosang et al. 2016)."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8

from vision_jax.config import UserError
from vision_jax.proposals.graph import graph_segments
from vision_jax.proposals.regions import tight_boxes

Example = tuple[UInt8[np.ndarray, "_h _w 3"], Float[np.ndarray, "_m 4"]]  # an image, and its boxes


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Boxes with centre, logarithm of the area and logarithm of the ratio drawn evenly.

    Attributes:
      count: boxes per image.
      area: least and greatest, as shares of the image.
      ratio: least and greatest width by height.
    """

    count: int = 1000
    area: tuple[float, float] = (0.001, 1.0)
    ratio: tuple[float, float] = (0.25, 4.0)

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy within the image, in random order."""
        random = np.random.default_rng(seed)
        draws = np.empty((self.count, 4))
        draws[:, :2] = random.uniform(size=(self.count, 2))
        for column, (low, high) in ((2, self.area), (3, self.ratio)):
            draws[:, column] = random.uniform(np.log(low), np.log(high), self.count)
        return _boxes(draws, *rgb.shape[:2])

    def fitted(self, examples: Iterable[Example]) -> "Uniform":
        """Takes the ranges of the boxes of a training set."""
        shapes = _shapes(examples)
        low, high = np.exp(shapes[:, 2:].min(0)), np.exp(shapes[:, 2:].max(0))
        ranges = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
        return dataclasses.replace(self, area=ranges[0], ratio=ranges[1])


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Boxes drawn from the normal distribution of a training set's: centre, log area, log ratio.

    Attributes:
      count: boxes per image.
      mean, covariance: see `described`. By default boxes of a fifth of the image lie about its
        middle, widely spread: a start, not a measurement; `fitted` takes a training set's.
    """

    count: int = 1000
    mean: tuple[float, ...] = (0.5, 0.5, -1.6, 0.0)
    covariance: tuple[tuple[float, ...], ...] = (
        (0.04, 0.0, 0.0, 0.0),
        (0.0, 0.04, 0.0, 0.0),
        (0.0, 0.0, 1.5, 0.0),
        (0.0, 0.0, 0.0, 0.4),
    )

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy within the image, in random order."""
        random = np.random.default_rng(seed)
        draws = random.multivariate_normal(self.mean, self.covariance, self.count)
        return _boxes(draws, *rgb.shape[:2])

    def fitted(self, examples: Iterable[Example]) -> "Gaussian":
        """Takes mean and covariance of the boxes of a training set."""
        shapes = _shapes(examples)
        covariance = np.cov(shapes, rowvar=False) if len(shapes) > 1 else np.zeros((4, 4))
        rows = tuple(tuple(row) for row in covariance.tolist())
        return dataclasses.replace(self, mean=tuple(shapes.mean(0).tolist()), covariance=rows)


@dataclasses.dataclass(frozen=True)
class SlidingWindow:
    """Windows of fixed sizes on a grid, whose next neighbours have an IoU of one half.

    Attributes:
      count: windows per image, at most, drawn at random.
      sides: of the windows; each goes with each. Those that are less than twice as long as the
        image are cut to it, longer ones are left out (as BING does, Cheng et al. 2014).
    """

    count: int = 1000
    sides: tuple[int, ...] = (16, 32, 64, 128, 256, 512)

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes windows, xyxy within the image, in random order."""
        down, across = (_spans(length, self.sides) for length in rgb.shape[:2])
        boxes = [
            (x, y, x + wide, y + high)
            for (high, tops), (wide, lefts) in itertools.product(down, across)
            for y, x in itertools.product(tops, lefts)
        ]
        order = np.random.default_rng(seed).permutation(len(boxes))[: self.count]
        return np.array(boxes, np.float64).reshape(-1, 4)[order]


@dataclasses.dataclass(frozen=True)
class Superpixels:
    """The boxes of one fine segmentation's regions (Felzenszwalb and Huttenlocher 2004).

    Attributes:
      k, min_size: see `proposals.graph_segments`.
    """

    k: float = 100.0
    min_size: int = 20

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy, in random order."""
        boxes = tight_boxes(graph_segments(rgb, self.k, min_size=self.min_size))
        return np.random.default_rng(seed).permutation(boxes).astype(np.float64)


def described(boxes: Float[np.ndarray, "n 4"], height: int, width: int) -> Float[np.ndarray, "n 4"]:
    """Describes boxes, xyxy, as the baselines draw them.

    Returns:
      centre, as shares of the image's width and height; logarithm of the area, as a share of the
      image's; and logarithm of width by height.
    """
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)
    center = (boxes[:, 2:] + boxes[:, :2]) / 2 / [width, height]
    area = np.log(sides.prod(1) / (height * width))
    return np.concatenate([center, area[:, None], np.log(sides[:, :1] / sides[:, 1:])], 1)


def _shapes(examples: Iterable[Example]) -> Float[np.ndarray, "_n 4"]:
    """Describes all boxes of a training set.

    Raises:
      UserError: there are none.
    """
    shapes = [described(boxes, *rgb.shape[:2]) for rgb, boxes in examples]
    if not sum(map(len, shapes)):
        raise UserError("the source has no boxes to take after")
    return np.concatenate(shapes)


def _boxes(draws: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undoes `described`; what lies outside the image is cut off, and empty boxes left out."""
    area, ratio = np.exp(draws[:, 2]) * height * width, np.exp(draws[:, 3])
    half = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 1) / 2
    center = draws[:, :2] * [width, height]
    boxes = np.concatenate([center - half, center + half], 1)
    boxes = boxes.clip(0, [width, height, width, height])
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]


def _spans(length: int, sides: tuple[int, ...]) -> list[tuple[int, np.ndarray]]:
    """Returns the sides of windows along an axis, none twice, and where each begins."""
    cut = sorted({min(side, length) for side in sides if side < 2 * length})
    return [(side, _starts(length, side)) for side in cut or [length]]


def _starts(length: int, side: int) -> np.ndarray:
    """Returns even places of a window along an axis, a third of its side apart at most."""
    steps = -(-(length - side) * 3 // side)
    return np.linspace(0, length - side, steps + 1)
