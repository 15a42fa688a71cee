"""Draws what has no colours of its own: maps as heat, signals with a sign, filters."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vision_jax.visualize.panels import to_rgb

# From nothing to most: dark blue, violet, orange, light yellow, each lighter than the one before.
_STOPS = np.array(
    [(8, 8, 40), (84, 20, 120), (190, 55, 85), (250, 140, 40), (252, 250, 190)], np.float64
)


def heat(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Draws a map in colours that grow lighter with its values; uint8 (h, w, 3).

    Args:
      values: (h, w); what is not finite is drawn as `low`.
      low, high: the values of the darkest and the lightest colour; None takes the map's own.
    """
    values = np.asarray(values, np.float64)
    finite = values[np.isfinite(values)]
    low = (finite.min() if finite.size else 0.0) if low is None else low
    high = (finite.max() if finite.size else 1.0) if high is None else high
    share = np.clip((np.nan_to_num(values, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    place = share * (len(_STOPS) - 1)
    before = np.minimum(place.astype(int), len(_STOPS) - 2)
    rest = (place - before)[..., None]
    return np.round((1 - rest) * _STOPS[before] + rest * _STOPS[before + 1]).astype(np.uint8)


def overlay(image: np.ndarray, values: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """Lays a map over an image in gray, as heat that is stronger where the map is higher.

    Args:
      image: (h, w, 1 or 3), see `panels.to_rgb`.
      values: (i, j), resized bilinearly to the image.
      strength: the heat's share where the map is highest.

    Returns:
      uint8 (h, w, 3).
    """
    rgb = to_rgb(image)
    gray = np.repeat(rgb.mean(-1, keepdims=True), 3, -1)
    size = (rgb.shape[1], rgb.shape[0])
    values = np.nan_to_num(np.asarray(values, np.float32))
    large = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))
    share = (large - large.min()) / max(float(large.max() - large.min()), 1e-12)
    mixed = strength * (0.35 + 0.65 * share[..., None])
    return np.round((1 - mixed) * gray + mixed * heat(large)).astype(np.uint8)


def signed(values: np.ndarray, share: float = 0.995) -> np.ndarray:
    """Draws a signal (h, w, 1 or 3) around gray, which stands for 0; uint8 (h, w, 3).

    Args:
      values: of any sign and scale.
      share: so many of the magnitudes are drawn as they are; larger ones are cut.
    """
    values = np.asarray(values, np.float64)
    limit = np.quantile(np.abs(values), share) if values.size else 0.0
    limit = limit or np.abs(values).max(initial=0.0) or 1.0
    return to_rgb(0.5 + values / (2 * limit))


def filters(kernel: np.ndarray, side: int = 48, most: int = 128) -> np.ndarray:
    """Draws the filters of a convolution side by side, each around gray at its own scale.

    Filters of three channels are drawn in their colours, others channel by channel.

    Args:
      kernel: (kh, kw, ci, o).
      side: pixels of a filter, or the next smaller multiple of its own size.
      most: filters drawn, the first ones.

    Returns:
      uint8 (h, w, 3).
    """
    height, width, channels, _ = kernel.shape
    if channels == 3:
        tiles = [signed(kernel[..., i], 1.0) for i in range(kernel.shape[-1])]
    else:
        flat = kernel.transpose(3, 2, 0, 1).reshape(-1, height, width, 1)
        tiles = [signed(one, 1.0) for one in flat[:most]]
    return tiled(tiles[:most], side)


def tiled(tiles: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Puts small pictures of one size into a grid that is about twice as wide as high.

    Args:
      tiles: uint8 (h, w, 3), at least one; their pixels are repeated.
      side: pixels that the longer side of each may have.

    Returns:
      uint8 (h, w, 3), with lines of white between them.
    """
    times = max(1, side // max(tiles[0].shape[:2]))
    large = [tile.repeat(times, 0).repeat(times, 1) for tile in tiles]
    columns = math.ceil(math.sqrt(2 * len(large)))
    height, width = (n + 2 for n in large[0].shape[:2])
    rows = -(-len(large) // columns)
    canvas = np.full((rows * height + 2, columns * width + 2, 3), 255, np.uint8)
    for number, tile in enumerate(large):
        top, left = 2 + number // columns * height, 2 + number % columns * width
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas
