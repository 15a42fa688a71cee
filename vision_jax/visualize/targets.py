"""Draws annotated objects, in the style in which `detection` draws detected ones."""

from collections.abc import Sequence

import numpy as np

from vision_jax.structs import Targets
from vision_jax.visualize.boxes import draw_boxes
from vision_jax.visualize.detection import (
    draw_keypoints,
    draw_masks,
    original_boxes,
    original_points,
)
from vision_jax.visualize.panels import to_rgb


def draw_targets(
    image: np.ndarray,
    targets: Targets,
    row: int,
    scale: np.ndarray | None = None,
    names: Sequence[str] = (),
    skeleton: Sequence[tuple[int, int]] = (),
) -> np.ndarray:
    """Draws one image's objects: masks under boxes under keypoints.

    Args:
      image: the original or the network's input in any size, in a form that `to_rgb` takes.
      targets: a batch's, in pixels of the network's input, with boxes, labels and valid.
      row: the image's number in the batch.
      scale: (2,) network pixels per pixel of `image` (y, x); None is 1.
      names: the classes' names.
      skeleton: pairs of keypoints to join.

    Returns:
      uint8 (h, w, 3), a copy.
    """
    picture = to_rgb(image)
    shown = np.flatnonzero(np.asarray(targets.valid[row]))
    labels = np.asarray(targets.labels[row])[shown]
    if targets.masks is not None:
        masks = [
            placed_mask(mask, picture, scale) for mask in np.asarray(targets.masks[row])[shown]
        ]
        picture = draw_masks(picture, np.array(masks).reshape(-1, *picture.shape[:2]), labels)
    boxes = original_boxes(np.asarray(targets.boxes[row])[shown], scale)
    picture = draw_boxes(picture, boxes, labels, names)
    if targets.keypoints is not None:
        points = original_points(np.asarray(targets.keypoints[row])[shown], scale)
        picture = draw_keypoints(picture, points, labels, skeleton)
    return picture


def placed_mask(mask: np.ndarray, image: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """Resizes a mask (h, w) of the network's input to `image`, by nearest neighbour."""
    height, width = image.shape[:2]
    y, x = (1.0, 1.0) if scale is None else np.asarray(scale, np.float64)
    rows = ((np.arange(height) + 0.5) * y).astype(int).clip(0, mask.shape[0] - 1)
    columns = ((np.arange(width) + 0.5) * x).astype(int).clip(0, mask.shape[1] - 1)
    return np.asarray(mask, bool)[rows][:, columns]
