"""Puts images side by side with captions, tiny ones enlarged so that they can be seen."""

import functools
import importlib.util
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vision_jax.visualize import colors

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FONT_SIZE = 13  # pixels
LINE_HEIGHT = 17  # pixels
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
        fitting = _cut(line, width, font)
        draw.text((0, number * LINE_HEIGHT), fitting, fill=color, font=font)
    return np.asarray(canvas)


def panel(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    caption_colors: Sequence[tuple[int, int, int]] | None = None,
    columns: int | None = None,
    side: int = 128,
) -> np.ndarray:
    """Draws a grid of images with captions below them.

    Args:
      images: each in a form that `to_rgb` takes; sizes may differ.
      captions: one per image; lines are split at a newline.
      caption_colors: one RGB per image; default ink.
      columns: default makes the grid about 3:2, and at most 8 wide.
      side: pixels of a cell. Small images grow by whole factors, larger ones shrink.

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
    return canvas


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
        caption = f"{100 * p:.0f}% {_name(guess, names)}"
        if true < 0:
            color = colors.INK
        elif guess == true:
            color = colors.RIGHT
        else:
            color = colors.WRONG
        known_wrong = true >= 0 and guess != true
        captions.append(caption + (f"\nnot {_name(true, names)}" if known_wrong else "\n"))
        caption_colors.append(color)
    return panel(images, captions, caption_colors, columns, side)


@functools.cache
def font_for_labels() -> Font:
    """Returns the font of captions: matplotlib's if it is there, as Pillow's own has only ASCII."""
    spec = importlib.util.find_spec("matplotlib")
    folder = pathlib.Path(spec.origin).parent if spec and spec.origin else pathlib.Path()
    path = folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    if path.is_file():
        return ImageFont.truetype(str(path), FONT_SIZE - 1)
    return ImageFont.load_default(FONT_SIZE)


def _name(label: int, names: Sequence[str]) -> str:
    """Returns a class's name, else its number."""
    return str(names[label]) if 0 <= label < len(names) else str(int(label))


def _cut(line: str, width: int, font: Font) -> str:
    """Shortens a line of text so that it fits."""
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"
