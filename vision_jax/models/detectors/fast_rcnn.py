"""Fast R-CNN (Girshick 2015, arXiv:1504.08083): Faster R-CNN's second stage on given proposals."""

import jax.numpy as jnp
from flax import linen as nn

from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.box_head import BoxHead
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.faster_rcnn import vgg_head
from vision_jax.models.detectors.fpn import OneMap
from vision_jax.models.detectors.rpn import Proposals
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers
from vision_jax.structs import Detections, Targets, Terms


class FastRCNN(DetectorModule):
    """A detector that classifies and refines regions proposed beforehand.

    Fields: those of `FasterRCNN`, which has them from the same parts.
    """

    backbone: nn.Module
    num_classes: int = 20
    pyramid: nn.Module = OneMap("conv5_3")
    head: BoxHead = BoxHead()

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Classifies proposals; with boxes in `targets` also finds what a loss needs.

        See `structs.Detector` for the arguments. Where `targets` hold no `proposals`, the whole
        image is the only one.

        Returns:
          The outputs of `FasterRCNN`, but for those of the first stage, masks and keypoints.
        """
        levels = self.pyramid(self.backbone(images, train=train, keys=keys), train=train)
        strides = self.pyramid.strides(self.backbone)
        proposals = given_proposals(targets, sizes)
        regions = self.head.regions(levels, strides, proposals.boxes)
        head_outputs = self.head(regions, self.num_classes)
        outputs = {"pyramid": levels, **proposals.outputs(), **head_outputs}
        outputs["detections"] = self.head.detect(outputs, proposals, sizes)
        if targets is None or targets.boxes is None:
            return outputs
        outputs |= self.head.sample(proposals, targets, keys)
        regions = self.head.regions(levels, strides, outputs["rois"], train=train)
        head_outputs = self.head(regions, self.num_classes, train=train, keys=keys)
        return outputs | {f"roi_{name}": value for name, value in head_outputs.items()}

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sums and weights of `roi_class` and `roi_box`."""
        return self.head.loss(outputs, targets, valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the detections, in pixels of the network's input."""
        return outputs["detections"]


def FastRCNNVGG16(num_classes: int = 20, layers: Layers = NO_NORM) -> FastRCNN:
    """Makes the paper's: two images of 64 regions each, background from overlaps of 0.1 to 0.5."""
    backbone = VGG(keep=("conv5_3",), layers=layers)
    head = vgg_head(batch_size_per_image=64, min_negative_iou=0.1, layers=layers)
    return FastRCNN(backbone, num_classes, OneMap("conv5_3"), head)


def given_proposals(targets: Targets | None, sizes: Sizes) -> Proposals:
    """Returns the proposals in `targets`, or one as large as the image."""
    if targets is None or targets.proposals is None:
        height, width = sizes[:, 0], sizes[:, 1]
        zero = jnp.zeros_like(height)
        boxes = jnp.stack([zero, zero, width, height], -1)[:, None]
        valid = jnp.ones(boxes.shape[:2], bool)
    else:
        boxes, valid = jnp.asarray(targets.proposals), jnp.asarray(targets.proposal_valid)
    return Proposals(boxes, valid.astype(boxes.dtype), valid)
