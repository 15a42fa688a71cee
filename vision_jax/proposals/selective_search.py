"""Selective search (Uijlings et al. 2013): boxes of regions that grow together.

Starting from a segmentation the two most similar regions that touch are joined, until one is left;
every region ever seen gives its box. Many such hierarchies, which differ in colours, in the scale
of the segmentation and in what similarity means, give boxes for things of many kinds.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, Int, UInt8

from vision_jax.proposals.colors import converted
from vision_jax.proposals.graph import pixel_graph
from vision_jax.proposals.regions import Planes, Regions

# Shares of colour, texture, size and fill in the similarity.
ALL, NO_COLOR = (1.0, 1.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0)
FILL, SIZE = (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.0)
Weights = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class SelectiveSearch:
    """The settings of selective search; a hierarchy for each space, scale and similarity.

    Attributes:
      spaces: of `proposals.colors.SPACES`.
      scales: of the segmentation, k.
      similarities: shares of colour, texture, size and fill.
      sigma: of the blur before the segmentation, in pixels.
      min_size: pixels that a region of the segmentation has at least. (OpenCV: 100; the authors: k,
        in images 500 wide. In images of 150 pixels or less either hides small objects.)
      min_side: boxes that are narrower or lower are left out. (The authors: 20 in 500.)
    """

    spaces: tuple[str, ...] = ("hsv", "lab")
    scales: tuple[float, ...] = (50.0, 100.0)
    similarities: tuple[Weights, ...] = (ALL, NO_COLOR)
    sigma: float = 0.8
    min_size: int = 20
    min_side: int = 0

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> np.ndarray:
        """Proposes boxes, (n, 4) int xyxy with exclusive ends, none twice, the best first.

        They are ranked as in section 3.3: by the place in the hierarchy, 1 being the whole image,
        times a random number, so that large regions tend to come first.

        Args:
          seed: of the random numbers; the same boxes come in the same order.
        """
        hierarchies = self.hierarchies(rgb)
        boxes = np.concatenate(hierarchies)
        place = np.concatenate([np.arange(len(h), 0, -1) for h in hierarchies])
        order = np.argsort(place * np.random.default_rng(seed).random(len(place)), kind="stable")
        boxes = boxes[order]
        large = (boxes[:, 2:] - boxes[:, :2]).min(1) >= self.min_side
        boxes = boxes[large]
        return boxes[np.sort(np.unique(boxes, axis=0, return_index=True)[1])]

    def hierarchies(self, rgb: UInt8[np.ndarray, "h w 3"]) -> list[Int[np.ndarray, "_n 4"]]:
        """Returns the boxes of each hierarchy: the segmentation's, then those joined, in order."""
        regions, weights = [], []
        texture = any(shares[1] for shares in self.similarities)
        for space in self.spaces:
            planes = Planes(converted(rgb, space))
            graph = pixel_graph(planes.image, self.sigma)
            for scale in self.scales:
                found = planes.regions(graph.segments(scale, self.min_size), texture)
                regions += [found] * len(self.similarities)
                weights += self.similarities
        return Grouping(regions, weights, rgb.shape[0] * rgb.shape[1]).run()


PRESETS = {
    "single": SelectiveSearch(("hsv",), (200.0,), (ALL,)),
    "fast": SelectiveSearch(),
    "quality": SelectiveSearch(
        ("hsv", "lab", "rgi", "h", "i"), (50.0, 100.0, 150.0, 300.0), (ALL, NO_COLOR, FILL, SIZE)
    ),
    # What OpenCV's contributed module does.
    "opencv_single": SelectiveSearch(("hsv",), (200.0,), (ALL,), min_size=100),
    "opencv_fast": SelectiveSearch(scales=(150.0, 300.0, 450.0), min_size=100),
    "opencv_quality": SelectiveSearch(
        ("hsv", "lab", "i", "opencv_h", "opencv_rgi"),
        (150.0, 300.0, 450.0, 600.0, 750.0),
        (ALL, NO_COLOR, FILL, SIZE),
        min_size=100,
    ),
}


