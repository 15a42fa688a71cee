"""Moves an example's pixels, boxes, masks, keypoints and semantic labels together, on the host.

Coordinates are continuous: the first pixel covers [0, 1], and an image w pixels wide [0, w]. An
example's `masks` are (n, h, w) uint8 0 or 1, `segmentation` (h, w) uint8. `scale` (where present)
follows: network pixels per original pixel, (y, x).
"""

import cv2
import numpy as np
from PIL import Image

from vision_jax.data.sources import Example

Color = tuple[int, ...]  # RGB, 0..255

# What an example holds one of for each object; a transform that drops objects cuts all of them.
PER_OBJECT = (
    "boxes",
    "labels",
    "difficult",
    "crowd",
    "area",
    "truncated",
    "category_ids",
    "masks",
    "keypoints",
)
# Lists of boxes in an example. (`proposals` have a fixed length, `proposal_valid` says which hold.)
BOXES = ("boxes", "proposals")
VOID = 255
BLACK = (0, 0, 0)


def to_xyxy(boxes: np.ndarray, source: str) -> np.ndarray:
    """Converts (n, 4) boxes from xyxy, yxyx, xywh or cxcywh to xyxy, in the same dtype.

    The twin of `ops.boxes.convert` that starts no JAX, for worker processes.

    Raises:
      ValueError: an unknown format.
    """
    a, b, c, d = boxes.T
    formats = {
        "xyxy": (a, b, c, d),
        "yxyx": (b, a, d, c),
        "xywh": (a, b, a + c, b + d),
        "cxcywh": (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    }
    if source not in formats:
        raise ValueError(f"box format {source!r} is not one of {', '.join(formats)}")
    return np.stack(formats[source], 1)


def with_extent(boxes: np.ndarray) -> np.ndarray:
    """Returns (n,) bool: whether xyxy boxes (n, 4) have both a width and a height above 0."""
    return np.all(boxes[:, 2:] > boxes[:, :2], axis=1)


def resize_image(image: np.ndarray, height: int, width: int, antialias: bool = True) -> np.ndarray:
    """Resizes a uint8 image (h, w, 1 or 3), bilinear.

    With `antialias` a side that shrinks is filtered by a triangle as wide as the step (Pillow's
    bilinear, bit for bit): what torchvision's recipes train and test with. Without, each result
    pixel mixes its four neighbours only, as tf.image.resize does: 0.06 ms of CPU instead of 0.53
    from 300×300 to 224×224, with some aliasing. (OpenCV's INTER_AREA takes 0.39 ms and aliases
    more than Pillow.)
    """
    if (height, width) == image.shape[:2]:
        return image
    if antialias:
        flat = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
        small = np.asarray(flat.resize((width, height), Image.Resampling.BILINEAR))
    else:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return small.reshape(height, width, image.shape[2])


def resize(example: Example, height: int, width: int, antialias: bool = True) -> Example:
    """Resizes an example.

    A mask's pixel is set where at least half of it is covered; semantic labels are those of the
    nearest pixel centre. See `resize_image` for `antialias`.
    """
    h, w = example["image"].shape[:2]
    if (h, w) == (height, width):
        return example
    y, x = height / h, width / w
    moved = {"image": resize_image(example["image"], height, width, antialias)}
    for key in BOXES:
        if key in example:
            moved[key] = example[key] * np.asarray([x, y, x, y], np.float32)
    if "keypoints" in example:
        moved["keypoints"] = example["keypoints"] * np.asarray([x, y, 1], np.float32)
    if "masks" in example:
        moved["masks"] = _resize_masks(example["masks"], height, width)
    if "segmentation" in example:
        # INTER_NEAREST would round coordinates down, which shifts by up to a pixel.
        moved["segmentation"] = cv2.resize(
            example["segmentation"], (width, height), interpolation=cv2.INTER_NEAREST_EXACT
        )
    if "scale" in example:
        moved["scale"] = example["scale"] * np.asarray([y, x], np.float32)
    return {**example, **moved}


def crop(example: Example, top: int, left: int, height: int, width: int, fill: Color) -> Example:
    """Cuts a window out of an example, and fills it up where it exceeds the image.

    Boxes and keypoints move along and are not cut: see `clip`.

    Args:
      example: decoded.
      top, left: the window's corner in pixels of the image; may be negative.
      height, width: the window's size in pixels.
      fill: the colour outside of the image (its mean in gray images). There is no mask there, and
        semantic labels are `VOID`.
    """
    color = fill_color(example["image"], fill)
    moved = {"image": _window(example["image"], top, left, height, width, color)}
    for key in BOXES:
        if key in example:
            moved[key] = example[key] - np.asarray([left, top, left, top], np.float32)
    if "keypoints" in example:
        points = example["keypoints"] - np.asarray([left, top, 0], np.float32)
        moved["keypoints"] = _unlabelled_at_zero(points)
    if "masks" in example:
        moved["masks"] = _window(example["masks"], top, left, height, width, 0, axis=1)
    if "segmentation" in example:
        moved["segmentation"] = _window(example["segmentation"], top, left, height, width, VOID)
    return {**example, **moved}


def fill_color(image: np.ndarray, fill: Color) -> Color | int:
    """Returns the colour in the image's channels: its mean for a gray image."""
    return fill if image.shape[2] == len(fill) else round(sum(fill) / len(fill))


def flip(example: Example, mirror: tuple[int, ...] = ()) -> Example:
    """Mirrors an example, left for right.

    Args:
      example: decoded.
      mirror: for each keypoint, the number of the one that takes its place: left and right swap.

    Raises:
      ValueError: there are keypoints, and `mirror` has another length.
    """
    image = example["image"]
    width = image.shape[1]
    # Not image[:, ::-1]: numpy copies that into the batch three bytes at a time.
    moved = {"image": cv2.flip(image, 1).reshape(image.shape)}
    for key in BOXES:
        if key in example:
            x0, y0, x1, y1 = example[key].T
            moved[key] = np.stack([width - x1, y0, width - x0, y1], 1)
    if "keypoints" in example:
        count = example["keypoints"].shape[1]
        if len(mirror) != count:
            raise ValueError(f"a flip of {count} keypoints needs `mirror`, which one each becomes")
        points = example["keypoints"][:, list(mirror)] * np.asarray([-1, 1, 1], np.float32)
        points[..., 0] += width
        moved["keypoints"] = _unlabelled_at_zero(points)
    if "masks" in example:
        moved["masks"] = np.ascontiguousarray(example["masks"][:, :, ::-1])
    if "segmentation" in example:
        moved["segmentation"] = np.ascontiguousarray(example["segmentation"][:, ::-1])
    return {**example, **moved}


def keep(example: Example, chosen: np.ndarray) -> Example:
    """Leaves out the objects for which `chosen` (n,) bool is False."""
    if chosen.all():
        return example
    return {**example, **{key: example[key][chosen] for key in PER_OBJECT if key in example}}


def clip(
    example: Example, min_visibility: float = 0.0, min_size: float | tuple[float, float] = 0.0
) -> Example:
    """Cuts boxes and proposals at the image's border, and leaves out objects that lie outside.

    Keypoints beyond the border become unlabelled (0, 0, 0).

    Args:
      example: decoded.
      min_visibility: objects keep at least this share of their box's area, or go.
      min_size: both sides of what is left are longer than this, in pixels, or the object goes; one
        number, or one for the width and one for the height.
    """
    if "boxes" not in example:
        return example
    height, width = example["image"].shape[:2]
    limit = np.asarray([width, height, width, height], np.float32)
    boxes = example["boxes"].clip(0, limit)
    moved = {"boxes": boxes}
    if "proposals" in example:
        proposals = example["proposals"].clip(0, limit)
        valid = example["proposal_valid"] & with_extent(proposals)
        moved |= {"proposals": proposals, "proposal_valid": valid}
    if "keypoints" in example:
        points = example["keypoints"].copy()
        x, y = points[..., 0], points[..., 1]
        points[(x < 0) | (y < 0) | (x > width) | (y > height)] = 0
        moved["keypoints"] = points
    sides = boxes[:, 2:] - boxes[:, :2]
    sides_before = example["boxes"][:, 2:] - example["boxes"][:, :2]
    visible = sides.prod(1) >= min_visibility * sides_before.prod(1)
    return keep({**example, **moved}, (sides > np.asarray(min_size)).all(1) & visible)


def _resize_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes masks (n, h, w); see `resize`."""
    smaller = height < masks.shape[1] or width < masks.shape[2]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    result = np.zeros((len(masks), height, width), np.uint8)
    for mask, out in zip(masks, result, strict=True):
        # 2 · 127 is the largest even number below 256: a half is exact.
        gray = cv2.resize(mask * np.uint8(254), (width, height), interpolation=interpolation)
        np.greater_equal(gray, 127, out=out, casting="unsafe")
    return result


def _window(
    pixels: np.ndarray,
    top: int,
    left: int,
    height: int,
    width: int,
    fill: Color | int,
    axis: int = 0,
) -> np.ndarray:
    """Cuts a window over the axes `axis` (rows) and `axis` + 1 (columns), filled up by `fill`."""
    before = (slice(None),) * axis
    rows = slice(max(0, top), max(0, top + height))
    part = pixels[(*before, rows, slice(max(0, left), max(0, left + width)))]
    h, w = part.shape[axis : axis + 2]
    if (h, w) == (height, width):
        return part
    shape = (*pixels.shape[:axis], height, width, *pixels.shape[axis + 2 :])
    result = np.empty(shape, pixels.dtype)
    first = (*before, slice(1))
    result[first] = fill
    result[(*before, slice(1, None))] = result[first]  # rows copy faster than pixels
    y, x = max(0, -top), max(0, -left)
    result[(*before, slice(y, y + h), slice(x, x + w))] = part
    return result


def _unlabelled_at_zero(points: np.ndarray) -> np.ndarray:
    """Sets keypoints of visibility 0 to (0, 0, 0), COCO's convention, wherever the image went."""
    points[points[..., 2] == 0] = 0
    return points
