"""Puts images side by side with captions, tiny ones enlarged so that they can be seen."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.visualize import colors
from vision_jax.visualize.captions import (
    LINE_HEIGHT,
    class_caption,
    cut,
    drawable,
    font_for_labels,
)

_GAP = 10  # pixels between cells


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Converts any image to uint8 (h, w, 3).

    Args:
      image: (h, w), (h, w, 1) or (h, w, 3); uint8 in 0..255, or floats in 0..1 (clipped).

    Raises:
      ValueError: another shape.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image is (h, w), (h, w, 1) or (h, w, 3), not {image.shape}")
    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def enlarge(image: np.ndarray, side: int) -> np.ndarray:
    """Repeats each pixel k × k times, k the largest that keeps the image within `side`.

    Args:
      image: (h, w, c).
      side: pixels; an image that is larger comes back as it is.
    """
    times = max(1, side // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """Fits an image's long side into `side` pixels: enlarged by a whole factor, or shrunk.

    Args:
      image: in a form that `to_rgb` takes.
      side: pixels.

    Returns:
      uint8 (h, w, 3).
    """
    image = to_rgb(image)
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return enlarge(image, side)
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def text(lines: Sequence[str], width: int, color: tuple[int, int, int] = colors.INK) -> np.ndarray:
    """Draws lines of text, each cut with '…' where it would not fit; uint8 (17 n, width, 3)."""
    canvas = Image.new("RGB", (width, LINE_HEIGHT * len(lines)), colors.PAPER)
    draw = ImageDraw.Draw(canvas)
    font = font_for_labels()
    for number, line in enumerate(lines):
        fitting = cut(drawable(line), width, font)
        draw.text((0, number * LINE_HEIGHT), fitting, fill=color, font=font)
    return np.asarray(canvas)


def legend(entries: Sequence[tuple[Sequence[int], str]], width: int) -> np.ndarray:
    """Draws squares of colours with what they stand for, as many in a row as fit.

    Args:
      entries: RGB and a name each.
      width: of the picture, in pixels.

    Returns:
      uint8 (h, width, 3), of no height without entries.
    """
    font, places = font_for_labels(), []
    left, row = _GAP, 0
    for color, name in entries:
        line = cut(drawable(name), width - LINE_HEIGHT - 2 * _GAP, font)
        extent = LINE_HEIGHT + int(font.getlength(line)) + 2 * _GAP
        if left + extent > width and left > _GAP:
            left, row = _GAP, row + 1
        places.append((left, row * LINE_HEIGHT, tuple(int(c) for c in color), line))
        left += extent
    canvas = Image.new("RGB", (width, (row + 1) * LINE_HEIGHT if places else 0), colors.PAPER)
    draw = ImageDraw.Draw(canvas)
    for left, top, color, line in places:
        square = [left, top + 3, left + LINE_HEIGHT - 6, top + LINE_HEIGHT - 3]
        draw.rectangle(square, fill=color, outline=colors.INK)
        draw.text((left + LINE_HEIGHT, top), line, fill=colors.INK, font=font)
    return np.asarray(canvas).reshape(-1, width, 3)


def panel(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    caption_colors: Sequence[tuple[int, int, int]] | None = None,
    columns: int | None = None,
    side: int = 128,
    entries: Sequence[tuple[Sequence[int], str]] = (),
) -> np.ndarray:
    """Draws a grid of images with captions below them.

    Args:
      images: each in a form that `to_rgb` takes; sizes may differ.
      captions: one per image; lines are split at a newline.
      caption_colors: one RGB per image; default ink.
      columns: default makes the grid about 3:2, and at most 8 wide.
      side: pixels of a cell. Small images grow by whole factors, larger ones shrink.
      entries: of the `legend` below all; none without any.

    Returns:
      uint8 (h, w, 3).

    Raises:
      ValueError: no images, or not one caption each.
    """
    if not len(images) or len(images) != len(captions):
        raise ValueError(f"{len(images)} images with {len(captions)} captions make no panel")
    caption_colors = caption_colors or [colors.INK] * len(images)
    columns = columns or min(8, len(images), math.ceil(math.sqrt(1.5 * len(images))))
    split = [caption.split("\n") for caption in captions]
    height = side + 4 + LINE_HEIGHT * max(map(len, split))
    rows = -(-len(images) // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (side + _GAP) + _GAP, 3)
    canvas = np.full(shape, 255, np.uint8)
    for number, (image, lines, color) in enumerate(zip(images, split, caption_colors, strict=True)):
        row, column = divmod(number, columns)
        top, left = _GAP + row * (height + _GAP), _GAP + column * (side + _GAP)
        fitted = fit(image, side)
        y, x = (side - fitted.shape[0]) // 2, (side - fitted.shape[1]) // 2
        canvas[top + y : top + y + fitted.shape[0], left + x : left + x + fitted.shape[1]] = fitted
        words = text(lines, side, color)
        canvas[top + side + 4 : top + side + 4 + len(words), left : left + side] = words
    return np.concatenate([canvas, legend(entries, canvas.shape[1])])


def predictions(
    images: Sequence[np.ndarray],
    truth: Sequence[int],
    predicted: Sequence[int],
    probability: Sequence[float],
    names: Sequence[str] = (),
    columns: int | None = None,
    side: int = 128,
) -> np.ndarray:
    """Draws a panel of classified images: the answer and its probability, green if it is right.

    Args:
      images: see `panel`.
      truth, predicted: class numbers; -1 stands for an unknown truth, captioned in ink.
      probability: the predicted class's probability, 0..1.
      names: the classes' names; numbers where it is empty.
    """
    captions, caption_colors = [], []
    for true, guess, p in zip(truth, predicted, probability, strict=True):
        caption = f"{100 * p:.0f}% {class_caption(int(guess), names)}"
        if true < 0:
            color = colors.INK
        elif guess == true:
            color = colors.RIGHT
        else:
            color = colors.WRONG
        known_wrong = true >= 0 and guess != true
        right = f"not {class_caption(int(true), names)}" if known_wrong else ""
        captions.append(f"{caption}\n{right}")
        caption_colors.append(color)
    return panel(images, captions, caption_colors, columns, side)
