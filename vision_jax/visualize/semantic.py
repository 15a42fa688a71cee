"""Draws semantic segmentations in PASCAL VOC's colours."""

import numpy as np
from PIL import Image

from vision_jax.visualize.panels import to_rgb

VOID = 255


def voc_palette() -> np.ndarray:
    """Returns VOC's colour of each label, (256, 3) uint8, as its development kit makes them.

    Bits 0, 3, 6 of a label are the red channel's highest, 1, 4, 7 green's, 2, 5 blue's.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (labels >> (3 * place + channel)) & 1
            palette[:, channel] |= (bit << (7 - place)).astype(np.uint8)
    return palette


def draw_semantic(
    labels: np.ndarray,
    image: np.ndarray | None = None,
    tint: float = 0.6,
    outlined: bool = False,
) -> np.ndarray:
    """Draws a map of labels in VOC's colours, over the image if there is one.

    Args:
      labels: (h, w) integers 0..255; 0 is the background, 255 void.
      image: (h, w), in a form that `to_rgb` takes. The background then shows the image itself.
      tint: share of the colour over the image, 0..1.
      outlined: pixels at a border between labels have all of the colour.

    Returns:
      uint8 (h, w, 3).

    Raises:
      ValueError: labels outside 0..255, or of another size than the image.
    """
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() <= VOID:
        raise ValueError(f"labels are {labels.min()}..{labels.max()}; VOC's are 0..{VOID}")
    colored = voc_palette()[labels]
    if image is None:
        return colored
    picture = to_rgb(image)
    if labels.shape != picture.shape[:2]:
        raise ValueError(f"labels are {labels.shape}, the image {picture.shape[:2]}")
    mixed = np.round((1 - tint) * picture + tint * colored).astype(np.uint8)
    drawn = np.where((labels > 0)[..., None], mixed, picture)
    return np.where(borders(labels)[..., None], colored, drawn) if outlined else drawn


def borders(labels: np.ndarray) -> np.ndarray:
    """Returns (h, w) bool: pixels beside, above or below one of another label, without class 0."""
    labels = np.asarray(labels)
    padded = np.pad(labels, 1, mode="edge")
    beside = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
    return (labels > 0) & np.any([labels != other for other in beside], axis=0)


def resized_labels(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a map of labels 0..255 by nearest neighbour; uint8 (height, width)."""
    part = Image.fromarray(np.asarray(labels, np.uint8))
    return np.asarray(part.resize((width, height), Image.Resampling.NEAREST))


def original_labels(labels: np.ndarray, size: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Resizes a map of labels to the original image, by nearest neighbour, without padding.

    Args:
      labels: (h, w) integers 0..255, at the network's input, where the image lies at the top left.
      size: (2,) height and width of the original, as `Batch.size`.
      scale: (2,) network pixels per original pixel (y, x), as `Batch.scale`.

    Returns:
      uint8 (size).
    """
    height, width = (int(side) for side in size)
    used = np.round(np.asarray(size, np.float64) * np.asarray(scale, np.float64)).astype(int)
    return resized_labels(labels[: used[0], : used[1]], height, width)
