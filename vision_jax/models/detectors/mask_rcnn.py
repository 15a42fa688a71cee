"""Mask R-CNN (He et al. 2017, arXiv:1703.06870): a mask head beside Faster R-CNN's second stage.

Parameters: `mask_fcn1` … (3x3, with `conv` and `norm` where normalised), `conv5_mask` (2x2
transposed), `mask_fcn_logits` (1x1).
Initialisation: He normal over fan-out, zero biases, as the authors' code.
"""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array

from vision_jax.models.classifiers.resnet import Version
from vision_jax.models.detectors.faster_rcnn import (
    FROZEN,
    FasterRCNN,
    faster_rcnn_resnet_c4,
    faster_rcnn_resnet_fpn,
    faster_rcnn_resnet_fpn_v2,
)
from vision_jax.models.detectors.matching import class_targets
from vision_jax.models.detectors.region_pool import RegionPool
from vision_jax.models.detectors.roi_heads import (
    Boxes,
    MatchedIdxs,
    RegionLogits,
    RegionMaps,
    conv_stack,
)
from vision_jax.models.layers import Conv, ConvTranspose, Layers, at_least_float32, variant
from vision_jax.ops import losses
from vision_jax.ops.masks import crop_masks
from vision_jax.structs import Detections, Targets


class MaskHead(nn.Module):
    """A small fully convolutional network on every region (figure 4).

    Fields:
      pool: how regions are pooled; None: the head reads the maps of the second stage's body
        (figure 4, left). Masks are twice the size of the maps.
      widths: channels of the 3x3 convolutions.
      upsampled: channels of the transposed convolution; None: the last of `widths`.
      activation: 'sigmoid', each class's mask by itself (the paper); 'softmax', classes and
        background compete for every pixel (table 2b).
      class_specific: a mask for every class, or (False, with 'sigmoid') one for all.
      loss_weight: factor of the loss.
      normalized: the 3x3 convolutions have the norm of `layers` in place of biases; batch
        statistics count regions without an object, too.
      layers: settings.
    """

    pool: RegionPool | None = RegionPool(size=14, levels=4)
    widths: tuple[int, ...] = (256, 256, 256, 256)
    upsampled: int | None = None
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    class_specific: bool = True
    loss_weight: float = 1.0
    normalized: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: RegionMaps, num_classes: int, *, train: bool = False) -> RegionLogits:
        """Finds mask logits within each region: num_classes + 1, background first, or one."""
        images, regions = x.shape[:2]
        norm = {"normalized": self.normalized, "train": train}
        x = conv_stack(x, self.widths, "mask_fcn", self.layers, **norm)
        width = self.widths[-1] if self.upsampled is None else self.upsampled
        x = nn.relu(ConvTranspose(width, 2, 2, layers=self.layers, name="conv5_mask")(x))
        rows = num_classes + 1 if self.class_specific else 1
        x = Conv(rows, 1, layers=self.layers, name="mask_fcn_logits")(x)
        return at_least_float32(x).reshape(images, regions, *x.shape[1:])

    def complete(
        self, detections: Detections, logits: RegionLogits, longest_side: int
    ) -> Detections:
        """Adds `masks`: probabilities of the detections' classes within their boxes.

        Args:
          detections: with boxes.
          logits: of their boxes.
          longest_side: as for the other heads; masks are of one size.
        """
        class_logits = self._of_class(logits, detections.labels + 1)
        if self.activation == "softmax":
            masks = jnp.exp(class_logits - nn.logsumexp(logits, -1))
        else:
            masks = nn.sigmoid(class_logits)
        return detections.replace(masks=masks)

    def loss(
        self, logits: RegionLogits, boxes: Boxes, matched_idxs: MatchedIdxs, targets: Targets
    ) -> tuple[Array, Array]:
        """Returns sum and weight: each positive region's mean over its pixels, and their number.

        Args:
          logits: of regions.
          boxes: of these.
          matched_idxs: their objects; those without (negative) do not count.
          targets: with masks.

        Raises:
          ValueError: targets without masks.
        """
        if targets.masks is None:
            raise ValueError("a mask head needs batches with targets.masks")
        positive, size = matched_idxs >= 0, logits.shape[2:4]
        per_image = zip(targets.masks, boxes, jnp.maximum(matched_idxs, 0), strict=True)
        mask_targets = jnp.stack([crop_masks(*image, size) for image in per_image])
        mask_targets = mask_targets.astype(logits.dtype)
        labels = class_targets(targets, matched_idxs)
        pixel_mask = jnp.broadcast_to(positive[..., None, None], mask_targets.shape)
        if self.activation == "softmax":
            pixel_targets = jnp.where(mask_targets >= 0.5, labels[..., None, None], 0)
            pixel_loss = losses.cross_entropy(logits, pixel_targets, mask=pixel_mask)
        else:
            class_logits = self._of_class(logits, labels)
            pixel_loss = losses.binary_cross_entropy(class_logits, mask_targets, pixel_mask)
        mask_loss = self.loss_weight * pixel_loss.mean((2, 3)).sum()
        return mask_loss, positive.sum(dtype=logits.dtype)

    def _of_class(self, logits: Array, labels: Array) -> Array:
        """Returns each region's logits for its class."""
        if logits.shape[-1] == 1:
            return logits[..., 0]
        labels = jnp.maximum(labels, 0)[:, :, None, None, None]
        return jnp.take_along_axis(logits, labels, 4)[..., 0]


