"""What every variant of an entry works on: the same pixels, labels, objects and numbers."""

import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# torchvision's SSD has Caffe's weights.
SSD_MEAN, SSD_STD = (0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)
# Of the optimizer: gradient descent with momentum and weight decay. Steps are small, so that losses
# after one can be compared, and stay finite over rounds.
RATE, DETECTION_RATE, MOMENTUM, DECAY = 1e-4, 1e-5, 0.9, 1e-4
AUX_WEIGHT = 0.3  # of the loss of an auxiliary classifier
# Labels of detectors, background included: as torchvision numbers COCO's, and persons alone.
LABELS, PERSON_LABELS = 91, 2
KEYPOINTS = 17  # of a person
YOLO_CLASSES = 80
OBJECTS, SLOTS = 20, 50  # objects per image, and places in our padded lists
VOID = 255

# Channels and classes, where they are not those of ImageNet.
_SHAPES = {"lenet": (1, 10), "resnet20": (3, 10), "fcn8s": (3, 21)}
SEGMENTERS = ("fcn8s",)


def shape(network: str) -> tuple[int, int]:
    """Channels of a network's images, and its classes."""
    return _SHAPES.get(network, (3, 1000))


def normalisation(network: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation that a network's input is normalised with."""
    if network == "ssd300":
        return SSD_MEAN, SSD_STD
    channels = 3 if network not in _SHAPES else _SHAPES[network][0]
    return (MEAN, STD) if channels == 3 else ((0.5,), (0.5,))


def images(network: str, batch_size: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (b, s, s, c), and labels int32: (b,), or (b, s, s) with some void pixels."""
    channels, classes = shape(network)
    rng = np.random.default_rng(0)
    image = _pixels(rng, batch_size, size, size, channels)
    if network not in SEGMENTERS:
        return image, rng.integers(0, classes, batch_size).astype(np.int32)
    label = rng.integers(0, classes, (batch_size, size, size)).astype(np.int32)
    label[rng.uniform(size=label.shape) < 0.05] = VOID
    return image, label


def detector_labels(network: str) -> int:
    """How many labels a network of `detect` tells apart, background included."""
    return PERSON_LABELS if network == "keypoint_rcnn" else LABELS


def scene(network: str, batch_size: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Images with objects: `image` uint8 (b, h, w, 3), `boxes` (b, m, 4) xyxy, `labels` (b, m).

    Labels are 1 to 80, or 1 where all are persons. `masks` (b, m, h, w) bool are the ellipses in
    the boxes, `keypoints` (b, m, 17, 3) float32 x, y and visibility 0 / 1 / 2 lie anywhere in them.
    """
    rng = np.random.default_rng(0)
    image = _pixels(rng, batch_size, height, width, 3)
    low = rng.uniform(0, 0.6, (batch_size, OBJECTS, 2))
    side = rng.uniform(0.08, 0.4, (batch_size, OBJECTS, 2))
    pixels = np.array([width, height])
    boxes = np.concatenate([low * pixels, (low + side) * pixels], -1).astype(np.float32)
    most = min(detector_labels(network) - 1, YOLO_CLASSES)
    labels = rng.integers(1, most + 1, (batch_size, OBJECTS)).astype(np.int32)
    y, x = np.mgrid[:height, :width] + 0.5
    middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    middle, half = middle[..., None, None], half[..., None, None]
    inside = ((x - middle[:, :, 0]) / half[:, :, 0]) ** 2
    inside = inside + ((y - middle[:, :, 1]) / half[:, :, 1]) ** 2
    found = {"image": image, "boxes": boxes, "labels": labels, "masks": inside < 1}
    share = rng.uniform(size=(batch_size, OBJECTS, KEYPOINTS, 2))
    places = boxes[:, :, None, :2] + share * (boxes[..., 2:] - boxes[..., :2])[:, :, None]
    seen = rng.integers(0, 3, (batch_size, OBJECTS, KEYPOINTS, 1))
    return found | {"keypoints": np.concatenate([places, seen], -1).astype(np.float32)}


def _pixels(
    rng: np.random.Generator, batch_size: int, height: int, width: int, channels: int
) -> np.ndarray:
    """Coarse blocks under noise: of noise alone, deep features are the same for every image, and
    batch norms, which divide by how they differ, would blow up rounding."""
    blocks = rng.integers(0, 256, (batch_size, 4, 4, channels))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    noise = rng.integers(0, 256, (batch_size, height, width, channels))
    return ((blocks[:, rows][:, :, columns] + noise) // 2).astype(np.uint8)
