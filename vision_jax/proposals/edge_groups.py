"""Edges of an image, and their groups: what edge boxes reason about (Zitnick and Dollár 2014).

A group is a piece of a contour whose direction hardly changes. Two groups that touch have an
affinity, which is high where one goes on in the direction of the other. Where the paper is silent
OpenCV's order of pixels is followed: column after column.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

_FREE, _NO_EDGE = 0, -1


@dataclasses.dataclass(frozen=True, eq=False)
class EdgeGroups:
    """The groups of an edge map, numbered from 1.

    Attributes:
      label: the group of each pixel; 0 or less: none.
      magnitude: (g + 1,) sum of the edges of each group.
      place: (g + 1, 2) x, y of its last pixel, column after column.
      first, second, affinity: (a,) pairs of groups, both ways, sorted by the first, and in 0 ... 1
        how well they go on in each other.
    """

    label: Int[np.ndarray, "h w"]
    magnitude: Float[np.ndarray, " g_1"]
    place: Int[np.ndarray, "g_1 2"]
    first: Int[np.ndarray, " a"]
    second: Int[np.ndarray, " a"]
    affinity: Float[np.ndarray, " a"]


def gradient_edges(
    rgb: UInt8[np.ndarray, "h w 3"], sigma: float = 1.0
) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Draws an edge map without learning: the strongest gradient of L, a and b, thinned.

    A stand-in for the structured forests of the paper.

    Args:
      sigma: of the blur, in pixels.

    Returns:
      magnitudes in 0 ... 1, where the strongest edge has 1, and the direction along the edge in
      0 ... pi.
    """
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab).astype(np.float32) / 255
    lab = cv2.GaussianBlur(lab, (0, 0), sigma)
    across, down = cv2.Sobel(lab, cv2.CV_32F, 1, 0), cv2.Sobel(lab, cv2.CV_32F, 0, 1)
    strength = np.hypot(across, down)
    strongest = strength.argmax(-1)[..., None]
    gx, gy, magnitude = (
        np.take_along_axis(m, strongest, -1)[..., 0] for m in (across, down, strength)
    )
    angle = np.arctan2(gy, gx)
    magnitude = _thinned(magnitude / max(float(magnitude.max()), 1e-6), angle)
    orientation = np.mod(angle + np.float32(np.pi / 2), np.float32(np.pi))
    return magnitude, orientation


def edge_groups(
    magnitude: Float32[np.ndarray, "h w"],
    orientation: Float32[np.ndarray, "h w"],
    min_magnitude: float = 0.1,
    merge: float = 0.5,
    min_group: float = 0.5,
    gamma: float = 2.0,
) -> EdgeGroups:
    """Groups the pixels of an edge map (section 3.1).

    Args:
      magnitude: in 0 ... 1, thin.
      orientation: along the edge, in radians.
      min_magnitude: weaker pixels are no edges.
      merge: a group is full when its changes of direction sum to this, in units of pi.
      min_group: groups of a smaller sum of magnitudes are dissolved into their neighbours.
      gamma: exponent of the affinity.
    """
    label = _walked(magnitude, orientation, min_magnitude, merge)
    sums = np.bincount(label.clip(0).ravel(), magnitude.ravel())
    label[(label > 0) & (sums[label.clip(0)] <= min_group)] = _FREE
    _dissolve(label, orientation)
    used = np.unique(label[label > 0])
    number = np.zeros(len(sums) + 1, np.int64)
    number[used] = np.arange(1, len(used) + 1)
    label = np.where(label > 0, number[label.clip(0)], label)
    return _measured(label, magnitude, orientation, gamma, len(used) + 1)


