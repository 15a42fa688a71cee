"""What selective search knows of regions: sizes, boxes, histograms, and who touches whom.

Uijlings et al. 2013, section 3.2, with the numbers of bins given there. Texture follows OpenCV's
reading: Scharr's derivatives, not Gaussian ones.
"""

import dataclasses
import functools

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

_COLOR_BINS, _TEXTURE_BINS, _DIRECTIONS = 25, 10, 8


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The regions of a segmentation.

    Attributes:
      size: pixels of each.
      box: x0, y0, x1, y1, the ends exclusive.
      color, texture: histograms that sum to 1 over all channels.
      touching: whether two regions touch.
    """

    size: Int[np.ndarray, " r"]
    box: Int[np.ndarray, "r 4"]
    color: Float32[np.ndarray, "r _c"]
    texture: Float32[np.ndarray, "r _t"]
    touching: Bool[np.ndarray, "r r"]


@dataclasses.dataclass(frozen=True, eq=False)
class Planes:
    """An image in one colour space, with what all of its segmentations share.

    Attributes:
      image: its planes.
    """

    image: UInt8[np.ndarray, "h w c"]

    @functools.cached_property
    def color_bins(self) -> Int[np.ndarray, "h w c"]:
        """The bin of each pixel's colour, numbered across the channels."""
        channels = np.arange(self.image.shape[2], dtype=np.int64) * _COLOR_BINS
        return self.image.astype(np.int64) * _COLOR_BINS // 256 + channels

    @functools.cached_property
    def texture_bins(self) -> Int[np.ndarray, "h w _d"]:
        """The bin of each pixel's derivative in each direction, numbered across all of them.

        A channel has eight: to the right and left, down and up, and the same after a turn by 45
        degrees. Each is stretched to 0 ... 255 over the image.
        """
        maps = [m for plane in np.moveaxis(self.image, -1, 0) for m in _derivatives(plane)]
        stretched = [cv2.normalize(m, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U) for m in maps]
        values = np.stack(stretched, -1).astype(np.float32) / np.float32(256 / _TEXTURE_BINS)
        return values.astype(np.int64) + np.arange(len(maps), dtype=np.int64) * _TEXTURE_BINS

    def regions(self, labels: Int[np.ndarray, "h w"], texture: bool = True) -> Regions:
        """Measures the regions of a segmentation of this image.

        Args:
          labels: the region of each pixel, from 0.
          texture: whether texture will be asked for; else its histograms are empty.
        """
        count, channels = int(labels.max()) + 1, self.image.shape[2]
        none = np.zeros((count, 0), np.float32)
        return Regions(
            np.bincount(labels.ravel(), minlength=count),
            tight_boxes(labels),
            _histograms(labels, self.color_bins, count, channels * _COLOR_BINS),
            _histograms(labels, self.texture_bins, count, channels * _DIRECTIONS * _TEXTURE_BINS)
            if texture
            else none,
            _touching(labels, count),
        )


def _histograms(labels: np.ndarray, bins: np.ndarray, count: int, total: int) -> np.ndarray:
    """Returns each region's shares of all bins, (count, total) float32."""
    flat = (labels[..., None] * np.int64(total) + bins).ravel()
    counts = np.bincount(flat, minlength=count * total).reshape(count, total)
    return counts.astype(np.float32) / counts.sum(1, keepdims=True).astype(np.float32)


def _touching(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns who touches whom, as OpenCV sees it.

    Pixels look to the left, up, and up to the left; those of the first row and column do not.
    """
    touching = np.zeros((count, count), bool)
    here = labels[1:, 1:]
    for there in (labels[1:, :-1], labels[:-1, 1:], labels[:-1, :-1]):
        touching[here, there] = True
    touching |= touching.T
    np.fill_diagonal(touching, False)
    return touching


def _derivatives(plane: np.ndarray) -> list[np.ndarray]:
    """Returns the eight derivatives of a plane: the positive and the negative parts of four."""
    height, width = plane.shape
    center = (width / 2, height / 2)
    _, _, wide, high = cv2.RotatedRect(center, (width, height), 45.0).boundingRect()
    wide, high = max(wide, width), max(high, height)  # a long image sticks out when turned back
    turn = cv2.getRotationMatrix2D(center, 45.0, 1.0)
    turn[:, 2] += wide / 2 - center[0], high / 2 - center[1]
    turned = cv2.warpAffine(plane, turn, (wide, high))
    back = cv2.getRotationMatrix2D((wide // 2, high // 2), -45.0, 1.0)
    top, left = (high - height) // 2, (wide - width) // 2
    signed = []
    for dx, dy in ((1, 0), (0, 1)):
        signed.append(cv2.Scharr(plane, cv2.CV_32F, dx, dy))
    for dx, dy in ((1, 0), (0, 1)):
        across = cv2.warpAffine(cv2.Scharr(turned, cv2.CV_32F, dx, dy), back, (wide, high))
        signed.append(across[top : top + height, left : left + width])
    return [part for m in signed for part in (np.maximum(m, 0), np.minimum(m, 0))]


def tight_boxes(labels: Int[np.ndarray, "h w"]) -> Int[np.ndarray, "_r 4"]:
    """Returns the boxes of regions 0, 1 ...: x0, y0, x1, y1, the ends exclusive.

    Args:
      labels: the region of each pixel; none of the numbers is left out.
    """
    rows, columns = np.indices(labels.shape).reshape(2, -1)
    order = np.argsort(labels.ravel(), kind="stable")
    starts = np.searchsorted(labels.ravel()[order], np.arange(int(labels.max()) + 1))
    columns, rows = columns[order], rows[order]
    low = [np.minimum.reduceat(values, starts) for values in (columns, rows)]
    high = [np.maximum.reduceat(values, starts) + 1 for values in (columns, rows)]
    return np.stack([*low, *high], 1)
