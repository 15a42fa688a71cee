"""Edge boxes (Zitnick and Dollár 2014): boxes with many contours wholly within.

A box's score is the sum of the edge groups within it, less those that go on to groups across its
border, and less the edges in its middle, by its size. Boxes on a grid are scored, improved, and
thinned out.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from vision_jax.proposals.edge_groups import EdgeGroups, edge_groups, gradient_edges
from vision_jax.proposals.windows import grid, suppressed

_LEAST_PATH = 0.05  # products of affinities below it count as none
_AT_ONCE = 2**22  # numbers that are held for a block of boxes


@dataclasses.dataclass(frozen=True)
class EdgeBoxes:
    """The settings of edge boxes; the defaults are the authors', for photographs.

    Attributes:
      alpha: IoU of next boxes on the grid.
      beta, eta: see `windows.suppressed`. (The authors advise 0.9 and 0.9996 for the best recall
        over all IoUs with 1000 boxes.)
      min_score: boxes of less are left out.
      count: boxes, at most.
      min_magnitude, merge, min_group, gamma: see `edge_groups.edge_groups`.
      max_aspect: of width by height, either way.
      min_area: of boxes on the grid, in pixels; 1000 in images of some 500 pixels. Smaller images
        with smaller objects need less.
      kappa: exponent of the size by which the score is divided.
    """

    alpha: float = 0.65
    beta: float = 0.75
    eta: float = 1.0
    min_score: float = 0.01
    count: int = 10_000
    min_magnitude: float = 0.1
    merge: float = 0.5
    min_group: float = 0.5
    max_aspect: float = 3.0
    min_area: float = 1000.0
    gamma: float = 2.0
    kappa: float = 1.5

    def __call__(self, rgb: UInt8[np.ndarray, "h w 3"], seed: int = 0) -> Float[np.ndarray, "_n 4"]:
        """Proposes boxes, xyxy within the image, the best first; nothing is random.

        The edges are those of `edge_groups.gradient_edges`; `from_edges` takes any.
        """
        boxes, _ = self.from_edges(*gradient_edges(rgb))
        return boxes.clip(0, [rgb.shape[1], rgb.shape[0]] * 2).astype(np.float64)

    def from_edges(
        self, magnitude: Float32[np.ndarray, "h w"], orientation: Float32[np.ndarray, "h w"]
    ) -> tuple[Int[np.ndarray, "_n 4"], Float[np.ndarray, " _n"]]:
        """Proposes boxes for an edge map, such as a learned one.

        Args:
          magnitude: in 0 ... 1, thin.
          orientation: along the edge, in radians.

        Returns:
          boxes, xyxy with exclusive ends, as OpenCV gives them: one pixel further to the right and
          down than their first pixel; and their scores, falling.
        """
        scorer = self.scorer(magnitude, orientation)
        boxes = grid(*magnitude.shape, self.alpha, self.min_area, self.max_aspect)
        scores = scorer(boxes)
        boxes, scores = self._refined(boxes[scores > 0], scores[scores > 0], scorer)
        order = np.argsort(-scores, kind="stable")
        boxes, scores = boxes[order], scores[order]
        kept = suppressed(boxes.astype(np.float64), self.beta, self.count, self.eta)
        return boxes[kept] + 1, scores[kept]

    def scorer(self, magnitude: np.ndarray, orientation: np.ndarray) -> "EdgeScorer":
        """Groups the edges of a map; the result scores boxes."""
        groups = edge_groups(
            magnitude, orientation, self.min_magnitude, self.merge, self.min_group, self.gamma
        )
        edges = np.where(magnitude > np.float32(self.min_magnitude), magnitude, 0)
        return EdgeScorer(groups, edges, self.kappa, self.min_score)

    def _refined(
        self, boxes: np.ndarray, scores: np.ndarray, scorer: "EdgeScorer"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Moves each side of each box to where the score is higher, by steps that are halved."""
        shift = (1 - self.alpha) / (1 + self.alpha)
        step = ((boxes[:, 2:] - boxes[:, :2]) * shift).astype(np.int64)  # across, down
        boxes, scores = boxes.copy(), scores.copy()
        active = np.arange(len(boxes))
        while len(active):
            step //= 2
            active = active[(step[active] > 2).any(1)]
            for side in (1, 3, 0, 2):
                outward = 1 if side > 1 else -1
                tried = active
                for direction in (outward, -outward):
                    moved = boxes[tried]
                    moved[:, side] += direction * np.maximum(step[tried, side % 2], 1)
                    moved = scorer.cut(moved)
                    better = scorer(moved)
                    won = better > scores[tried]
                    boxes[tried[won]], scores[tried[won]] = moved[won], better[won]
                    tried = tried[~won]
        return boxes, scores


