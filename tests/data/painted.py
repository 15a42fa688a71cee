"""Pictures in which every object is a rectangle in the flat colour of its class, so that what
annotations say can be compared with what pixels show."""

import dataclasses

import numpy as np

from vision_jax.data import BaseSource

COLORS = np.asarray([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0]], np.uint8)
BACKGROUND = np.asarray([0, 0, 0], np.uint8)
CLASSES = ("red", "green", "blue", "yellow")
MIRROR = (1, 0)  # the keypoints are an object's left and right end


def paint(height, width, objects):
    """An example, decoded, of disjoint rectangles.

    Args:
      height, width: pixels.
      objects: (label, x0, y0, x1, y1), whole pixels.
    """
    image = np.tile(BACKGROUND, (height, width, 1))
    masks = np.zeros((len(objects), height, width), np.uint8)
    segmentation = np.zeros((height, width), np.uint8)
    for mask, (label, x0, y0, x1, y1) in zip(masks, objects, strict=True):
        image[y0:y1, x0:x1] = COLORS[label]
        mask[y0:y1, x0:x1] = 1
        segmentation[y0:y1, x0:x1] = label + 1
    table = np.asarray(objects, np.float32).reshape(-1, 5)
    label, x0, y0, x1, y1 = table.T
    middle = (y0 + y1) / 2
    two = np.full(len(table), 2.0)
    ends = [np.stack([x0 + 0.5, middle, two], 1), np.stack([x1 - 0.5, middle, two], 1)]
    return {
        "image": image,
        "boxes": table[:, 1:],
        "labels": label.astype(np.int32),
        "masks": masks,
        "keypoints": np.stack(ends, 1).astype(np.float32),
        "segmentation": segmentation,
        "size": np.asarray([height, width], np.float32),
        "scale": np.ones(2, np.float32),
    }


def shows(image, label):
    """(h, w) bool: pixels that are clearly of a class's colour. (Half of yellow and half of the
    background is as far from red as from yellow.)"""
    color = COLORS[label].astype(int)
    distance = np.abs(image.astype(int) - color).max(-1)
    return distance < 110


def check(example, edge=0.0, labels=(0, 1, 2, 3)):
    """Boxes, masks, keypoints and semantic labels fit the pixels.

    Args:
      example: transformed.
      edge: how far (pixels) an edge may be off: 0, or 1 where pixels were interpolated.
      labels: classes none of whose objects was dropped.
    """
    image = example["image"]
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    for label in range(len(CLASSES)):
        mine = np.flatnonzero(example["labels"] == label)
        seen = shows(image, label)
        near = np.zeros_like(seen)  # within `edge` of one of the boxes' edges
        inside = np.zeros_like(seen)
        for x0, y0, x1, y1 in example["boxes"][mine]:
            slack = 1e-4  # float32
            assert 0 <= x0 < x1 <= width + slack and 0 <= y0 < y1 <= height + slack
            outer = (x > x0 - edge) & (x < x1 + edge) & (y > y0 - edge) & (y < y1 + edge)
            inner = (x > x0 + edge) & (x < x1 - edge) & (y > y0 + edge) & (y < y1 - edge)
            inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
            near |= outer & ~inner
            assert seen[inner].all()
        if label in labels:
            assert not (seen & ~inside & ~near).any(), f"{CLASSES[label]} shows outside of boxes"
        if len(mine):
            covered = example["masks"][mine].astype(bool).any(0)
            assert not ((covered != seen) & ~near & (inside | covered)).any()
            painted = example["segmentation"] == label + 1
            assert not ((painted != seen) & ~near & inside).any()
    for box, label, points in zip(
        example["boxes"], example["labels"], example["keypoints"], strict=True
    ):
        x0, _, x1, _ = box
        left, right = points
        if left[2] and right[2]:
            assert left[0] < right[0] + 1e-4, "left and right are swapped"
        for px, py, visibility in points:
            if not visibility:
                assert px == py == 0
                continue
            assert x0 - 1e-3 <= px <= x1 + 1e-3
            if edge == 0:
                assert shows(image, label)[min(int(py), height - 1), min(int(px), width - 1)]


@dataclasses.dataclass(frozen=True)
class Pictures(BaseSource):
    """A source of painted pictures of many sizes, each a function of its number."""

    count: int = 12
    empty: tuple = ()
    left_out: tuple = ("size", "scale")

    classes = CLASSES

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        height, width = (int(v) for v in rng.integers(24, 60, 2))
        found = [] if i in self.empty else rectangles(rng, height, width)
        example = paint(height, width, found)
        return {key: example[key] for key in example if key not in self.left_out}

    def describe(self, i):
        return f"painted train record {i} (picture_{i}.png)"


def rectangles(rng, height, width):
    """One to four of them, one in each quarter of the picture."""
    found = []
    for quarter in rng.permutation(4)[: rng.integers(1, 5)]:
        h, w = height // 2, width // 2
        y0, x0 = (int(rng.integers(0, n - 5)) for n in (h, w))
        y1, x1 = int(rng.integers(y0 + 5, h + 1)), int(rng.integers(x0 + 5, w + 1))
        dy, dx = (quarter // 2) * h, (quarter % 2) * w
        found.append((int(rng.integers(4)), x0 + dx, y0 + dy, x1 + dx, y1 + dy))
    return found
