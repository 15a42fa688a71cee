"""Draws the anchors that are matched to each object."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.ops.assign import BACKGROUND, IGNORED
from vision_jax.visualize import colors
from vision_jax.visualize.captions import class_caption, draw_caption
from vision_jax.visualize.detection import original_boxes
from vision_jax.visualize.panels import to_rgb

BACKGROUND_COLOR = (203, 208, 215)
IGNORED_COLOR = (250, 204, 21)
# The entries of a picture's `legend`.
MATCH_LEGEND = (
    (colors.SERIES[0], "thick: an object; thin in its colour: the anchors that answer for it"),
    (BACKGROUND_COLOR, "anchors that answer for the background (some of them)"),
    (IGNORED_COLOR, "anchors that the loss ignores (some of them)"),
)


def draw_matches(
    image: np.ndarray,
    anchors: np.ndarray,
    matched_idxs: np.ndarray,
    gt_boxes: np.ndarray,
    scale: np.ndarray | None = None,
    max_others: int = 100,
    labels: Sequence[int] | np.ndarray = (),
    names: Sequence[str] = (),
) -> np.ndarray:
    """Draws objects in thick lines, and the anchors matched to them in the same colour.

    Object i has the i-th colour (they repeat after seven), and the caption 'cat: 2 anchors' or,
    without labels, '#i: 2 anchors'. `MATCH_LEGEND` explains the colours: background anchors are
    light gray, ignored ones yellow.

    Args:
      image: in a form that `to_rgb` takes.
      anchors: (a, 4) xyxy, in pixels of the network's input.
      matched_idxs: (a,) the number of each anchor's object, or `BACKGROUND` or `IGNORED`, as the
        matchers of `ops.assign` return them.
      gt_boxes: (g, 4) xyxy, in the same pixels, without padding.
      scale: (2,) network pixels per pixel of `image` (y, x); None is 1.
      max_others: background and ignored anchors shown, of each so many, evenly chosen by number.
      labels: (g,) the objects' classes.
      names: the classes' names.

    Returns:
      uint8 (h, w, 3), a copy.

    Raises:
      ValueError: a match that names no object.
    """
    idxs = np.asarray(matched_idxs)
    if len(idxs) and not IGNORED <= idxs.min() <= idxs.max() < len(gt_boxes):
        raise ValueError(f"matches are {idxs.min()}..{idxs.max()} for {len(gt_boxes)} objects")
    canvas = Image.fromarray(to_rgb(image))
    draw = ImageDraw.Draw(canvas)
    thin = max(1, round(max(canvas.size) / 500))
    anchors, gt_boxes = original_boxes(anchors, scale), original_boxes(gt_boxes, scale)
    for kind, color in ((BACKGROUND, BACKGROUND_COLOR), (IGNORED, IGNORED_COLOR)):
        for number in _spread(np.flatnonzero(idxs == kind), max_others):
            _outline(draw, anchors[number], color, thin)
    for number in np.flatnonzero(idxs >= 0):
        _outline(draw, anchors[number], colors.of_class(int(idxs[number])), thin)
    for i, box in enumerate(gt_boxes):
        color = colors.of_class(i)
        _outline(draw, box, color, 3 * thin)
        who = class_caption(int(labels[i]), names) if i < len(labels) else f"#{i}"
        count = int((idxs == i).sum())
        caption = f"{who}: {count} anchor{'' if count == 1 else 's'}"
        draw_caption(draw, float(box[0]), float(box[1]), caption, color)
    return np.asarray(canvas)


def _spread(numbers: np.ndarray, count: int) -> np.ndarray:
    """Chooses at most so many of the numbers, evenly."""
    if len(numbers) <= count:
        return numbers
    return numbers[np.arange(count) * len(numbers) // count]


def _outline(draw: ImageDraw.ImageDraw, box: np.ndarray, color: tuple, width: int) -> None:
    """Draws a box's edges."""
    # An edge is at a pixel's border: x2 = 10 outlines up to pixel 9.
    x1, y1, x2, y2 = (float(side) for side in box)
    draw.rectangle([x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)], outline=color, width=width)
