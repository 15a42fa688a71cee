"""Instance masks as COCO's compressed run lengths, checked before native code sees them."""

from typing import Any

import numpy as np

from vision_jax.data.checked_values import all_finite, shown, whole
from vision_jax.data.decode import check_pixels

# Rasterising takes time and memory with the outline's length: five points a pixel.
_LONGEST_OUTLINE = 2**22
_LONGEST_COUNT = 7  # characters of a compressed run length, five bits each


def encode(segmentation: Any, height: int, width: int) -> bytes:
    """Converts COCO's `segmentation` into compressed run lengths.

    Args:
      segmentation: polygons, or one alone, or run lengths, compressed or not; empty for no pixel.
      height, width: the image's size in pixels.

    Raises:
      ValueError: none of these, a coordinate that is no number or far off the image, or run lengths
        of another number of pixels.
    """
    from pycocotools import mask as coco_mask

    check_pixels(height, width)
    if not segmentation:
        segmentation = {"size": [height, width], "counts": [height * width]}
    if isinstance(segmentation, list):
        outlines = polygons(segmentation)
        length = sum(_outline(outline) for outline in outlines)
        if length > max(_LONGEST_OUTLINE, 8 * (height + width)):
            raise ValueError(
                f"segmentation: its outline of {length:.3g} pixels leaves the image of "
                f"{width}×{height} far behind; correct the coordinates"
            )
        return coco_mask.merge(coco_mask.frPyObjects(outlines, height, width))["counts"]
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError(
            f"segmentation is {shown(segmentation)}, neither polygons nor run lengths with counts"
        )
    counts = segmentation["counts"]
    stated = _size(segmentation.get("size"))
    if stated != [height, width]:
        raise ValueError(f"segmentation: the mask is {stated}, the image {[height, width]}")
    if isinstance(counts, list):
        lengths = [whole(count, f"segmentation: counts[{k}]") for k, count in enumerate(counts)]
        _check_sum(sum(lengths), height, width)
        runs = {"size": [height, width], "counts": lengths}
        return coco_mask.frPyObjects(runs, height, width)["counts"]
    if not isinstance(counts, str | bytes):
        raise ValueError(f"segmentation: counts is {shown(counts)}, neither a list nor a text")
    compressed = counts.encode() if isinstance(counts, str) else counts
    check(compressed, height, width)
    return compressed


def decode(rles: list[bytes], height: int, width: int) -> np.ndarray:
    """Returns the masks (n, height, width) of compressed run lengths, uint8 0 or 1.

    Raises:
      ValueError: malformed run lengths, or those of another number of pixels.
    """
    if not rles:
        return np.zeros((0, height, width), np.uint8)
    from pycocotools import mask as coco_mask

    for rle in rles:
        check(rle, height, width)
    sized = [{"size": [height, width], "counts": rle} for rle in rles]
    return np.ascontiguousarray(coco_mask.decode(sized).transpose(2, 0, 1))


def areas_and_boxes(rles: list[bytes], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the masks' numbers of pixels (n,) and boxes (n, 4) xyxy, without decoding them."""
    from pycocotools import mask as coco_mask

    if not rles:
        return np.zeros(0), np.zeros((0, 4))
    sized = [{"size": [height, width], "counts": rle} for rle in rles]
    boxes = np.asarray(coco_mask.toBbox(sized), np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return np.asarray(coco_mask.area(sized)), boxes


def check(rle: bytes, height: int, width: int) -> None:
    """Raises ValueError unless compressed run lengths are well-formed and fill the image.

    Native code believes them: others leave pixels unwritten, or write beyond the mask.
    """
    codes = np.frombuffer(rle, np.uint8).astype(np.int64) - 48
    if not len(codes) or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise ValueError(f"segmentation: {shown(rle)} are no compressed run lengths")
    starts = np.concatenate([[0], np.flatnonzero((codes & 32) == 0) + 1])
    starts, lengths = starts[:-1], np.diff(starts)
    if lengths.max() > _LONGEST_COUNT:
        raise ValueError(f"segmentation: {shown(rle)} are no compressed run lengths")
    within = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * within), starts)
    negative = (codes[starts + lengths - 1] & 16) > 0
    values = values - (negative.astype(np.int64) << (5 * lengths))
    # From the fourth on each is told as the difference to the last but one.
    values[1::2], values[2::2] = np.cumsum(values[1::2]), np.cumsum(values[2::2])
    if values.min() < 0:
        raise ValueError("segmentation: a run length is negative")
    _check_sum(int(values.sum()), height, width)


def polygons(segmentation: list) -> list[list[float]]:
    """Returns polygons' coordinates x, y, x, y, … as numbers.

    One polygon alone, and corners that are pairs, are understood. Polygons of one or two corners
    have no area: they are left out where there are others.

    Raises:
      ValueError: names the polygon and what is wrong.
    """
    if not any(isinstance(part, list | tuple | dict) for part in segmentation):
        segmentation = [segmentation]  # one polygon, not in a list of its own
    elif len(segmentation) >= 3 and all(_is_pair(part) for part in segmentation):
        segmentation = [segmentation]  # one polygon of pairs
    outlines = []
    for number, polygon in enumerate(segmentation):
        name = f"segmentation[{number}]"
        if not isinstance(polygon, list | tuple):
            raise ValueError(f"{name} is {shown(polygon)}, not a list of numbers")
        if polygon and all(_is_pair(corner) for corner in polygon):
            polygon = [side for corner in polygon for side in corner]
        if len(polygon) % 2:
            raise ValueError(f"{name} has {len(polygon)} numbers, an odd count")
        outlines.append(all_finite(polygon, name))
    large = [outline for outline in outlines if len(outline) >= 6]
    if not large:
        raise ValueError("segmentation: the polygon has fewer than three corners")
    return large


def _is_pair(value: Any) -> bool:
    """Returns whether a value is a corner: two numbers in a list."""
    flat = isinstance(value, list | tuple) and len(value) == 2
    return flat and not any(isinstance(side, list | tuple | dict) for side in value)


def _outline(polygon: list[float]) -> float:
    """Returns the length of a polygon's outline, and of the way to it from the image's corner."""
    corners = np.reshape(polygon, (-1, 2))
    with np.errstate(over="ignore"):
        steps = np.abs(corners - np.roll(corners, 1, 0)).max(1)
        return float(steps.sum() + np.abs(corners).max())


def _size(value: Any) -> list[int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"segmentation: size is {shown(value)}, not [height, width]")
    return [whole(side, "segmentation: size") for side in value]


def _check_sum(total: int, height: int, width: int) -> None:
    if total != height * width:
        raise ValueError(
            f"segmentation: the run lengths sum to {shown(total)}, not {height * width} "
            f"({width}×{height} pixels)"
        )