class EdgeScorer:
    """Scores boxes by the edge groups of an image (section 3.2)."""

    def __init__(self, groups: EdgeGroups, edges: np.ndarray, kappa: float, min_score: float):
        """Prepares sums over rectangles, and lists of who crosses each row and column.

        Args:
          edges: (h, w) magnitudes, 0 where there is no edge.
          kappa, min_score: see `EdgeBoxes`.
        """
        self.groups, self.kappa, self.min_score = groups, kappa, min_score
        self.shape = edges.shape
        at_places = np.zeros(edges.shape)
        x, y = groups.place[1:].T
        at_places[y, x] = groups.magnitude[1:]
        inner = edges.astype(np.float64)
        inner[0] = inner[:, 0] = 0  # OpenCV's sums begin at 1
        self.sums, self.edge_sums = _integral(at_places), _integral(inner)
        self.rows, self.columns = _Runs(groups.label), _Runs(groups.label.T)
        strong = groups.affinity >= _LEAST_PATH
        first, self.to = groups.first[strong], groups.second[strong]
        self.affinity = groups.affinity[strong]
        self.begins = np.searchsorted(first, np.arange(len(groups.magnitude) + 1))

    def cut(self, boxes: np.ndarray) -> np.ndarray:
        """Cuts boxes to the image."""
        return boxes.clip(0, [self.shape[1] - 1, self.shape[0] - 1] * 2)

    def __call__(self, boxes: Int[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
        """Returns the scores of boxes, 0 for those below the least.

        Args:
          boxes: xyxy within the image, whose ends belong to them.
        """
        half = (boxes[:, 2:] - boxes[:, :2]).clip(0) // 2
        low = boxes[:, :2] + half // 2
        all_within = _within(self.sums, boxes)
        middle = _within(self.edge_sums, np.concatenate([low, low + half], 1))
        sides = half.sum(1)
        norm = np.where(sides > 0, np.maximum(sides, 1) ** -self.kappa, 0)
        # Nothing that crosses the border makes a score higher.
        asked = np.flatnonzero((all_within - middle) * norm >= self.min_score)
        scores = np.zeros(len(boxes))
        block = max(1, _AT_ONCE // len(self.groups.magnitude))
        for start in range(0, len(asked), block):
            some = asked[start : start + block]
            value = all_within[some] - middle[some] - self._crossing(boxes[some])
            scores[some] = value * norm[some]
        return np.where(scores >= self.min_score, scores, 0)

    def _crossing(self, boxes: np.ndarray) -> np.ndarray:
        """Returns what each box loses: groups in it by their best path to its border.

        A path's weight is the product of its affinities; all of it lies within the box.
        """
        groups, count = self.groups, len(self.groups.magnitude)
        weight = np.zeros(len(boxes) * count)  # of each box and group
        x0, y0, x1, y1 = boxes.T
        for runs, line, start, stop in (
            (self.rows, y0, x0, x1),
            (self.rows, y1, x0, x1),
            (self.columns, x0, y0, y1),
            (self.columns, x1, y0, y1),
        ):
            box, group = runs.between(line, start, stop)
            weight[box * count + group] = 1
        frontier = np.flatnonzero(weight)
        while len(frontier):
            box, group = np.divmod(frontier, count)
            row, edge = _ragged(self.begins[group], self.begins[group + 1])
            value = weight[frontier][row] * self.affinity[edge]
            cell = (box * count)[row] + self.to[edge]
            better = np.flatnonzero((value >= _LEAST_PATH) & (value > weight[cell]))
            cell, value = cell[better], value[better]
            # Groups on the border that have their place elsewhere have their weight already.
            inside = self._inside(boxes, cell)
            cell, value = cell[inside], value[inside]
            np.maximum.at(weight, cell, value)
            frontier = cell[value == weight[cell]]
        cell = np.flatnonzero(weight)
        cell = cell[self._inside(boxes, cell)]
        box, group = np.divmod(cell, count)
        return np.bincount(box, weight[cell] * groups.magnitude[group], minlength=len(boxes))

    def _inside(self, boxes: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Returns for pairs, box · groups + group, whether the group's place is in the box."""
        box, group = np.divmod(cell, len(self.groups.magnitude))
        (x, y), (x0, y0, x1, y1) = self.groups.place[group].T, boxes[box].T
        return (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)


class _Runs:
    """The groups that lie along each row, each as often as it begins anew."""

    def __init__(self, label: np.ndarray):
        starts = np.diff(label, axis=1, prepend=np.int64(-2)) != 0
        self.group = label[starts].clip(0)
        self.number = starts.ravel().cumsum().reshape(label.shape) - 1

    def between(
        self, row: np.ndarray, start: np.ndarray, stop: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns which of the spans meet which groups, as pairs."""
        span, run = _ragged(self.number[row, start], self.number[row, stop] + 1)
        group = self.group[run]
        return span[group > 0], group[group > 0]


def _ragged(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns all numbers from each start to its stop, and the row that each belongs to."""
    length = stop - start
    row = np.repeat(np.arange(len(start)), length)
    return row, np.arange(len(row)) - np.repeat(length.cumsum() - length - start, length)


def _integral(values: np.ndarray) -> np.ndarray:
    """Returns the sums over all rectangles from the upper left corner, (h + 1, w + 1)."""
    return np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _within(sums: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Returns the sums within boxes, xyxy whose ends belong to them."""
    x0, y0, x1, y1 = (boxes + np.array([0, 0, 1, 1])).T
    return sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
