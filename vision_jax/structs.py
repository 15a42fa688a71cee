"""The data that rooms hand to each other: batches, targets, detections, and the detector protocol.

Images are NHWC RGB. Boxes are `xyxy`, float32, in pixels of the network's input. Lists of objects
are padded to a fixed length `m` (`max_boxes`), with `valid` False on padding. Labels are 0..C-1
without background.
"""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import struct

if TYPE_CHECKING:  # NumPy's on the host, JAX's within jit: a checker would ask which at each use
    Array = Any
else:
    Array = jax.Array | np.ndarray


class Targets(struct.PyTreeNode):
    """The truth that a batch is trained towards. A field that a task does not use stays None.

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
    target_image: Array | None = None  # (b, h, w, 3) uint8, the image that is to be made
    tokens: Array | None = None  # (b, t) int32, a caption: start, words, end, 0 on padding


class Batch(struct.PyTreeNode):
    """One global batch, or a device's share of it."""

    # (b, h, w, c) uint8 in 0..255, or float32 where a task asks for it; None where the devices fill
    # in the pixels (`train.device_cache`)
    image: Array | None
    valid: Array  # (b,) bool, False on examples that only fill the last batch
    index: Array  # (b,) int32, position in the global batch; random draws fold it in
    targets: Targets = Targets()
    size: Array | None = None  # (b, 2) float32, height and width of the original image
    scale: Array | None = None  # (b, 2) float32, network pixels per original pixel (y, x)
    id: Array | None = None  # (b,) int32, the example's number in its source

    @property
    def count(self) -> int:
        """Number of rows, padding included."""
        return self.valid.shape[0]

    @property
    def pixels(self) -> Array:
        """The images; use it where they must be there."""
        if self.image is None:
            raise ValueError("this batch has no pixels yet: the devices fill them in")
        return self.image


class Detections(struct.PyTreeNode):
    """A detector's final answer, padded to a fixed number of slots `n` per image."""

    boxes: Array  # (b, n, 4) float32 xyxy, pixels of the network's input
    scores: Array  # (b, n) float32, descending, 0 on padding
    labels: Array  # (b, n) int32, 0..C-1, -1 on padding
    valid: Array  # (b, n) bool
    masks: Array | None = None  # (b, n, s, s) float32 probabilities within each box
    keypoints: Array | None = None  # (b, n, k, 3) float32: x, y, score


Terms = dict[str, tuple[Array, Array]]  # {name: (sum, weight)}; a loss is sum / weight


@runtime_checkable
class Detector(Protocol):
    """A network that `tasks.Detection` trains and evaluates; a linen module, with static shapes.

    All detectors use the same words, each where it has such a thing.

    Fields, of the network or of its parts: `num_classes`, `layers`; `anchor_sizes`,
    `anchor_ratios`; `positive_iou`, `negative_iou`, `box_weights`; `score_threshold`,
    `nms_threshold`, `pre_nms_top_k` (`_top_n` in the first of two stages), `max_detections`.

    Outputs, of all levels in one array: `class_logits` (b, n, …), `box_deltas` (b, n, …, 4),
    `objectness_logits` (b, n); `anchors` (a, 4), the boxes that are refined, xyxy in pixels, the
    same for all images. Two stages have `rpn_class_logits`, `rpn_box_deltas` for the first.

    `models.detectors.detector.DetectorModule` has defaults for `metrics`, `anchors`, `matches`.
    """

    num_classes: int  # without background

    @property
    def shown(self) -> tuple[str, ...]:
        """Names of outputs beside the detections that pictures are made from."""

    def __call__(
        self,
        images: Array,
        sizes: Array,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Array | None = None,
    ) -> dict[str, Any]:
        """Computes everything that `loss` and `detect` read.

        Args:
          images: (b, h, w, c), normalised RGB, padded at the right and the bottom.
          sizes: (b, 2), height and width of each image's content in pixels of `images`.
          targets: for a loss; else None, or nothing but proposals that were made beforehand.
          train: batch statistics and dropout.
          keys: (b,), one random key per example, for sampling and dropout.
        """

    def loss(self, outputs: dict[str, Any], targets: Targets, valid: Array) -> Terms:
        """Returns the loss's terms; images with `valid` (b,) False are left out."""

    def detect(self, outputs: dict[str, Any], sizes: Array) -> Detections:
        """Returns the detections in pixels of the network's input; touches no parameters.

        Args:
          outputs: what `__call__` returned.
          sizes: as given to it.
        """

    def metrics(self, outputs: dict[str, Any], targets: Targets, valid: Array) -> Terms:
        """Returns what is logged in training, {name: (sum, count)}; {} for nothing."""

    def anchors(self, height: int, width: int) -> Array | None:
        """Returns the boxes (a, 4) that outputs refine, xyxy in pixels; None without any.

        Args:
          height, width: of the network's input, in pixels.
        """

    def matches(self, targets: Targets, height: int, width: int) -> Array | None:
        """Returns each anchor's object (b, a), or `ops.assign`'s numbers; None without anchors.

        Args:
          targets: with boxes.
          height, width: of the network's input, in pixels.
        """
