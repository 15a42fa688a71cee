"""Keypoint R-CNN (He et al. 2017, arXiv:1703.06870, section 5): a heat map for every keypoint.

Parameters: `conv_fcn1` … (3x3), `kps_score_lowres` (4x4 transposed). Initialisation: He normal over
fan-out, zero biases, as the authors' code.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from vision_jax.models.detectors.faster_rcnn import FROZEN, FasterRCNN, faster_rcnn_resnet_fpn
from vision_jax.models.detectors.region_pool import RegionPool
from vision_jax.models.detectors.roi_heads import (
    Boxes,
    MatchedIdxs,
    RegionLogits,
    RegionMaps,
    conv_stack,
)
from vision_jax.models.layers import ConvTranspose, Layers, at_least_float32, variant
from vision_jax.ops import losses
from vision_jax.ops.masks import decode_heatmaps, keypoint_targets
from vision_jax.ops.resize import resize
from vision_jax.structs import Detections, Targets


class KeypointHead(nn.Module):
    """A fully convolutional network that draws one map per keypoint over every region.

    Maps have four times the size of the pooled features.

    Fields:
      keypoints: number of them (COCO's persons: 17).
      pool: how regions are pooled; None: the head reads the maps of the second stage's body.
      widths: channels of the 3x3 convolutions.
      loss_weight: factor of the loss.
      layers: settings; the head has no norm.
    """

    keypoints: int = 17
    pool: RegionPool | None = RegionPool(size=14, levels=4)
    widths: tuple[int, ...] = (512,) * 8
    loss_weight: float = 1.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: RegionMaps, num_classes: int, *, train: bool = False) -> RegionLogits:
        """Finds heat maps (logits) over each region; they do not depend on the class."""
        images, regions = x.shape[:2]
        x = conv_stack(x, self.widths, "conv_fcn", self.layers)
        up = ConvTranspose(self.keypoints, 4, 2, 1, layers=self.layers, name="kps_score_lowres")
        x = at_least_float32(up(x))
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]))
        return x.reshape(images, regions, *x.shape[1:])

    def complete(
        self, detections: Detections, logits: RegionLogits, longest_side: int
    ) -> Detections:
        """Adds `keypoints`: x, y and the logit at the peak of the heat map.

        Args:
          detections: with boxes.
          logits: heat maps over their boxes.
          longest_side: longest that a box can have, in pixels.
        """
        # All images' boxes in one list: vmapped, every box would be resized in all ways.
        maps, boxes = logits.reshape(-1, *logits.shape[2:]), detections.boxes.reshape(-1, 4)
        points = decode_heatmaps(maps, boxes, longest_side)
        points = points.reshape(*detections.boxes.shape[:2], *points.shape[1:])
        points = jnp.where(detections.valid[..., None, None], points, 0)
        return detections.replace(keypoints=points)

    def loss(
        self, logits: RegionLogits, boxes: Boxes, matched_idxs: MatchedIdxs, targets: Targets
    ) -> tuple[Array, Array]:
        """Returns sum and weight: cross-entropy over a map's cells of every visible keypoint.

        Args:
          logits: of regions.
          boxes: of these.
          matched_idxs: their objects; those without (negative) do not count.
          targets: with keypoints.

        Raises:
          ValueError: targets without keypoints.
        """
        if targets.keypoints is None:
            raise ValueError("a keypoint head needs batches with targets.keypoints")
        images, regions, size, _, count = logits.shape
        matched = jnp.maximum(matched_idxs, 0)[..., None, None]
        points = jnp.take_along_axis(targets.keypoints, matched, 1).astype(boxes.dtype)
        cell_targets = jax.vmap(lambda p, b: keypoint_targets(p, b, size))(points, boxes)
        visible = cell_targets.valid & (matched_idxs >= 0)[..., None]
        logits = jnp.moveaxis(logits.reshape(images, regions, size * size, count), 3, 2)
        loss = losses.cross_entropy(logits, cell_targets.cell, mask=visible)
        return self.loss_weight * loss.sum(), visible.sum(dtype=logits.dtype)


def keypoint_rcnn_resnet_fpn(
    depth: int, num_classes: int = 1, keypoints: int = 17, layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes Keypoint R-CNN on a feature pyramid, as torchvision; see `faster_rcnn_resnet_fpn`."""
    model = faster_rcnn_resnet_fpn(depth, num_classes, layers)
    return dataclasses.replace(model, keypoint=KeypointHead(keypoints, layers=layers))


KeypointRCNNResNet50FPN = variant(
    "KeypointRCNNResNet50FPN",
    keypoint_rcnn_resnet_fpn,
    "Makes Keypoint R-CNN on ResNet-50 with a feature pyramid; see `keypoint_rcnn_resnet_fpn`.",
    depth=50,
)
