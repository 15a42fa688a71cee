"""Graph segmentation (Felzenszwalb and Huttenlocher 2004): an image → the regions of its pixels.

Pixels are joined along edges of rising weight, the distance of their colours, as long as the weight
is at most the threshold of both regions: the weight of a region's last join plus k / pixels. Then
regions that are too small join their nearest neighbours.

The plain algorithm looks at one edge after the other. But an edge that is the least of both of its
regions is decided whatever happens elsewhere, so that many are decided at once; and a region whose
least edge is refused is finished, as all its later ones are refused too. What remains is decided
one by one. The result is the same.
"""

import dataclasses
import functools

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

_HALF = ((0, 1), (1, 0), (1, 1), (1, -1))  # rows and columns to half of a pixel's 8 neighbours


@dataclasses.dataclass(frozen=True)
class Convention:
    """How an implementation fills in what the paper leaves open.

    Attributes:
      neighbours: of a pixel, 4 or 8.
      strict: a weight must be less than the thresholds, not at most equal.
      double: computes in float64, not float32, and blurs as SciPy, not as OpenCV.
    """

    neighbours: int = 4
    strict: bool = False
    double: bool = False


CONVENTIONS = {
    "opencv": Convention(),
    "original": Convention(neighbours=8),
    "skimage": Convention(neighbours=8, strict=True, double=True),
}


@dataclasses.dataclass(frozen=True, eq=False)
class PixelGraph:
    """The edges between neighbouring pixels, the least first, from which `segments` makes regions.

    Attributes:
      shape: rows and columns of the image.
      first, second: (e,) the pixels of each edge, counted row by row.
      weight: (e,) the distance of their colours, rising.
      strict: see `Convention`.
    """

    shape: tuple[int, int]
    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    strict: bool

    def segments(self, k: float, min_size: int) -> np.ndarray:
        """Makes regions, (rows, columns) int32, numbered by their first pixels.

        Args:
          k: the scale of observation, in units of colours; a greater one makes larger regions.
          min_size: regions of fewer pixels join their nearest neighbour.
        """
        if not len(self.first):
            return np.zeros(self.shape, np.int32)
        node = self._joined(k)
        sizes = np.bincount(node)
        first, second = node[self.first], node[self.second]
        small = np.minimum(sizes[first], sizes[second]) < min_size
        kept = np.flatnonzero((first != second) & small)
        kept = kept[_least_between(first[kept], second[kept], len(sizes))]
        root = _join_small(first[kept], second[kept], sizes, min_size)
        return by_first_pixel(root[node]).reshape(self.shape)

    @functools.cached_property
    def _flat(self) -> np.ndarray:
        """(pixels,) regions of one colour, which are joined whatever k is."""
        count, edges = int(np.prod(self.shape)), int(np.searchsorted(self.weight, 0, "right"))
        ends = (self.first[:edges], self.second[:edges])
        graph = sparse.coo_array((np.ones(edges, np.int8), ends), (count, count))
        return csgraph.connected_components(graph, directed=False)[1]

    def _joined(self, k: float) -> np.ndarray:
        """Returns the region of each pixel, from 0, before small ones are joined.

        In each round all edges that are the least of both of their regions are decided at once.
        """
        node = self._flat
        kind = self.weight.dtype.type
        sizes = np.bincount(node)
        most = kind(k) / sizes.astype(kind)
        first, second, weight = node[self.first], node[self.second], self.weight
        apart = first != second
        first, second, weight = first[apart], second[apart], weight[apart]
        joined = len(sizes)
        while len(first) and joined > len(first) / 50:  # fewer: one by one is faster
            number = np.arange(len(first))
            least = np.full((2, len(sizes)), len(first) - 1)
            least[0, first[::-1]] = least[1, second[::-1]] = number[::-1]
            least = least.min(0)
            limit = weight[least]
            finished = most <= limit if self.strict else most < limit
            chosen = (least[first] == number) & (least[second] == number)
            chosen &= ~(finished[first] | finished[second])
            a, b = first[chosen], second[chosen]
            joined = len(a)
            sizes[a] += sizes[b]
            most[a] = weight[chosen] + kind(k) / sizes[a].astype(kind)
            root = np.arange(len(sizes))
            root[b] = a
            node, first, second = root[node], root[first], root[second]
            open_ = (first != second) & ~(finished[first] | finished[second])
            first, second, weight = first[open_], second[open_], weight[open_]
        kept = _least_between(first, second, len(sizes))
        root = _join(first[kept], second[kept], weight[kept], sizes, most, k, self.strict)
        return np.unique(root[node], return_inverse=True)[1]


