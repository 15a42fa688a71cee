"""Moves an example's pixels, boxes, masks, keypoints and semantic labels together, on the host.

Coordinates are continuous: the first pixel covers [0, 1], and an image w pixels wide [0, w]. An
example's `masks` are (n, h, w) uint8 0 or 1, `segmentation` (h, w) uint8. `scale` (where present)
follows: network pixels per original pixel, (y, x).
"""

import cv2
import numpy as np
from PIL import Image

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


def to_xyxy(boxes: np.ndarray, source: str) -> np.ndarray:
    """(n, 4) boxes given as xyxy, yxyx, xywh or cxcywh → xyxy, in the same dtype.

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


def resize(image: np.ndarray, height: int, width: int, antialias: bool = True) -> np.ndarray:
    """A uint8 image (h, w, 1 or 3) in another size, bilinear.

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


def resized(example: dict, height: int, width: int, antialias: bool = True) -> dict:
    """The example in another size. A mask's pixel is set where at least half of it is covered;
    semantic labels are those of the nearest pixel centre."""
    h, w = example["image"].shape[:2]
    if (h, w) == (height, width):
        return example
    y, x = height / h, width / w
    moved = {"image": resize(example["image"], height, width, antialias)}
    for key in BOXES:
        if key in example:
            moved[key] = example[key] * np.asarray([x, y, x, y], np.float32)
    if "keypoints" in example:
        moved["keypoints"] = example["keypoints"] * np.asarray([x, y, 1], np.float32)
    if "masks" in example:
        moved["masks"] = _resized_masks(example["masks"], height, width)
    if "segmentation" in example:
        # INTER_NEAREST would round coordinates down, which shifts by up to a pixel.
        moved["segmentation"] = cv2.resize(
            example["segmentation"], (width, height), interpolation=cv2.INTER_NEAREST_EXACT
        )
    if "scale" in example:
        moved["scale"] = example["scale"] * np.asarray([y, x], np.float32)
    return {**example, **moved}


def placed(example: dict, top: int, left: int, height: int, width: int, fill: tuple) -> dict:
    """What a window sees: `height` × `width` pixels whose corner is at (left, top) of the image.

    Outside of the image there is `fill` (RGB 0..255; its mean in gray images), no mask, and VOID.
    Boxes and keypoints move along and are not cut: see `clipped`.
    """
    color = fill if example["image"].shape[2] == len(fill) else round(sum(fill) / len(fill))
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


def flipped(example: dict, mirror: tuple = ()) -> dict:
    """The mirror image, left for right.

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


def kept(example: dict, keep: np.ndarray) -> dict:
    """The example with those objects only for which `keep` (n,) bool holds."""
    if keep.all():
        return example
    return {**example, **{key: example[key][keep] for key in PER_OBJECT if key in example}}


def clipped(example: dict, visible: float = 0.0, least: float | tuple = 0.0) -> dict:
    """Boxes and proposals cut at the image's border; keypoints beyond become unlabelled (0, 0, 0).

    Args:
      example: decoded.
      visible: objects keep at least this share of their box's area, or go.
      least: both sides of what is left are longer than this, in pixels, or the object goes; one
        number, or one for the width and one for the height.
    """
    if "boxes" not in example:
        return example
    height, width = example["image"].shape[:2]
    whole = example["boxes"]
    boxes = whole.clip(0, np.asarray([width, height, width, height], np.float32))
    moved = {"boxes": boxes}
    if "proposals" in example:
        cut = example["proposals"].clip(0, np.asarray([width, height, width, height], np.float32))
        there = (cut[:, 2:] > cut[:, :2]).all(1)
        moved |= {"proposals": cut, "proposal_valid": example["proposal_valid"] & there}
    if "keypoints" in example:
        points = example["keypoints"].copy()
        x, y = points[..., 0], points[..., 1]
        points[(x < 0) | (y < 0) | (x > width) | (y > height)] = 0
        moved["keypoints"] = points
    sides = boxes[:, 2:] - boxes[:, :2]
    share = sides.prod(1) >= visible * (whole[:, 2:] - whole[:, :2]).prod(1)
    return kept({**example, **moved}, (sides > np.asarray(least)).all(1) & share)


def _resized_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = height < masks.shape[1] or width < masks.shape[2]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    result = np.zeros((len(masks), height, width), np.uint8)
    for mask, out in zip(masks, result, strict=True):
        # 2 · 127 is the largest even number below 256: a half is exact.
        gray = cv2.resize(mask * np.uint8(254), (width, height), interpolation=how)
        np.greater_equal(gray, 127, out=out, casting="unsafe")
    return result


def _window(
    pixels: np.ndarray, top: int, left: int, height: int, width: int, fill: object, axis: int = 0
) -> np.ndarray:
    """A window over the axes `axis` (rows) and `axis` + 1 (columns)."""
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
    """COCO's convention: a keypoint of visibility 0 is (0, 0, 0), wherever the image went."""
    points[points[..., 2] == 0] = 0
    return points
