"""COCO's run-length encoding of masks, byte for byte, in NumPy; on the host, never under `jit`.

A mask is read down its columns; its runs alternate between 0 and 1, beginning with 0. The text
form keeps, from the fourth run on, differences to the run before last, in groups of five bits.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int


def encode(mask: Bool[np.ndarray, "h w"]) -> bytes:
    """Encodes a mask as COCO's compressed counts."""
    return counts_to_text(runs(mask))


def decode(text: bytes | str, height: int, width: int) -> Bool[np.ndarray, "{height} {width}"]:
    """Decodes COCO's compressed counts, the inverse of `encode`.

    Raises:
      ValueError: the runs do not fill the mask.
    """
    counts = text_to_counts(text)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(f"RLE of {counts.sum()} pixels for a mask of {height} x {width}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def runs(mask: Bool[np.ndarray, "h w"]) -> Int[np.ndarray, "_"]:
    """Measures the runs of 0, 1, 0 ... down the columns; the first may have length 0."""
    flat = np.asarray(mask, bool).T.reshape(-1)
    change = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], change, [flat.size]]))
    return np.concatenate([[0], counts]) if flat.size and flat[0] else counts


def area(text: bytes | str) -> int:
    """Counts the pixels of an encoded mask."""
    return int(text_to_counts(text)[1::2].sum())


def box(text: bytes | str, height: int) -> Float[np.ndarray, "4"]:
    """Finds the tightest xyxy box around an encoded mask, pixels; zeros for an empty mask."""
    counts = text_to_counts(text)
    ends = np.cumsum(counts)
    start, end = ends[:-1:2], ends[1::2]  # of the runs of 1
    start, end = start[end > start], end[end > start]
    if not len(start):
        return np.zeros(4, np.float32)
    several = (start // height) != ((end - 1) // height)  # a run through a column's end
    top, bottom = (start % height, (end - 1) % height)
    y0, y1 = (0, height) if several.any() else (top.min(), bottom.max() + 1)
    x0, x1 = start.min() // height, (end.max() - 1) // height + 1
    return np.array([x0, y0, x1, y1], np.float32)


def counts_to_text(counts: Int[np.ndarray, "n"]) -> bytes:
    """Writes runs as COCO's text."""
    values = np.asarray(counts, np.int64).copy()
    values[3:] -= np.asarray(counts, np.int64)[1:-2]
    groups = np.ones(len(values), np.int64)
    while True:  # as many groups as hold the value with its sign
        bound = np.int64(1) << (5 * groups - 1)
        short = (values >= bound) | (values < -bound)
        if not short.any():
            break
        groups += short
    place = np.arange(groups.max(initial=1))[None]
    bits = (values[:, None] >> (5 * place)) & 31
    bits |= np.where(place < groups[:, None] - 1, 32, 0)
    return (bits + 48)[place < groups[:, None]].astype(np.uint8).tobytes()


def text_to_counts(text: bytes | str) -> Int[np.ndarray, "_"]:
    """Reads runs from COCO's text, the inverse of `counts_to_text`."""
    raw = text.encode() if isinstance(text, str) else text
    bits = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    last = (bits & 32) == 0
    number = np.cumsum(last) - last  # which value each group belongs to
    first = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1]) if last.any() else np.zeros(0, int)
    place = np.arange(len(bits)) - first[number] if len(first) else np.zeros(0, np.int64)
    values = np.zeros(int(last.sum()), np.int64)
    np.add.at(values, number, (bits & 31) << (5 * place))
    negative = (bits[last] & 16) != 0
    values -= np.where(negative, np.int64(1) << (5 * (place[last] + 1)), 0)
    # From the fourth on: differences to the run before last.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def from_polygons(
    polygons: Sequence[Sequence[int | float]] | dict, height: int, width: int
) -> bytes:
    """Encodes the `segmentation` of COCO's annotations.

    It needs pycocotools, whose rule for pixels on an edge is the definition; it serves when data is
    prepared.

    Args:
      polygons: x0, y0, x1 ... of each, or a dict of runs, compressed or not.
    """
    from pycocotools import mask as codec

    if isinstance(polygons, dict):
        counts = polygons["counts"]
        if isinstance(counts, list):
            return counts_to_text(np.asarray(counts, np.int64))
        return counts.encode() if isinstance(counts, str) else counts
    return codec.merge(codec.frPyObjects([list(p) for p in polygons], height, width))["counts"]
