"""Mask R-CNN (He et al. 2017, arXiv:1703.06870): a mask head beside Faster R-CNN's second stage.

Parameters: `mask_fcn1` … (3x3), `conv5_mask` (2x2 transposed), `mask_fcn_logits` (1x1).
Initialisation: He normal over fan-out, zero biases, as the authors' code.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.classifiers.resnet import Version
from vision_jax.models.detectors.faster_rcnn import (
    FasterRCNN,
    faster_rcnn_resnet_c4,
    faster_rcnn_resnet_fpn,
)
from vision_jax.models.detectors.roi_heads import RegionPool, class_numbers, small_network
from vision_jax.models.detectors.rpn import wide
from vision_jax.models.layers.blocks import Conv, Norm
from vision_jax.models.layers.upsampling import ConvTranspose
from vision_jax.ops import losses
from vision_jax.ops.masks import crop_masks
from vision_jax.structs import Detections, Targets


class MaskHead(nn.Module):
    """A small fully convolutional network on every region (figure 4).

    Fields:
      pool: how regions are pooled; None: the head reads what the second stage's body finds
        (figure 4, left). Masks are twice the size of what is read.
      widths: channels of the 3x3 convolutions.
      upsampled: of the transposed convolution; None: the last of `widths`.
      activation: 'sigmoid', each class's mask by itself (the paper); 'softmax', classes and
        background compete for every pixel (table 2b).
      class_specific: a mask for every class, or (False, with 'sigmoid') one for all.
      weight: of the loss.
      dtype: compute dtype.
    """

    pool: RegionPool | None = RegionPool(size=14, levels=4)
    widths: tuple[int, ...] = (256, 256, 256, 256)
    upsampled: int | None = None
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    class_specific: bool = True
    weight: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r n n c"],
        num_classes: int,
    ) -> Float[Array, "b r s s k"]:
        """Mask logits within each region; k is num_classes + 1, background first, or 1."""
        images, regions = x.shape[:2]
        x = small_network(x, self.widths, "mask_fcn", self.dtype)
        width = self.widths[-1] if self.upsampled is None else self.upsampled
        x = nn.relu(ConvTranspose(width, 2, 2, dtype=self.dtype, name="conv5_mask")(x))
        rows = num_classes + 1 if self.class_specific else 1
        x = Conv(rows, 1, dtype=self.dtype, name="mask_fcn_logits")(x)
        return wide(x).reshape(images, regions, *x.shape[1:])

    def complete(
        self, found: Detections, logits: Float[Array, "b r s s k"], largest: int
    ) -> Detections:
        """Detections with `masks`, probabilities of their classes within their boxes."""
        own = self._own(logits, found.labels + 1)
        if self.activation == "softmax":
            own = own - nn.logsumexp(logits, -1)
            return found.replace(masks=jnp.exp(own))
        return found.replace(masks=nn.sigmoid(own))

    def loss(
        self,
        logits: Float[Array, "b r s s k"],
        boxes: Float[Array, "b r 4"],
        matching: Int[Array, "b r"],
        targets: Targets,
    ) -> tuple[Array, Array]:
        """Sum and weight: each positive region's mean over its pixels, and their number.

        Args:
          logits: of regions.
          boxes: of these.
          matching: their objects; those without (negative) do not count.
          targets: with masks.

        Raises:
          ValueError: targets without masks.
        """
        if targets.masks is None:
            raise ValueError("a mask head needs batches with targets.masks")
        positive = matching >= 0
        size = logits.shape[2:4]
        cropped = [
            crop_masks(masks, box, jnp.maximum(owner, 0), size)
            for masks, box, owner in zip(targets.masks, boxes, matching, strict=True)
        ]
        wanted = jnp.stack(cropped).astype(logits.dtype)
        labels = class_numbers(targets, matching)
        pixels = jnp.broadcast_to(positive[..., None, None], wanted.shape)
        if self.activation == "softmax":
            inside = jnp.where(wanted >= 0.5, labels[..., None, None], 0)
            loss = losses.cross_entropy(logits, inside, mask=pixels)
        else:
            loss = losses.binary_cross_entropy(self._own(logits, labels), wanted, pixels)
        total = self.weight * loss.mean((2, 3)).sum()
        return total, positive.sum(dtype=logits.dtype)

    def _own(self, logits: Array, labels: Array) -> Array:
        """Each region's logits for its class."""
        if logits.shape[-1] == 1:
            return logits[..., 0]
        labels = jnp.maximum(labels, 0)[:, :, None, None, None]
        return jnp.take_along_axis(logits, labels, 4)[..., 0]


def mask_rcnn_resnet_fpn(
    depth: int,
    num_classes: int = 80,
    norm: Norm = "frozen",
    eps: float = 1e-5,
    dtype: str = "float32",
) -> FasterRCNN:
    """With a feature pyramid, as in torchvision; see `faster_rcnn_resnet_fpn`."""
    model = faster_rcnn_resnet_fpn(depth, num_classes, norm, eps, dtype)
    return dataclasses.replace(model, mask=MaskHead(dtype=dtype))


def MaskRCNNResNet50FPN(
    num_classes: int = 80, norm: Norm = "frozen", eps: float = 1e-5, dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-50; see `mask_rcnn_resnet_fpn`."""
    return mask_rcnn_resnet_fpn(50, num_classes, norm, eps, dtype)


def MaskRCNNResNet101FPN(
    num_classes: int = 80, norm: Norm = "frozen", eps: float = 1e-5, dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-101; see `mask_rcnn_resnet_fpn`."""
    return mask_rcnn_resnet_fpn(101, num_classes, norm, eps, dtype)


def mask_rcnn_resnet_c4(
    depth: int,
    num_classes: int = 80,
    version: Version = "v1",
    norm: Norm = "frozen",
    dtype: str = "float32",
) -> FasterRCNN:
    """On conv4_x; conv5_x of a region leads to its class and its mask (figure 4, left).

    As in detectron2; see `faster_rcnn_resnet_c4`.
    """
    model = faster_rcnn_resnet_c4(depth, num_classes, version, norm, dtype)
    return dataclasses.replace(model, mask=MaskHead(None, (), 256, dtype=dtype))


def MaskRCNNResNet50C4(
    num_classes: int = 80, version: Version = "v1", norm: Norm = "frozen", dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-50; see `mask_rcnn_resnet_c4`."""
    return mask_rcnn_resnet_c4(50, num_classes, version, norm, dtype)