class Grouping:
    """Hierarchies that grow side by side: each step joins one pair of regions in each of them.

    A joined region takes the place of one of its two. Arrays have a row per hierarchy and a column
    per region; where regions do not touch, or are gone, their similarity is -1.
    """

    def __init__(self, regions: list[Regions], weights: list[Weights], pixels: int):
        """Begins with the regions of segmentations.

        Args:
          weights: of each hierarchy, see `SelectiveSearch.similarities`.
          pixels: of the image.
        """
        self.count = np.array([len(r.size) for r in regions])
        most = int(self.count.max())
        self.pixels = np.float32(pixels)
        self.weights = np.array(weights, np.float32)
        self.size = _padded([r.size for r in regions], (most,))
        self.box = _padded([r.box for r in regions], (most, 4))
        self.color = _widened([r.color for r in regions], most)
        self.texture = _widened([r.texture for r in regions], most)
        touching = _padded([r.touching for r in regions], (most, most))
        self.similarity = np.full(touching.shape, -1, np.float32)
        group, a, b = np.nonzero(touching)
        half = a < b
        group, a, b = group[half], a[half], b[half]
        self._set(group, a, b)
        self.best = self.similarity.max(2)  # of each region, with any other

    def run(self) -> list[Int[np.ndarray, "_n 4"]]:
        """Joins until nothing touches; returns each hierarchy's boxes in order."""
        found = [[self.box[g, :n].copy()] for g, n in enumerate(self.count)]
        while True:
            a = self.best.argmax(1)
            group = np.flatnonzero(self.best[np.arange(len(a)), a] >= 0)
            if not len(group):
                return [np.concatenate(boxes) for boxes in found]
            a = a[group]
            b = self.similarity[group, a].argmax(1)
            self.join(group, a, b)
            for g, box in zip(group.tolist(), self.box[group, a], strict=True):
                found[g].append(box[None])

    def between(
        self, group: np.ndarray, a: np.ndarray, b: np.ndarray
    ) -> Float32[np.ndarray, "4 _n"]:
        """Returns the similarities of pairs of regions in colour, texture, size and fill."""
        kinds = np.zeros((4, len(group)), np.float32)
        for kind, histograms in enumerate((self.color, self.texture)):
            asked = np.flatnonzero(self.weights[group, kind])
            g, i, j = group[asked], a[asked], b[asked]
            kinds[kind, asked] = np.minimum(histograms[g, i], histograms[g, j]).sum(1)
        pixels = self.size[group, a] + self.size[group, b]
        one, two = self.box[group, a], self.box[group, b]
        sides = np.maximum(one[:, 2:], two[:, 2:]) - np.minimum(one[:, :2], two[:, :2])
        kinds[2] = 1 - pixels.astype(np.float32) / self.pixels
        kinds[3] = 1 - (sides.prod(1) - pixels).astype(np.float32) / self.pixels
        return kinds.clip(0, 1, out=kinds)

    def _set(self, group: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        """Computes the similarities of pairs and writes them down, both ways."""
        weights = self.weights[group]
        value = (weights.T * self.between(group, a, b)).sum(0) / weights.sum(1)
        self.similarity[group, a, b] = value
        self.similarity[group, b, a] = value

    def join(self, group: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        """Joins region b of each group to its region a."""
        here, gone = self.size[group, a], self.size[group, b]
        for histograms in (self.color, self.texture):
            one = histograms[group, a] * here[:, None].astype(np.float32)
            two = histograms[group, b] * gone[:, None].astype(np.float32)
            histograms[group, a] = (one + two) / (here + gone)[:, None].astype(np.float32)
        self.size[group, a] = here + gone
        one, two = self.box[group, a], self.box[group, b]
        low, high = np.minimum(one, two)[:, :2], np.maximum(one, two)[:, 2:]
        self.box[group, a] = np.concatenate([low, high], 1)
        touching = np.maximum(self.similarity[group, a], self.similarity[group, b]) >= 0
        touching[np.arange(len(group)), a] = touching[np.arange(len(group)), b] = False
        self.similarity[group, b] = self.similarity[group, :, b] = -1
        self.similarity[group, a, b] = -1
        row, other = np.nonzero(touching)
        self._set(group[row], a[row], other)
        self.best[group[row], other] = self.similarity[group[row], other].max(1)
        self.best[group, a] = self.similarity[group, a].max(1)
        self.best[group, b] = -1


def _widened(histograms: list[np.ndarray], regions: int) -> np.ndarray:
    """Stacks histograms; bins that only others have are empty."""
    return _padded(histograms, (regions, max(h.shape[1] for h in histograms)))


def _padded(arrays: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Stacks arrays of different sizes, filled up with zeros."""
    stacked = np.zeros((len(arrays), *shape), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[tuple(slice(n) for n in array.shape)] = array
    return stacked
