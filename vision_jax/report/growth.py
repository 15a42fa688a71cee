"""A picture as it grows: one file per evaluation, the newest one, and a strip of them all.

The run folder's `growth` holds what the network made of the first image it is evaluated on, one
file per step, and `picture.png` the newest; the page shows a few of them side by side.
"""

import io
import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from vision_jax import visualize
from vision_jax.report.folder import write_atomically
from vision_jax.report.markup import Page

FOLDER, NEWEST, STRIP = "growth", "picture.png", "strip.png"
_MOST, _SIDE = 8, 256  # pictures in a strip, and pixels of one


def save_growth(folder: pathlib.Path, step: int, picture: np.ndarray) -> None:
    """Saves the picture of a step, uint8 (h, w, 3), and the strip up to it.

    Files are written whole or not at all, so that a killed run leaves none that is damaged; steps
    beyond this one, of an attempt that was killed, are left out of the strip.

    Raises:
      UserError: the disk takes no more, or is gone.
    """
    encoded = _png(picture)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FOLDER / f"{step:08d}.png", encoded)
    write_atomically(folder / NEWEST, encoded)
    grown = {int(file.stem): _read(file) for file in _files(folder) if int(file.stem) <= step}
    whole = {number: image for number, image in grown.items() if image is not None}
    if len(whole) > 1:
        write_atomically(folder / STRIP, _png(strip(whole)))


def strip(grown: Mapping[int, np.ndarray]) -> np.ndarray:
    """Draws pictures of steps side by side, uint8; of many the first, the last and some between.

    Those between are spaced by the logarithm of their place: a picture changes most at first.
    """
    steps = sorted(grown)
    spaced = np.geomspace(1, len(steps), min(_MOST, len(steps)))
    chosen = [steps[i] for i in sorted({round(float(place)) - 1 for place in spaced})]
    captions = [f"step {step}" for step in chosen]
    pictures = [grown[step] for step in chosen]
    side = min(_SIDE, max(max(picture.shape[:2]) for picture in pictures))
    return visualize.panel(pictures, captions, columns=len(chosen), side=side)


def add_growth(page: Page, folder: pathlib.Path) -> None:
    """Adds the strip to the page, where there is one."""
    image = _read(folder / STRIP)
    if image is not None:
        alt = "The first picture after several steps, side by side"
        caption = f"The newest is {NEWEST} in the run folder; all of them are in {FOLDER}."
        page.add_figure("How it grew", "growth", image, alt, caption)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the pictures of all steps, in order."""
    return sorted(file for file in (folder / FOLDER).glob("*.png") if file.stem.isdigit())


def _read(file: pathlib.Path) -> np.ndarray | None:
    """Reads a picture; None where there is none, or a damaged one."""
    try:
        return np.asarray(Image.open(file).convert("RGB"))
    except (OSError, ValueError, SyntaxError):  # Pillow has a kind for each defect
        return None


def _png(picture: np.ndarray) -> bytes:
    """Encodes a picture; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
