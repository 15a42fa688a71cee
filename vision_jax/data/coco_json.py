"""COCO's annotation format: one JSON of images, annotations and categories → examples' fields."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Objects:
    """The annotated objects of one image; n of them."""

    boxes: np.ndarray  # (n, 4) float32 xyxy, pixels; x + w is rounded once, from 64 bits
    category_ids: np.ndarray  # (n,) int32, as in the file
    ids: np.ndarray  # (n,) int64, the annotations' own
    area: np.ndarray  # (n,) float32, pixels
    crowd: np.ndarray  # (n,) bool
    rle: list[bytes]  # COCO's compressed run lengths
    keypoints: np.ndarray  # (n, k, 3) float32: x, y, visibility 0 / 1 / 2


def by_image(annotations: list[dict]) -> dict[Any, list[dict]]:
    """Annotations by image id, in the file's order."""
    found: dict[Any, list[dict]] = {}
    for annotation in annotations:
        found.setdefault(annotation["image_id"], []).append(annotation)
    return found


def objects(
    annotations: list[dict], height: int, width: int, keypoints: int = 0, masks: bool = True
) -> Objects:
    """An image's annotations as arrays.

    Args:
      annotations: of this image. `area` defaults to the box's, `iscrowd` to 0; an object without
        `segmentation` has an empty mask.
      height, width: of the image, pixels: what the masks' run lengths count.
      keypoints: how many each object has; objects without any get zeros.
      masks: whether to fill `rle`.

    Raises:
      ValueError: a field is missing or malformed; the message names the annotation's id.
    """
    count = len(annotations)
    boxes, points = np.zeros((count, 4)), np.zeros((count, keypoints, 3), np.float32)
    area, rles = np.zeros(count), []
    for row, annotation in enumerate(annotations):
        try:
            x, y, w, h = (float(number) for number in annotation["bbox"])
            boxes[row] = x, y, x + w, y + h
            area[row] = annotation.get("area", w * h)
            int(annotation["category_id"])
            if annotation.get("keypoints") and keypoints:
                points[row] = np.reshape(annotation["keypoints"], (keypoints, 3))
            if masks:
                rles.append(run_lengths(annotation.get("segmentation"), height, width))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"annotation {annotation.get('id', row)}: {reason}") from error
    return Objects(
        boxes=boxes.astype(np.float32),
        category_ids=np.asarray([a["category_id"] for a in annotations], np.int32),
        ids=np.asarray([a.get("id", 0) for a in annotations], np.int64),
        area=area.astype(np.float32),
        crowd=np.asarray([bool(a.get("iscrowd", 0)) for a in annotations], bool),
        rle=rles,
        keypoints=points,
    )


def run_lengths(segmentation: Any, height: int, width: int) -> bytes:
    """COCO's `segmentation` (polygons, or run lengths, compressed or not) as compressed ones.

    Raises:
      ValueError: what is none of these, or counts another number of pixels.
    """
    from pycocotools import mask as coco_mask

    if not segmentation:
        segmentation = {"size": [height, width], "counts": [height * width]}
    if isinstance(segmentation, list):
        polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
        if not polygons:
            raise ValueError("a polygon has fewer than three corners")
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))["counts"]
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"the mask is {segmentation['size']}, the image {[height, width]}")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if sum(counts) != height * width:
            raise ValueError(f"the run lengths sum to {sum(counts)}, not {height * width}")
        return coco_mask.frPyObjects(segmentation, height, width)["counts"]
    return counts.encode() if isinstance(counts, str) else counts


def decode(rles: list[bytes], height: int, width: int) -> np.ndarray:
    """Masks (n, height, width) uint8 0 or 1. Raises ValueError for malformed run lengths."""
    if not rles:
        return np.zeros((0, height, width), np.uint8)
    from pycocotools import mask as coco_mask

    sized = [{"size": [height, width], "counts": rle} for rle in rles]
    return np.ascontiguousarray(coco_mask.decode(sized).transpose(2, 0, 1))


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
