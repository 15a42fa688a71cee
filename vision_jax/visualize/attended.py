"""Draws where a captioner looks for each of its words, as Xu et al. 2015 do (figures 2 and 3)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from vision_jax.visualize import panels
from vision_jax.visualize.heat import overlay

COLUMNS = 8  # pictures in a row


def attended_words(
    image: np.ndarray, words: Sequence[str], maps: Float[np.ndarray, "t h w"], side: int = 96
) -> tuple[list[np.ndarray], list[str]]:
    """Draws an image, and for each word the image with the attention of that word over it.

    Args:
      image: as the network was fed it, (h, w, 1 or 3).
      words: of the caption, at most t.
      maps: the attention of each word and of the end; each is drawn at its own contrast.
      side: pixels of a picture.

    Returns:
      Pictures, filled up with white ones to whole rows of `COLUMNS`, and the text of each.
    """
    picture = panels.fit(image, side)
    pictures = [picture, *(overlay(picture, x) for x, _ in zip(maps, words, strict=False))]
    texts = ["", *words[: len(maps)]]
    missing = -len(pictures) % COLUMNS
    pictures += [np.full_like(picture, 255)] * missing
    return pictures, texts + [""] * missing


def draw_attended_words(
    image: np.ndarray, words: Sequence[str], maps: Float[np.ndarray, "t h w"], side: int = 96
) -> np.ndarray:
    """Draws `attended_words` as one picture, uint8 (h, w, 3)."""
    pictures, texts = attended_words(image, words, maps, side)
    columns = min(COLUMNS, len(words) + 1)
    if columns < COLUMNS:  # one row, which needs no filling
        pictures, texts = pictures[:columns], texts[:columns]
    return panels.panel(pictures, texts, columns=columns, side=side)
