"""The lectures' pictures of how detectors write boxes: offsets, cells, a matched set, tokens.

They are computed by the operations and networks of this package, like those of
`figures_detection`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax import models
from vision_jax.ops import boxes, pix2seq
from vision_jax.ops.hungarian import cheapest_assignment
from vision_jax.ops.set_prediction import matching_cost
from vision_jax.report.figures_networks import Table
from vision_jax.structs import Targets
from vision_jax.visualize import draw_boxes, draw_matches, panel
from vision_jax.visualize.grids import below, beside, grid

_CANVAS = 320  # pixels
_SHADE = 205  # gray, of an object's area
_SIZE = (7, 64)  # of YOLO's grid: cells on each side, and pixels of one
OBJECT = np.array([100, 100, 220, 220], np.float32)
# Three proposals for it, as R-CNN's training has them.
PROPOSALS = {
    "the proposal is good": OBJECT,
    "too far to the left": OBJECT - np.array([30, 0, 30, 0], np.float32),
    "too wide": OBJECT + 60 * math.expm1(0.125) * np.array([-1, 0, 1, 0], np.float32),
}
# A set that is to be predicted, and what five queries answer: centre, width, height in shares.
OBJECTS = np.array(
    [[0.3, 0.35, 0.3, 0.4], [0.5, 0.62, 0.35, 0.3], [0.78, 0.25, 0.22, 0.3]], np.float32
)
QUERIES = np.array(
    [
        [0.42, 0.48, 0.32, 0.36],
        [0.28, 0.18, 0.3, 0.2],
        [0.74, 0.3, 0.2, 0.24],
        [0.8, 0.78, 0.26, 0.3],
        [0.88, 0.88, 0.16, 0.12],
    ],
    np.float32,
)
# The three objects of Pix2Seq's figure 4 as tokens: top, left, bottom, right, class.
TOKENS = np.array(
    [[327, 370, 653, 444, 1001], [544, 135, 987, 338, 1004], [508, 518, 805, 892, 1004]]
)
LAYOUT = pix2seq.Layout(bins=1000, coordinates=1, classes=1001)


def box_offsets() -> np.ndarray:
    """Draws proposals of one object, and the four numbers that a regression has to answer."""
    images, captions = [], []
    for name, proposal in PROPOSALS.items():
        deltas = boxes.encode(jnp.asarray(OBJECT), jnp.asarray(proposal), (1.0, 1.0, 1.0, 1.0))
        canvas, (x1, y1, x2, y2) = _blank(), OBJECT.astype(int)
        canvas[y1:y2, x1:x2] = _SHADE
        images.append(draw_boxes(canvas, proposal[None], (0,), ("proposal",)))
        numbers = ", ".join(f"{round(float(x), 3) + 0.0:g}" for x in deltas)
        captions.append(f"{name}:\n(tx, ty, tw, th) = ({numbers})")
    entries = [((_SHADE,) * 3, "the object")]
    return panel(images, captions, columns=len(images), side=_CANVAS, entries=entries)


def yolo_cells() -> np.ndarray:
    """Draws YOLO v1's grid of 7×7 cells, and which cell answers for each of two objects."""
    model, side = models.YOLOv1(num_classes=20), _SIZE[0] * _SIZE[1]
    truth = np.array([[60, 120, 250, 400], [230, 60, 420, 220]], np.float32)
    labels, valid = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    targets = Targets(boxes=jnp.asarray(truth)[None], labels=labels, valid=valid)
    matches = model.matches(targets, side, side)
    canvas = np.full((side, side, 3), 255, np.uint8)
    for line in range(0, side, _SIZE[1]):
        canvas[line] = canvas[:, line] = 220
    cells = model.anchors(side, side)
    assert matches is not None and cells is not None
    drawn = draw_matches(canvas, np.asarray(cells), np.asarray(matches)[0], truth, max_others=0)
    per_cell = 5 * model.boxes_per_cell + model.num_classes
    caption = f"the cell with an object's middle answers for it\n{_SIZE[0]}×{_SIZE[0]} cells ×"
    caption += f" ({model.boxes_per_cell} boxes × 5 numbers + {model.num_classes} classes)"
    return panel([drawn], [f"{caption} = {_SIZE[0] ** 2 * per_cell} numbers"], side=side)


