"""Keypoint R-CNN (He et al. 2017, arXiv:1703.06870, section 5): a heat map for every keypoint.

Parameters: `conv_fcn1` … (3x3), `kps_score_lowres` (4x4 transposed). Initialisation: He normal over
fan-out, zero biases, as the authors' code.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.detectors.faster_rcnn import FasterRCNN, faster_rcnn_resnet_fpn
from vision_jax.models.detectors.roi_heads import RegionPool, small_network
from vision_jax.models.detectors.rpn import wide
from vision_jax.models.layers.blocks import Norm
from vision_jax.models.layers.upsampling import ConvTranspose
from vision_jax.ops import losses
from vision_jax.ops.masks import decode_heatmaps, keypoint_targets
from vision_jax.ops.resize import resize
from vision_jax.structs import Detections, Targets


class KeypointHead(nn.Module):
    """Convolutions on every region, and one map per keypoint, four times as large.

    Fields:
      keypoints: number of them (COCO's persons: 17).
      pool: how regions are pooled; None: as of `MaskHead`.
      widths: channels of the 3x3 convolutions.
      weight: of the loss.
      dtype: compute dtype.
    """

    keypoints: int = 17
    pool: RegionPool | None = RegionPool(size=14, levels=4)
    widths: tuple[int, ...] = (512,) * 8
    weight: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r n n c"],
        num_classes: int,
    ) -> Float[Array, "b r s s k"]:
        """Heat maps (logits) over each region; they do not depend on the class."""
        images, regions = x.shape[:2]
        x = small_network(x, self.widths, "conv_fcn", self.dtype)
        up = ConvTranspose(self.keypoints, 4, 2, 1, dtype=self.dtype, name="kps_score_lowres")
        x = wide(up(x))
        x = resize(x, (2 * x.shape[1], 2 * x.shape[2]))
        return x.reshape(images, regions, *x.shape[1:])

    def complete(
        self, found: Detections, logits: Float[Array, "b r s s k"], largest: int
    ) -> Detections:
        """Detections with `keypoints`: x, y and the logit at the peak.

        Args:
          found: boxes.
          logits: their heat maps.
          largest: longest side that a box can have, in pixels.
        """
        # All images' boxes in one list: vmapped, every box would be resized in all ways.
        maps, boxes = logits.reshape(-1, *logits.shape[2:]), found.boxes.reshape(-1, 4)
        points = decode_heatmaps(maps, boxes, largest)
        points = points.reshape(*found.boxes.shape[:2], *points.shape[1:])
        return found.replace(keypoints=jnp.where(found.valid[..., None, None], points, 0))

    def loss(
        self,
        logits: Float[Array, "b r s s k"],
        boxes: Float[Array, "b r 4"],
        matching: Int[Array, "b r"],
        targets: Targets,
    ) -> tuple[Array, Array]:
        """Sum and weight: cross-entropy over a map's cells of every visible keypoint.

        Args:
          logits: of regions.
          boxes: of these.
          matching: their objects; those without (negative) do not count.
          targets: with keypoints.

        Raises:
          ValueError: targets without keypoints.
        """
        if targets.keypoints is None:
            raise ValueError("a keypoint head needs batches with targets.keypoints")
        images, regions, size, _, count = logits.shape
        owner = jnp.maximum(matching, 0)[..., None, None]
        points = jnp.take_along_axis(targets.keypoints, owner, 1).astype(boxes.dtype)
        wanted = jax.vmap(lambda p, b: keypoint_targets(p, b, size))(points, boxes)
        seen = wanted.valid & (matching >= 0)[..., None]
        logits = logits.reshape(images, regions, size * size, count)
        loss = losses.cross_entropy(jnp.moveaxis(logits, 3, 2), wanted.place, mask=seen)
        return self.weight * loss.sum(), seen.sum(dtype=logits.dtype)


def keypoint_rcnn_resnet_fpn(
    depth: int,
    num_classes: int = 1,
    keypoints: int = 17,
    norm: Norm = "frozen",
    eps: float = 1e-5,
    dtype: str = "float32",
) -> FasterRCNN:
    """With a feature pyramid, as in torchvision; see `faster_rcnn_resnet_fpn`."""
    model = faster_rcnn_resnet_fpn(depth, num_classes, norm, eps, dtype)
    return dataclasses.replace(model, keypoint=KeypointHead(keypoints, dtype=dtype))


def KeypointRCNNResNet50FPN(
    num_classes: int = 1,
    keypoints: int = 17,
    norm: Norm = "frozen",
    eps: float = 1e-5,
    dtype: str = "float32",
) -> FasterRCNN:
    """ResNet-50; see `keypoint_rcnn_resnet_fpn`."""
    return keypoint_rcnn_resnet_fpn(50, num_classes, keypoints, norm, eps, dtype)
