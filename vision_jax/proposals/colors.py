"""Colour spaces for grouping: RGB uint8 → planes in which all values lie in 0 ... 255.

Those of Uijlings et al. 2013, table 1. HSV and Lab are OpenCV's for uint8 (hue 0 ... 179).
"""

import cv2
import numpy as np
from jaxtyping import UInt8


def converted(rgb: UInt8[np.ndarray, "h w 3"], space: str) -> UInt8[np.ndarray, "h w _c"]:
    """Converts an image into one of `SPACES`.

    Raises:
      KeyError: an unknown space.
    """
    planes = SPACES[space](np.ascontiguousarray(rgb))
    return np.ascontiguousarray(planes if planes.ndim == 3 else planes[..., None])


def _gray(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def _hsv(rgb: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)


def _rg_intensity(rgb: np.ndarray) -> np.ndarray:
    """Returns the shares of red and green, times 255, and the intensity; black has no share."""
    total = np.maximum(rgb.sum(-1, dtype=np.float32, keepdims=True), 1)
    shares = np.rint(rgb[..., :2] * np.float32(255) / total).astype(np.uint8)
    return np.dstack([shares, _gray(rgb)])


SPACES = {
    "rgb": lambda rgb: rgb,
    "hsv": _hsv,
    "lab": lambda rgb: cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab),
    "rgi": _rg_intensity,
    "h": lambda rgb: _hsv(rgb)[..., 0],
    "i": _gray,
    # OpenCV's selective search takes red and green as they are; blue overwrites its hue.
    "opencv_h": lambda rgb: rgb[..., 2],
    "opencv_rgi": lambda rgb: np.dstack([rgb[..., :2], _gray(rgb)]),
}
