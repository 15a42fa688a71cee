"""What travels between rooms: the batch, its targets, and what detectors find.

Images are NHWC RGB. Boxes are `xyxy`, float32, in pixels of the network's input. Lists of objects
are padded to a fixed length `m` (`max_boxes`), with `valid` False on padding. Labels are 0..C-1
without background.
"""

import jax
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray


@struct.dataclass
class Targets:
    """What a batch is trained towards. A field that a task does not use stays None.

    Padding rule: objects i with `valid[:, i] == False` hold zeros (label -1) and count for nothing.
    """

    label: Array | None = None  # (b,) int32, class of the image; or (b, c) float32 in [0, 1]
    boxes: Array | None = None  # (b, m, 4) float32 xyxy, pixels of the network's input
    labels: Array | None = None  # (b, m) int32, 0..C-1, -1 on padding
    valid: Array | None = None  # (b, m) bool, False on padding
    difficult: Array | None = None  # (b, m) bool, VOC: neither rewarded nor punished
    crowd: Array | None = None  # (b, m) bool, COCO: a group, ignored when unmatched
    area: Array | None = None  # (b, m) float32, annotated area in pixels of the original image
    masks: Array | None = None  # (b, m, h, w) bool, instance masks
    keypoints: Array | None = None  # (b, m, k, 3) float32: x, y, visibility 0 / 1 / 2
    segmentation: Array | None = None  # (b, h, w) int32, 255 = void
    proposals: Array | None = None  # (b, p, 4) float32 xyxy, made beforehand, the best first
    proposal_valid: Array | None = None  # (b, p) bool, False on padding


@struct.dataclass
class Batch:
    """One global batch, or a device's share of it."""

    # (b, h, w, c) uint8 in 0..255, or float32 where a task asks for it; None in batches that come
    # without pixels, which the devices fill in
    image: Array
    valid: Array  # (b,) bool, False on examples that only fill the last batch
    index: Array  # (b,) int32, position in the global batch; random draws fold it in
    targets: Targets = Targets()
    size: Array | None = None  # (b, 2) float32, height and width of the original image
    scale: Array | None = None  # (b, 2) float32, network pixels per original pixel (y, x)
    id: Array | None = None  # (b,) int32, the example's number in its source

    @property
    def count(self) -> int:
        """Number of rows, padding included."""
        return self.image.shape[0]


@struct.dataclass
class Detections:
    """A detector's final answer, padded to a fixed number of slots `n` per image."""

    boxes: Array  # (b, n, 4) float32 xyxy, pixels of the network's input
    scores: Array  # (b, n) float32, descending, 0 on padding
    labels: Array  # (b, n) int32, 0..C-1, -1 on padding
    valid: Array  # (b, n) bool
    masks: Array | None = None  # (b, n, s, s) float32 probabilities within each box
    keypoints: Array | None = None  # (b, n, k, 3) float32: x, y, score