def pixel_graph(
    image: np.ndarray, sigma: float = 0.8, convention: Convention = CONVENTIONS["opencv"]
) -> PixelGraph:
    """Blurs an image and weighs the edges between its pixels.

    Args:
      image: (h, w) or (h, w, c), in any range; k of `PixelGraph.segments` is in its units.
      sigma: standard deviation of the blur in pixels; 0: none.
      convention: see `Convention`.
    """
    planes = np.atleast_3d(_blurred(image, sigma, convention))
    height, width = planes.shape[:2]
    place = np.arange(height * width, dtype=np.int32).reshape(height, width)
    parts = []
    for down, right in _HALF[: convention.neighbours // 2]:
        here = np.s_[: height - down, max(-right, 0) : width - max(right, 0)]
        there = np.s_[down:, max(right, 0) : width - max(-right, 0)]
        total = np.zeros(place[here].shape, planes.dtype)
        for channel in np.moveaxis(planes, -1, 0):
            total += np.square(channel[here] - channel[there], dtype=np.float64)
        parts.append((place[here].ravel(), place[there].ravel(), np.sqrt(total).ravel()))
    first, second, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(weight, kind="stable")
    edges = (part[order] for part in (first, second, weight))
    return PixelGraph((height, width), *edges, convention.strict)


def graph_segments(
    image: np.ndarray,
    k: float = 300.0,
    sigma: float = 0.8,
    min_size: int = 100,
    convention: str = "opencv",
) -> np.ndarray:
    """Segments an image (Felzenszwalb 2004): (h, w) or (h, w, c) → (h, w) int32, from 0.

    Args:
      k: see `PixelGraph.segments`; for colours 0 ... 255 unless the image has another range.
      sigma: see `pixel_graph`.
      min_size: see `PixelGraph.segments`.
      convention: 'opencv' (4 neighbours), 'original' (8, the authors' program) or 'skimage' (8,
        strict comparison, float64; its `scale` is our 255 k for colours 0 ... 1).

    Raises:
      KeyError: an unknown convention.
    """
    return pixel_graph(image, sigma, CONVENTIONS[convention]).segments(k, min_size)


def by_first_pixel(labels: np.ndarray) -> np.ndarray:
    """Renumbers labels, of any shape, from 0 by where each first stands; int32."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int32)
    number[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return number[inverse].reshape(labels.shape)


def _blurred(image: np.ndarray, sigma: float, convention: Convention) -> np.ndarray:
    if convention.double:
        sigmas = (sigma, sigma, 0)[: image.ndim]
        return ndimage.gaussian_filter(np.asarray(image, np.float64), sigmas, mode="reflect")
    values = np.asarray(image, np.float32)
    return cv2.GaussianBlur(values, (0, 0), sigma) if sigma > 0 else values


def _find(parent: list[int], node: int) -> int:
    """Returns the root of a node, and shortens its way there."""
    while parent[node] != node:
        parent[node] = node = parent[parent[node]]
    return node


def _least_between(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Returns which edges are the first between their nodes, rising; later ones decide nothing."""
    pair = np.minimum(first, second).astype(np.int64) * count + np.maximum(first, second)
    return np.sort(np.unique(pair, return_index=True)[1])


def _join(
    first: np.ndarray,
    second: np.ndarray,
    weight: np.ndarray,
    sizes: np.ndarray,
    thresholds: np.ndarray,
    k: float,
    strict: bool,
) -> np.ndarray:
    """Joins nodes along edges of rising weight; returns each node's root."""
    kind = weight.dtype.type
    parent, size, most = list(range(len(sizes))), sizes.tolist(), thresholds.tolist()
    for a, b, w in zip(first.tolist(), second.tolist(), weight.tolist(), strict=True):
        a, b = _find(parent, a), _find(parent, b)
        least = min(most[a], most[b])
        if a == b or w > least or (strict and w == least):
            continue
        if size[a] < size[b]:
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        most[a] = float(kind(w) + kind(k) / kind(size[a]))
    return np.array([_find(parent, node) for node in parent], np.int64)


def _join_small(
    first: np.ndarray, second: np.ndarray, sizes: np.ndarray, min_size: int
) -> np.ndarray:
    """Joins two nodes along an edge if one is too small; returns each node's root."""
    parent, size = list(range(len(sizes))), sizes.tolist()
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        a, b = _find(parent, a), _find(parent, b)
        if a != b and min(size[a], size[b]) < min_size:
            parent[b] = a
            size[a] += size[b]
    return np.array([_find(parent, node) for node in parent], np.int64)