def _thinned(magnitude: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Returns the magnitudes, 0 where a neighbour across the edge is stronger."""
    padded = np.pad(magnitude, 1)
    rows, columns = np.indices(magnitude.shape) + 1
    dy, dx = (np.rint(f(across)).astype(np.int64) for f in (np.sin, np.cos))
    beside = [padded[rows + s * dy, columns + s * dx] for s in (-1, 1)]
    return np.where(magnitude >= np.maximum(*beside), magnitude, np.float32(0))


def _turn(one: float, two: float) -> float:
    """Returns the difference of two directions in units of pi, at most a half."""
    difference = abs(one - two) / math.pi
    return min(difference, 1 - difference)


def _walked(
    magnitude: np.ndarray, orientation: np.ndarray, min_magnitude: float, merge: float
) -> np.ndarray:
    """Returns the group of each pixel, `_NO_EDGE` where there is none, frames included.

    A walk always goes on to the pixel that it has met with the least turn, until its turns sum to
    `merge` or it has nowhere to go.
    """
    height, width = magnitude.shape
    edge = magnitude > np.float32(min_magnitude)
    edge[[0, -1]] = edge[:, [0, -1]] = False
    label = np.where(edge, _FREE, _NO_EDGE).T.ravel().tolist()
    direction = orientation.T.ravel().tolist()
    around = [x * height + y for x in (-1, 0, 1) for y in (-1, 0, 1)]
    count = 0
    for start in np.flatnonzero(edge.T.ravel()).tolist():
        if label[start] != _FREE:
            continue
        count += 1
        met: dict[int, float] = {}  # what can be walked on to, in the order in which it was met
        seen: set[int] = set()
        here, turned = start, 0.0
        while turned < merge:
            label[here] = count
            for step in around:
                there = here + step
                if label[there] == _FREE and there not in seen:
                    seen.add(there)
                    met[there] = _turn(direction[there], direction[here])
            if not met:
                break
            here = min(met, key=met.__getitem__)
            turned += met.pop(here)
    return np.array(label, np.int64).reshape(width, height).T


def _dissolve(label: np.ndarray, orientation: np.ndarray) -> None:
    """Gives free pixels to the group beside them with the least turn, again and again."""
    height, width = label.shape
    flat, direction = label.T.ravel().tolist(), orientation.T.ravel().tolist()
    around = [x * height + y for x in (-1, 0, 1) for y in (-1, 0, 1)]
    free = [i for i, group in enumerate(flat) if group == _FREE]
    while free:
        left = []
        for here in free:
            near = [here + step for step in around if flat[here + step] > 0]
            if near:
                turns = [_turn(direction[there], direction[here]) for there in near]
                flat[here] = flat[near[turns.index(min(turns))]]
            else:
                left.append(here)
        if len(left) == len(free):
            break
        free = left
    label[:] = np.array(flat, np.int64).reshape(width, height).T


def _measured(
    label: np.ndarray, magnitude: np.ndarray, orientation: np.ndarray, gamma: float, count: int
) -> EdgeGroups:
    """Measures groups 1 ... count - 1: sums, places, mean directions and affinities."""
    x, y = (part.ravel() for part in np.nonzero(label.T > 0))
    group, weight = label[y, x], magnitude[y, x].astype(np.float64)
    angle = 2.0 * orientation[y, x].astype(np.float64)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, weight * values, minlength=count).astype(np.float64)

    sums = total(np.ones(len(group)))
    safe = np.where(sums > 0, sums, 1)
    center = np.stack([total(x), total(y)], 1) / safe[:, None]
    mean = np.arctan2(total(np.sin(angle)), total(np.cos(angle))) / 2
    place = np.zeros((count, 2), np.int64)
    place[group] = np.stack([x, y], 1)  # the last one stays
    first, second = _near(label, count)
    between = center[first] - center[second]
    line = np.arctan2(between[:, 1], between[:, 0]) + np.pi / 2
    affinity = np.abs(np.cos(mean[first] - line) * np.cos(mean[second] - line)) ** gamma
    pairs = np.concatenate([[first, second, affinity], [second, first, affinity]], 1)
    pairs = pairs[:, np.lexsort(pairs[:2][::-1])]
    return EdgeGroups(
        label, sums, place, pairs[0].astype(np.int64), pairs[1].astype(np.int64), pairs[2]
    )


def _near(label: np.ndarray, count: int, radius: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of groups, the lesser first, with pixels within a radius of each other."""
    height, width = label.shape
    if min(height, width) <= 2 * radius:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    here = label[radius : height - radius, radius : width - radius]
    pairs = []
    for dy in range(2 * radius + 1):
        for dx in range(2 * radius + 1):
            there = label[dy : dy + here.shape[0], dx : dx + here.shape[1]]
            met = (here > 0) & (there > here)
            pairs.append(np.unique(here[met] * count + there[met]))
    return tuple(np.divmod(np.unique(np.concatenate(pairs)), count))
