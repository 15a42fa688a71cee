"""Reads COCO's annotation format: one JSON file of images, annotations and categories."""

import dataclasses
from typing import Any

import numpy as np

from vision_jax.data import run_lengths
from vision_jax.data.checked_values import all_finite, finite, flag, identifier, number, shown

Key = int | str | None  # an id as `checked_values.identifier` gives it


@dataclasses.dataclass(frozen=True)
class Objects:
    """The annotated objects of one image, n of them."""

    boxes: np.ndarray  # (n, 4) float32 xyxy, pixels; x + w is rounded once, from 64 bits
    categories: list[Key]  # n ids
    ids: list[Any]  # the annotations' own n, None for those without
    area: np.ndarray  # (n,) float32, pixels
    crowd: np.ndarray  # (n,) bool
    rle: list[bytes]  # n compressed run lengths, as pycocotools reads and writes them
    keypoints: np.ndarray  # (n, k, 3) float32: x, y in pixels, visibility 0 / 1 / 2


def by_image(annotations: list[dict]) -> dict[Key, list[dict]]:
    """Returns the annotations by image id, in the file's order."""
    images: dict[Key, list[dict]] = {}
    for annotation in annotations:
        images.setdefault(identifier(annotation["image_id"], "image_id"), []).append(annotation)
    return images


def objects(
    annotations: list[dict], height: int, width: int, keypoints: int = 0, masks: bool = True
) -> Objects:
    """Turns one image's annotations into arrays.

    Args:
      annotations: the image's. `area` defaults to the box's, `iscrowd` to 0; an object without
        `segmentation` has an empty mask.
      height, width: the image's size in pixels, which the masks' run lengths count.
      keypoints: number of keypoints per object; objects with fewer get zeros for the others.
      masks: whether to fill `rle`.

    Raises:
      ValueError: a field is missing or malformed; the message names the annotation's id.
    """
    count = len(annotations)
    boxes, points = np.zeros((count, 4)), np.zeros((count, keypoints, 3), np.float32)
    area, rles, categories = np.zeros(count), [], []
    crowd = np.zeros(count, bool)
    for row, annotation in enumerate(annotations):
        try:
            x, y, w, h = _box(annotation["bbox"])
            boxes[row] = x, y, x + w, y + h
            stated = annotation.get("area")
            area[row] = w * h if stated is None else finite(stated, "area")
            categories.append(identifier(annotation["category_id"], "category_id"))
            crowd[row] = flag(annotation.get("iscrowd"), "iscrowd")
            if keypoints:
                own = keypoints_of(annotation)
                if len(own) > keypoints:
                    raise ValueError(f"keypoints are {len(own)} points, not {keypoints}")
                points[row, : len(own)] = own
            if masks:
                rles.append(run_lengths.encode(annotation.get("segmentation"), height, width))
        except (KeyError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"{title(annotation, row)}: {reason}") from error
    with np.errstate(over="ignore"):  # an absurd box becomes infinite, so degenerate
        return Objects(
            boxes=boxes.astype(np.float32),
            categories=categories,
            ids=[annotation.get("id") for annotation in annotations],
            area=area.astype(np.float32),
            crowd=crowd,
            rle=rles,
            keypoints=points,
        )


def title(annotation: dict, row: int) -> str:
    """Returns how messages call an annotation: by its id, else by its number in its image."""
    name = annotation.get("id")
    return f"annotation {row if name is None else shown(name)}"


def keypoints_of(annotation: dict) -> np.ndarray:
    """Returns an annotation's keypoints (k, 3) float32: x, y and visibility; none is (0, 3).

    Raises:
      ValueError: no list of three numbers each.
    """
    values = annotation.get("keypoints")
    if values is None:
        values = []
    if not isinstance(values, list):
        raise ValueError(f"keypoints is {shown(values)}, not a list of numbers")
    if values and all(isinstance(point, list) for point in values):
        values = [part for point in values for part in point]
    if len(values) % 3:
        raise ValueError(f"keypoints has {len(values)} numbers, not three for each point")
    with np.errstate(over="ignore"):
        points = np.asarray(all_finite(values, "keypoints"), np.float32).reshape(-1, 3)
    if not np.isfinite(points).all() or (points[:, 2] < 0).any():
        raise ValueError("keypoints: a visibility is negative, or a coordinate is absurd")
    return points


def _box(value: Any) -> tuple[float, float, float, float]:
    """Returns an annotation's box as it is written: x, y, width, height."""
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError(f"bbox is {shown(value)}, not [x, y, width, height]")
    x, y, w, h = (number(side, f"bbox[{place}]") for place, side in enumerate(value))
    return x, y, w, h


# Label l of the 80 classes is the l-th of these; ids have gaps where COCO dropped a category.
CATEGORIES = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
    10: "traffic light",
    11: "fire hydrant",
    13: "stop sign",
    14: "parking meter",
    15: "bench",
    16: "bird",
    17: "cat",
    18: "dog",
    19: "horse",
    20: "sheep",
    21: "cow",
    22: "elephant",
    23: "bear",
    24: "zebra",
    25: "giraffe",
    27: "backpack",
    28: "umbrella",
    31: "handbag",
    32: "tie",
    33: "suitcase",
    34: "frisbee",
    35: "skis",
    36: "snowboard",
    37: "sports ball",
    38: "kite",
    39: "baseball bat",
    40: "baseball glove",
    41: "skateboard",
    42: "surfboard",
    43: "tennis racket",
    44: "bottle",
    46: "wine glass",
    47: "cup",
    48: "fork",
    49: "knife",
    50: "spoon",
    51: "bowl",
    52: "banana",
    53: "apple",
    54: "sandwich",
    55: "orange",
    56: "broccoli",
    57: "carrot",
    58: "hot dog",
    59: "pizza",
    60: "donut",
    61: "cake",
    62: "chair",
    63: "couch",
    64: "potted plant",
    65: "bed",
    67: "dining table",
    70: "toilet",
    72: "tv",
    73: "laptop",
    74: "mouse",
    75: "remote",
    76: "keyboard",
    77: "cell phone",
    78: "microwave",
    79: "oven",
    80: "toaster",
    81: "sink",
    82: "refrigerator",
    84: "book",
    85: "clock",
    86: "vase",
    87: "scissors",
    88: "teddy bear",
    89: "hair drier",
    90: "toothbrush",
}
KEYPOINTS = 17
# Nose; then left and right eye, ear, shoulder, elbow, wrist, hip, knee, ankle.
KEYPOINT_MIRROR = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
