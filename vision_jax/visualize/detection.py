"""Draws detections on the original image: masks under boxes under keypoints."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.ops.masks import paste_on_host
from vision_jax.structs import Detections
from vision_jax.visualize import colors
from vision_jax.visualize.boxes import draw_boxes
from vision_jax.visualize.panels import to_rgb

# Pairs of COCO's 17 points: ankles to hips, the backbone, arms, face.
COCO_SKELETON = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6)),
    *((5, 7), (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    row: int,
    scale: np.ndarray | None = None,
    names: Sequence[str] = (),
    skeleton: Sequence[tuple[int, int]] = (),
    score_threshold: float = 0.5,
    mask_threshold: float = 0.5,
) -> np.ndarray:
    """Draws one image's detections on the original image: boxes, scores, masks, keypoints.

    Args:
      image: the original, in a form that `to_rgb` takes.
      detections: a batch's, in pixels of the network's input.
      row: the image's number in the batch.
      scale: (2,) network pixels per original pixel (y, x), as `Batch.scale`; None is 1.
      names: the classes' names.
      skeleton: pairs of keypoints to join, such as `COCO_SKELETON`.
      score_threshold: score below which a detection is left out. The best lies on top.
      mask_threshold: probability from which a pixel belongs to the object, exclusive.

    Returns:
      uint8 (h, w, 3), a copy.
    """
    picture = to_rgb(image)
    scores = np.asarray(detections.scores[row])
    shown = np.flatnonzero(np.asarray(detections.valid[row]) & (scores >= score_threshold))
    shown = shown[np.argsort(scores[shown], kind="stable")]
    boxes = original_boxes(np.asarray(detections.boxes[row])[shown], scale)
    labels = np.asarray(detections.labels[row])[shown]
    if detections.masks is not None and len(shown):
        masks = np.asarray(detections.masks[row])[shown]
        pasted = np.stack([*paste_on_host(masks, boxes, *picture.shape[:2])])
        picture = draw_masks(picture, pasted > mask_threshold, labels)
    picture = draw_boxes(picture, boxes, labels, names, scores[shown])
    if detections.keypoints is not None:
        points = original_points(np.asarray(detections.keypoints[row])[shown], scale)
        picture = draw_keypoints(picture, points, labels, skeleton)
    return picture


def draw_masks(
    image: np.ndarray, masks: np.ndarray, labels: Sequence[int] | np.ndarray, tint: float = 0.45
) -> np.ndarray:
    """Tints each object in its class's colour, and draws its contour.

    Args:
      image: (h, w), in a form that `to_rgb` takes.
      masks: (n, h, w) bool; the last lies on top.
      labels: (n,) class numbers; a negative one is padding and is left out.
      tint: share of the colour, 0..1. The contour, the mask's pixels with a neighbour outside,
        has all of it.

    Returns:
      uint8 (h, w, 3), a copy.

    Raises:
      ValueError: masks of another size than the image.
    """
    picture = to_rgb(image).copy()
    if masks.shape[1:] != picture.shape[:2]:
        raise ValueError(f"masks are {masks.shape[1:]}, the image {picture.shape[:2]}")
    for mask, label in zip(np.asarray(masks, bool), labels, strict=True):
        if label < 0:
            continue
        color = np.array(colors.of_class(int(label)))
        mixed = (1 - tint) * picture[mask] + tint * color
        picture[mask] = np.round(mixed).astype(np.uint8)
        picture[contour(mask)] = color
    return picture


def contour(mask: np.ndarray) -> np.ndarray:
    """Returns the mask's pixels, (h, w) bool, with a neighbour outside it or outside the image."""
    padded = np.pad(np.asarray(mask, bool), 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return padded[1:-1, 1:-1] & ~inner


def draw_keypoints(
    image: np.ndarray,
    keypoints: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    skeleton: Sequence[tuple[int, int]] = (),
    threshold: float = 0.0,
) -> np.ndarray:
    """Draws a dot per visible keypoint, and joins them along the skeleton.

    Args:
      image: in a form that `to_rgb` takes.
      keypoints: (n, k, 3): x, y in pixels of this image, and visibility or score.
      labels: (n,) class numbers, for the colour of the lines; a negative one is left out.
      skeleton: pairs of keypoint numbers; a line is drawn where both ends are visible.
      threshold: a keypoint is visible if its third number exceeds this.

    Returns:
      uint8 (h, w, 3), a copy.
    """
    canvas = Image.fromarray(to_rgb(image))
    draw = ImageDraw.Draw(canvas)
    size = max(1, round(max(canvas.size) / 150))
    for points, label in zip(np.asarray(keypoints, np.float64), labels, strict=True):
        if label < 0:
            continue
        visible = (points[:, 2] > threshold) & np.isfinite(points).all(1)
        for a, b in skeleton:
            if visible[a] and visible[b]:
                ends = [*points[a, :2], *points[b, :2]]
                draw.line(ends, fill=colors.of_class(int(label)), width=size)
        for x, y in points[visible, :2]:
            dot = [x - size, y - size, x + size, y + size]
            draw.ellipse(dot, fill=colors.PAPER, outline=colors.INK)
    return np.asarray(canvas)


def original_boxes(boxes: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """Converts xyxy boxes (n, 4) to pixels of the original image; `scale` is as in `Batch`."""
    if scale is None:
        return np.asarray(boxes)
    return np.asarray(boxes) / np.asarray(scale)[[1, 0, 1, 0]]


def original_points(points: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """Converts keypoints (n, k, 3) as `original_boxes` does boxes; their third number stays."""
    if scale is None:
        return np.asarray(points)
    y, x = np.asarray(scale)
    return np.asarray(points) / np.array([x, y, 1])
