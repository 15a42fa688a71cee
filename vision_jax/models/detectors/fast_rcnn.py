"""Fast R-CNN (Girshick 2015, arXiv:1504.08083): Faster R-CNN's second stage on given proposals."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.faster_rcnn import OneMap, vgg_head
from vision_jax.models.detectors.roi_heads import BoxHead
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.structs import Detections, Targets


class FastRCNN(nn.Module):
    """Regions that were proposed beforehand, classified and refined.

    Fields: as of `FasterRCNN`, which has them from the same parts.
    """

    backbone: nn.Module
    num_classes: int = 20
    pyramid: nn.Module = OneMap("conv5_3")
    head: BoxHead = BoxHead()

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        sizes: Float[Array, "b 2"],
        targets: Targets | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> dict[str, Any]:
        """Features, classes of the proposals, detections; with boxes also what a loss needs.

        Args:
          image, sizes, keys, train: as of `FasterRCNN`.
          targets: with `proposals` and `proposal_valid`; without them the whole image is the only
            proposal. With boxes where a loss is wanted.

        Returns:
          What `FasterRCNN` returns, but for what concerns the first stage, masks and keypoints.
        """
        levels = self.pyramid(self.backbone(image, train, keys))
        strides = self.pyramid.strides(self.backbone)
        proposals = _given(targets, sizes)
        outputs = {
            "pyramid": levels,
            "proposals": proposals.boxes,
            "proposal_scores": proposals.scores,
            "proposal_valid": proposals.valid,
        }
        regions = self.head.regions(levels, strides, proposals.boxes)
        outputs |= self.head(regions, self.num_classes)
        outputs["detections"] = self.head.detect(outputs, proposals, sizes)
        if targets is None or targets.boxes is None:
            return outputs
        outputs |= self.head.sample(proposals, targets, keys)
        regions = self.head.regions(levels, strides, outputs["rois"], train)
        found = self.head(regions, self.num_classes, train, keys)
        return outputs | {f"roi_{name}": value for name, value in found.items()}

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """Sums and weights of `roi_class` and `roi_box`."""
        return self.head.loss(outputs, targets, valid)

    def detect(self, outputs: dict[str, Any]) -> Detections:
        """What was found, in pixels of the network's input."""
        return outputs["detections"]


def FastRCNNVGG16(num_classes: int = 20, dtype: str = "float32") -> FastRCNN:
    """The paper's: two images of 64 regions each, background from overlaps of 0.1 to 0.5."""
    backbone = VGG(keep=("conv5_3",), dtype=dtype)
    head = vgg_head(samples=64, least_iou=0.1, dtype=dtype)
    return FastRCNN(backbone, num_classes, OneMap("conv5_3"), head)


def _given(targets: Targets | None, sizes: Float[Array, "b 2"]) -> Proposals:
    if targets is None or targets.proposals is None:
        height, width = sizes[:, 0], sizes[:, 1]
        nothing = jnp.zeros_like(height)
        boxes = jnp.stack([nothing, nothing, width, height], -1)[:, None]
        valid = jnp.ones(boxes.shape[:2], bool)
    else:
        boxes, valid = jnp.asarray(targets.proposals), jnp.asarray(targets.proposal_valid)
    return Proposals(boxes, valid.astype(boxes.dtype), valid)