def mask_rcnn_resnet_fpn(depth: int, num_classes: int = 80, layers: Layers = FROZEN) -> FasterRCNN:
    """Makes Mask R-CNN on a feature pyramid, as torchvision; see `faster_rcnn_resnet_fpn`."""
    model = faster_rcnn_resnet_fpn(depth, num_classes, layers)
    return dataclasses.replace(model, mask=MaskHead(layers=layers))


def mask_rcnn_resnet_fpn_v2(
    depth: int, num_classes: int = 80, layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes torchvision's second Mask R-CNN, whose head's convolutions are normalised.

    Its other parts are those of `faster_rcnn_resnet_fpn_v2`.
    """
    model = faster_rcnn_resnet_fpn_v2(depth, num_classes, layers)
    return dataclasses.replace(model, mask=MaskHead(normalized=True, layers=layers))


def mask_rcnn_resnet_c4(
    depth: int, num_classes: int = 80, version: Version = "v1", layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes Mask R-CNN on conv4_x; conv5_x of a region leads to its class and its mask.

    Figure 4, left, as in detectron2; see `faster_rcnn_resnet_c4`.
    """
    model = faster_rcnn_resnet_c4(depth, num_classes, version, layers)
    return dataclasses.replace(model, mask=MaskHead(None, (), 256, layers=layers))


MaskRCNNResNet50FPN = variant(
    "MaskRCNNResNet50FPN",
    mask_rcnn_resnet_fpn,
    "Makes Mask R-CNN on ResNet-50 with a feature pyramid; see `mask_rcnn_resnet_fpn`.",
    depth=50,
)
MaskRCNNResNet50FPNV2 = variant(
    "MaskRCNNResNet50FPNV2",
    mask_rcnn_resnet_fpn_v2,
    "Makes torchvision's second Mask R-CNN on ResNet-50; see `mask_rcnn_resnet_fpn_v2`.",
    depth=50,
)
MaskRCNNResNet101FPN = variant(
    "MaskRCNNResNet101FPN",
    mask_rcnn_resnet_fpn,
    "Makes Mask R-CNN on ResNet-101 with a feature pyramid; see `mask_rcnn_resnet_fpn`.",
    depth=101,
)
MaskRCNNResNet50C4 = variant(
    "MaskRCNNResNet50C4",
    mask_rcnn_resnet_c4,
    "Makes Mask R-CNN on ResNet-50's conv4_x; see `mask_rcnn_resnet_c4`.",
    depth=50,
)
