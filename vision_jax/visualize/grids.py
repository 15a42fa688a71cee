"""Draws small arrays as squares with their numbers in them, side by side, as lectures do."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from vision_jax.visualize import colors
from vision_jax.visualize.captions import LINE_HEIGHT, font_for_labels

CELL = 34  # pixels
_GAP = 16
_TINT = 0.32  # of a group's colour on white


def grid(values: np.ndarray, groups: np.ndarray | None = None, title: str = "") -> np.ndarray:
    """Draws a matrix as squares.

    Args:
      values: (h, w) numbers, at most two decimals of which are shown.
      groups: (h, w) integers; squares of one group have one colour, those below 0 are white with
        a faint number.
      title: the text below the squares, in lines split at a newline.

    Returns:
      uint8 (h', w', 3).

    Raises:
      ValueError: groups of another shape than the values.
    """
    values = np.asarray(values)
    groups = np.zeros(values.shape, int) if groups is None else np.asarray(groups)
    if groups.shape != values.shape or values.ndim != 2:
        raise ValueError(f"values are {values.shape}, their groups {groups.shape}")
    font, lines = font_for_labels(), title.split("\n") if title else []
    height, width = (CELL * side + 1 for side in values.shape)
    widest = max((int(font.getlength(line)) + 1 for line in lines), default=0)
    size = (max(width, widest), height + (4 if lines else 0) + LINE_HEIGHT * len(lines))
    canvas = Image.new("RGB", size, colors.PAPER)
    draw = ImageDraw.Draw(canvas)
    left = (size[0] - width) // 2
    for (row, column), value in np.ndenumerate(values):
        x, y, group = left + column * CELL, row * CELL, int(groups[row, column])
        fill = _pale(colors.of_class(group)) if group >= 0 else colors.PAPER
        draw.rectangle((x, y, x + CELL, y + CELL), fill, colors.FAINT)
        ink = colors.INK if group >= 0 else colors.FAINT
        middle = (x + CELL / 2, y + CELL / 2)
        draw.text(middle, number(value), ink, font, anchor="mm")
    for i, line in enumerate(lines):
        middle = (size[0] / 2, height + 4 + i * LINE_HEIGHT)
        draw.text(middle, line, colors.INK, font, anchor="ma")
    return np.asarray(canvas)


def beside(pictures: Sequence[np.ndarray], signs: Sequence[str], title: str = "") -> np.ndarray:
    """Puts pictures in a row, with a sign such as '→' between neighbours and a title above.

    Args:
      pictures: uint8 (h, w, 3), at least one.
      signs: the signs, one less than pictures.
      title: one line of text.

    Returns:
      uint8 (h, w, 3).
    """
    font = font_for_labels()
    steps = [int(font.getlength(sign)) + 2 * _GAP for sign in signs]
    top = _GAP + (LINE_HEIGHT + _GAP if title else 0)
    height = top + max(picture.shape[0] for picture in pictures) + _GAP
    row = 2 * _GAP + sum(picture.shape[1] for picture in pictures) + sum(steps)
    canvas = Image.new("RGB", (max(row, int(font.getlength(title)) + 2 * _GAP), height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, colors.INK, font)
    x, middle = _GAP, top + (height - top - _GAP) // 2
    for picture, sign, step in zip(pictures, [*signs, ""], [*steps, 0], strict=True):
        canvas.paste(Image.fromarray(picture), (x, middle - picture.shape[0] // 2))
        x += picture.shape[1]
        draw.text((x + step / 2, middle), sign, colors.INK, font, anchor="mm")
        x += step
    return np.asarray(canvas)


def below(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Puts pictures one below the other on white, flush left; uint8 (h, w, 3)."""
    width = max(picture.shape[1] for picture in pictures)
    rows = [
        np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures
    ]
    return np.concatenate(rows)


def number(value: float) -> str:
    """Formats at most two decimals, without zeros at the end: '3', '0.5', '-1.25'."""
    text = f"{float(value):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _pale(color: tuple[int, int, int]) -> tuple[int, int, int]:
    """Mixes a colour with white."""
    red, green, blue = (round(255 - _TINT * (255 - channel)) for channel in color)
    return red, green, blue
