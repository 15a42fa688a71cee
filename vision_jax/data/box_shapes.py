"""Priors, anchors and default boxes that fit a data set's boxes: k-means with the distance 1 - IoU.

In NumPy and without a random seed of the user's: experiments are read before JAX starts, and every
process of a run, and every repetition, must find the same numbers. (`ops.kmeans_priors` is the
paper's algorithm from one random start, on the device.)
"""

import math

import numpy as np

_STARTS = 8  # k-means stops in a local optimum; the best of a few starts is seldom a bad one
_ROUNDS = 300
_MOST = 20_000  # boxes that are clustered; of more, evenly spread ones are
_ALIKE = 1.05  # ratio of two anchors' shapes below which they are one
_SQUARE = 1.25  # elongation of a box below which a square serves


def letterboxed(boxes: np.ndarray, sizes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns widths and heights of boxes after `Letterbox` to that height and width.

    Args:
      boxes: (n, 4) xyxy in pixels of their images.
      sizes: (n, 2) height and width of each box's image.
      height, width: of the network's input, in pixels.

    Returns:
      float64 (n, 2).
    """
    scale = np.minimum(height / sizes[:, 0], width / sizes[:, 1])
    return (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) * scale[:, None]


def stretched(boxes: np.ndarray, sizes: np.ndarray, side: int) -> np.ndarray:
    """Returns widths and heights (n, 2) of boxes after `StretchTo` to a square of that side."""
    return (boxes[:, 2:] - boxes[:, :2]).astype(np.float64) * (side / sizes[:, ::-1])


def shape_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the IoU (n, m) of boxes a (n, 2) and b (m, 2), width and height, with one corner."""
    both = np.minimum(a[:, None, 0], b[None, :, 0]) * np.minimum(a[:, None, 1], b[None, :, 1])
    return both / (a.prod(1)[:, None] + b.prod(1)[None] - both)


def mean_best_iou(sides: np.ndarray, priors: np.ndarray) -> float:
    """Returns the mean IoU of boxes' shapes with the best prior: the papers' figure of merit."""
    return float(shape_iou(sides, priors).max(1).mean())


def kmeans(sides: np.ndarray, count: int) -> np.ndarray:
    """Finds priors by k-means on box shapes with distance 1 - IoU (Redmon 2016, section 2).

    The best of eight starts is taken: the first from evenly spaced quantiles of the areas, the
    others from draws with a fixed seed. Where there are fewer different shapes than priors, the
    rest have twice the area of the largest and half that of the smallest, by turns.

    Args:
      sides: (n, 2) widths and heights above 0, at least one.
      count: number of priors.

    Returns:
      float64 (count, 2) by increasing area.
    """
    sides = np.asarray(sides, np.float64)
    if len(sides) > _MOST:
        sides = sides[np.linspace(0, len(sides) - 1, _MOST).astype(int)]
    different = np.unique(sides, axis=0)
    if len(different) <= count:
        return _filled_up(_by_area(different), count)
    ordered = _by_area(different)
    starts = [ordered[((np.arange(count) + 0.5) * len(ordered) / count).astype(int)]]
    draws = np.random.Generator(np.random.PCG64(0))
    for _ in range(_STARTS - 1):
        starts.append(different[np.argsort(draws.random(len(different)))[:count]])
    found = [_settled(sides, start) for start in starts]
    return _by_area(max(found, key=lambda priors: mean_best_iou(sides, priors)))


def anchor_sizes(sides: np.ndarray, strides: tuple[int, ...]) -> tuple[float, ...]:
    """Finds one anchor side per level of a pyramid: k-means of the boxes as squares.

    Args:
      sides: (n, 2) widths and heights of boxes, in pixels of the network's input.
      strides: input pixels per cell of each level; no anchor is smaller than its cell, or it would
        leave gaps.

    Returns:
      Square roots of areas in whole pixels, from fine to coarse.
    """
    side = np.sqrt(np.prod(sides, 1))
    centres = kmeans(np.stack([side, side], 1), len(strides))[:, 0]
    return tuple(float(max(round(c), s)) for c, s in zip(centres, strides, strict=True))


def anchor_ratios(sides: np.ndarray, count: int = 3) -> tuple[float, ...]:
    """Finds anchors' height / width by k-means of the boxes' shapes at one area.

    Shapes that are alike are one; those that are missing then are twice as tall or as wide. All lie
    within 0.1 and 10.
    """
    aspect = np.sqrt(sides[:, 1] / sides[:, 0])
    centres = kmeans(np.stack([1 / aspect, aspect], 1), count)
    ratios: list[float] = []
    for ratio in sorted(min(max(float(h / w), 0.1), 10.0) for w, h in centres):
        if not ratios or ratio > _ALIKE * ratios[-1]:
            ratios.append(ratio)
    while len(ratios) < count:
        taller = len(ratios) % 2 == 1
        ratios = [*ratios, 2 * ratios[-1]] if taller else [ratios[0] / 2, *ratios]
    return tuple(round(ratio, 2) for ratio in ratios)


def default_box_scales(sides: np.ndarray, side: int, maps: int) -> tuple[float, ...]:
    """Finds SSD's scales, one more than maps: k-means of the boxes as squares.

    Args:
      sides: (n, 2) widths and heights of boxes, in pixels of the network's input.
      side: of the network's square input.
      maps: number of maps that predict.

    Returns:
      Increasing shares of the input's side; the last follows as the one before it does.
    """
    root = np.sqrt(np.prod(sides, 1)) / side
    scales: list[float] = []
    for centre in kmeans(np.stack([root, root], 1), maps)[:, 0]:
        smallest = 1.1 * scales[-1] if scales else 0.01
        scales.append(round(max(float(centre), smallest), 3))
    beyond = scales[-1] ** 2 / scales[-2] if maps > 1 else 1.5 * scales[-1]
    return (*scales, round(max(min(beyond, 1.05), 1.1 * scales[-1]), 3))


def default_box_ratios(sides: np.ndarray, count: int = 2) -> tuple[float, ...]:
    """Finds SSD's ratios beside 1 by k-means of the long boxes' shapes; without any, 2 and 3.

    Each ratio stands for a wide box and a tall one.
    """
    elongation = np.max(sides, 1) / np.min(sides, 1)
    long = np.sqrt(elongation[elongation > _SQUARE])
    if not len(long):
        return (2.0, 3.0)[:count]
    centres = kmeans(np.stack([long, 1 / long], 1), count)
    ratios = sorted(float(w / h) for w, h in centres)
    for place in range(1, count):
        ratios[place] = max(ratios[place], 1.2 * ratios[place - 1])
    return tuple(round(min(ratio, 10.0), 2) for ratio in ratios)


def _settled(sides: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Moves priors to the means of their boxes until none changes its prior."""
    nearest = np.full(len(sides), -1)
    for _ in range(_ROUNDS):
        before, nearest = nearest, shape_iou(sides, priors).argmax(1)
        if (before == nearest).all():
            break
        counts = np.bincount(nearest, minlength=len(priors))[:, None]
        sums = np.stack([np.bincount(nearest, side, len(priors)) for side in sides.T], 1)
        priors = np.where(counts > 0, sums / np.maximum(counts, 1), priors)
    return priors


def _by_area(sides: np.ndarray) -> np.ndarray:
    return sides[np.argsort(sides.prod(1), kind="stable")]


def _filled_up(priors: np.ndarray, count: int) -> np.ndarray:
    """Adds smaller and larger priors until there are `count`."""
    while len(priors) < count:
        larger = len(priors) % 2 == 1
        more = priors[-1:] * math.sqrt(2) if larger else priors[:1] / math.sqrt(2)
        priors = np.concatenate([priors, more] if larger else [more, priors])
    return priors