def bipartite_matching() -> np.ndarray:
    """Draws DETR's costs of pairs of queries and objects, and the cheapest assignment."""
    alike, classes = jnp.zeros((len(QUERIES), 3)), jnp.zeros(len(OBJECTS), jnp.int32)
    cost = matching_cost(alike, jnp.asarray(QUERIES), jnp.asarray(OBJECTS), classes).T
    chosen = np.asarray(cheapest_assignment(cost))
    rows = np.arange(len(OBJECTS))
    groups = np.full(cost.shape, -1)
    groups[rows, chosen] = rows
    alone, greedy = np.asarray(cost).argmin(1), np.full(cost.shape, -1)
    greedy[rows, alone] = rows
    answers = np.full(len(QUERIES), len(OBJECTS))
    answers[chosen] = rows
    names = [*(f"object {row + 1}" for row in rows), "none"]
    pairs = [
        draw_boxes(_blank(), _corners(own), labels, names)
        for own, labels in ((OBJECTS, rows), (QUERIES, answers))
    ]
    texts = [f"{len(OBJECTS)} objects", f"{len(QUERIES)} queries' boxes, and whose they are"]
    title = "a row for each object, a column for each query: the cost of the pair"
    total = float(np.asarray(cost)[rows, chosen].sum())
    shown = [
        grid(np.asarray(cost), greedy, "each object's cheapest query:\none may be taken twice"),
        grid(np.asarray(cost), groups, f"the cheapest assignment:\ntogether {total:.2f}"),
    ]
    return below([panel(pairs, texts, columns=2, side=_CANVAS), beside(shown, ["→"], title)])


def pix2seq_sequences() -> Table:
    """Writes the three objects of Pix2Seq's figure 4 as sequences, in several orders."""
    corners = pix2seq.dequantize(jnp.asarray(TOKENS[:, :4]) - LAYOUT.coordinates, LAYOUT.bins)
    objects = boxes.convert(corners, "yxyx", "xyxy"), jnp.asarray(TOKENS[:, 4]) - LAYOUT.classes
    orders = {
        f"random, draw {draw + 1}": pix2seq.shuffle_objects(jax.random.key(draw), *objects)
        for draw in range(3)
    }
    orders["by falling area of the boxes"] = pix2seq.sort_objects(*objects)
    rows = []
    for name, ordered in orders.items():
        tokens = np.asarray(pix2seq.object_tokens(*ordered, LAYOUT)).reshape(-1, 5)
        rows.append((name, *(" ".join(map(str, five)) for five in tokens), str(pix2seq.END)))
    note = (
        f"{LAYOUT.bins} bins for a coordinate, from token {LAYOUT.coordinates} on; classes begin at"
        f" {LAYOUT.classes}. Each object is top, left, bottom, right and class. The lecture's line"
        " by area has the first two objects the other way round."
    )
    head = ("order", "first", "second", "third", "end")
    return Table("Pix2Seq: objects as a sequence", head, tuple(rows), note)


def _blank() -> np.ndarray:
    return np.full((_CANVAS, _CANVAS, 3), 255, np.uint8)


def _corners(shares: np.ndarray) -> np.ndarray:
    """Converts boxes in shares of the image to corners in pixels of the canvas."""
    return np.asarray(boxes.convert(jnp.asarray(shares), "cxcywh", "xyxy")) * _CANVAS


PICTURES: dict[str, Callable[[], np.ndarray]] = {  # by the name of the file
    "box_offsets": box_offsets,
    "yolo_cells": yolo_cells,
    "bipartite_matching": bipartite_matching,
}
TABLES: dict[str, Callable[[], Table]] = {"pix2seq_sequences": pix2seq_sequences}
