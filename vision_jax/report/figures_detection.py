"""The lectures' pictures of detection: anchors, IoU, assignment, suppression, RoI pooling.

They are computed by the operations that the detectors use, on numbers that fit into a picture.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from vision_jax.ops import anchors as anchor_ops
from vision_jax.ops import assign, boxes, nms, roi_pool
from vision_jax.visualize import draw_boxes, panel
from vision_jax.visualize.grids import below, beside, grid

_PAPER = 255
_CANVAS = 400  # pixels
# Of the example of suppression: two objects, and boxes that three anchors each found of them.
CANDIDATES = np.array(
    [
        [40, 60, 200, 260],
        [50, 80, 220, 270],
        [20, 50, 180, 220],
        [230, 120, 360, 340],
        [240, 140, 380, 350],
        [150, 40, 300, 200],
    ],
    np.float32,
)
SCORES = np.array([0.9, 0.8, 0.7, 0.85, 0.6, 0.4], np.float32)
TRUTH = np.array([[1, 1, 5, 5], [5, 4, 9, 8], [0, 6, 3, 9]], np.float32)
ANCHORS = np.array(
    [[0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 8, 8], [6, 3, 9, 7], [0, 5, 4, 9], [5, 0, 9, 3]],
    np.float32,
)


def faster_rcnn_anchors() -> np.ndarray:
    """Draws the nine boxes of one cell of the first Faster R-CNN, on an image of 800 pixels."""
    cell = anchor_ops.original_cell_anchors() + 400
    labels = np.repeat(np.arange(3), 3)  # one colour per ratio
    names = ("1:2", "1:1", "2:1")
    canvas = draw_boxes(_blank(800), cell, labels, names)
    return panel([canvas], ["k = 9 boxes of one cell: areas 128², 256², 512²"], side=800)


def lecture_anchors() -> np.ndarray:
    """Draws n + m - 1 boxes around a cell: all sizes of one ratio, all ratios of one size."""
    sizes, ratios = (0.6, 0.4, 0.2), (1.0, 2.0, 0.5)
    found = anchor_ops.lecture_boxes(sizes, ratios, (_CANVAS, _CANVAS), (1, 1))
    pairs = [(s, ratios[0]) for s in sizes] + [(sizes[0], r) for r in ratios[1:]]
    names = [f"s={s:g} r={r:g}" for s, r in pairs]
    canvas = draw_boxes(_blank(_CANVAS), np.asarray(found), range(len(names)), names)
    caption = "n = 3 sizes, m = 3 ratios: n + m - 1 = 5 boxes for a cell"
    return panel([canvas], [caption], side=_CANVAS)


def ssd_anchors() -> np.ndarray:
    """Draws the boxes of the middle cell of three maps, as SSD has them: small ones, large ones."""
    grids, ratios = ((9, 9), (5, 5), (3, 3)), ((2.0,),) * 3
    scales = anchor_ops.ssd_scales(4, 0.1, 0.7)
    size = (_CANVAS, _CANVAS)
    images, captions = [], []
    for level, (rows, columns) in enumerate(grids):
        level_scales = scales[level : level + 2]
        found = np.asarray(
            anchor_ops.ssd_boxes(level_scales, ratios[level : level + 1], size, (grids[level],))
        ).reshape(rows, columns, -1, 4)
        middle = found[rows // 2, columns // 2]
        images.append(draw_boxes(_cells(rows), middle, range(len(middle)), [" "] * len(middle)))
        captions.append(f"{rows}×{columns} cells:\n{found.size // 4} boxes")
    return panel(images, captions, columns=3, side=256)


def intersection_over_union() -> np.ndarray:
    """Draws two boxes on cells that can be counted, and their IoU."""
    first, second = np.array([1, 1, 5, 5]), np.array([3, 2, 7, 6])
    inside = [_inside(box, 8) for box in (first, second)]
    both, either = inside[0] & inside[1], inside[0] | inside[1]
    value = float(boxes.iou(jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)))
    shown = [
        grid(inside[0], np.where(inside[0], 0, -1), f"A: {inside[0].sum()} cells"),
        grid(inside[1], np.where(inside[1], 1, -1), f"B: {inside[1].sum()} cells"),
        grid(both, np.where(both, 2, -1), f"A and B: {both.sum()}"),
        grid(either, np.where(either, 3, -1), f"A or B: {either.sum()}"),
    ]
    title = f"IoU = {both.sum()} / {either.sum()} = {value:.3f}"
    return beside(shown, ["", "→", "/"], title)


def assignment() -> np.ndarray:
    """Draws the matrix of IoUs of anchors and boxes, and which pair is taken in each step."""
    quality = np.asarray(boxes.pairwise(boxes.iou, jnp.asarray(ANCHORS), jnp.asarray(TRUTH)))
    left, shown = quality.copy(), []
    for step in range(len(TRUTH)):
        anchor, box = np.unravel_index(np.argmax(left), left.shape)
        groups = np.where(left >= 0, 7, -1)
        groups[anchor, box] = step
        text = f"step {step + 1}: box {box + 1}\nto anchor {anchor + 1}"
        shown.append(grid(quality, groups, text))
        left[anchor], left[:, box] = -1, -1
    valid = jnp.ones(len(TRUTH), bool)
    owners = np.asarray(assign.match_lecture(jnp.asarray(TRUTH), valid, jnp.asarray(ANCHORS), 0.5))
    text = "box of each anchor,\n0: background"
    shown.append(grid(np.maximum(owners + 1, 0)[:, None], owners[:, None], text))
    title = "IoU: a row for each anchor, a column for each box; the greatest that is left is taken"
    return beside(shown, ["→"] * (len(shown) - 1), title)


def suppression(threshold: float = 0.3) -> np.ndarray:
    """Draws non-maximum suppression, one kept box after the other."""
    kept = nms(jnp.asarray(CANDIDATES), jnp.asarray(SCORES), threshold, len(SCORES))
    order = np.asarray(kept.index)[np.asarray(kept.valid)]
    alive = np.ones(len(SCORES), bool)
    images, captions = [_scored(alive)], [f"{len(SCORES)} candidates"]
    done = np.zeros(len(SCORES), bool)
    for chosen in order:
        overlap = np.asarray(boxes.iou(jnp.asarray(CANDIDATES[chosen]), jnp.asarray(CANDIDATES)))
        done[chosen] = True
        gone = alive & ~done & (overlap > threshold)
        alive &= ~gone
        images.append(_scored(alive, done))
        others = ", ".join(f"{SCORES[i]:.2g}" for i in np.flatnonzero(gone)) or "none"
        captions.append(f"keep {SCORES[chosen]:.2g}, remove {others}")
    return panel(images, captions, columns=len(images), side=256)


def region_pooling() -> np.ndarray:
    """Draws RoI pooling of 3×3 cells into 2×2 values, on a map of 4×4."""
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    region = jnp.asarray([[[0.0, 0.0, 2.0, 2.0]]])
    pooled = roi_pool(jnp.asarray(values)[None, :, :, None], region, (2, 2), 1.0)
    inside = np.where(_inside(np.array([0, 0, 3, 3]), 4), 0, -1)
    shown = [
        grid(values, inside, "a map and a region"),
        grid(np.asarray(pooled)[0, 0, :, :, 0], title="the largest of each block"),
    ]
    return below([beside(shown, ["→"], "RoI pooling, 2×2")])


def _scored(alive: np.ndarray, done: np.ndarray | None = None) -> np.ndarray:
    """Draws the boxes that are left, those that are kept in another colour."""
    kept = np.zeros(len(alive), bool) if done is None else done
    labels = np.where(alive, kept.astype(int), -1)
    return draw_boxes(_blank(_CANVAS), CANDIDATES, labels, ("left", "kept"), SCORES)


def _blank(side: int) -> np.ndarray:
    return np.full((side, side, 3), _PAPER, np.uint8)


def _cells(count: int) -> np.ndarray:
    """Draws a canvas divided into cells by faint lines."""
    canvas = _blank(_CANVAS)
    lines = np.linspace(0, _CANVAS - 1, count + 1).round().astype(int)
    canvas[lines] = canvas[:, lines] = 220
    return canvas


def _inside(box: np.ndarray, side: int) -> np.ndarray:
    """Returns which of side×side cells lie in a box of whole cells."""
    y, x = np.mgrid[:side, :side]
    return (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])


PICTURES: dict[str, Callable[[], np.ndarray]] = {  # by the name of the file
    "anchors_faster_rcnn": faster_rcnn_anchors,
    "anchors_lecture": lecture_anchors,
    "anchors_ssd": ssd_anchors,
    "iou": intersection_over_union,
    "assignment": assignment,
    "nms": suppression,
    "roi_pooling": region_pooling,
}
