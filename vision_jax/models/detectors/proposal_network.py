"""Faster R-CNN's first stage as a network of its own (Ren et al. 2015, arXiv:1506.01497).

It finds objects of no class: a detector for recall curves, and the first of the alternating
schedule's stages.
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn

from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.rpn import RPN, Proposals
from vision_jax.models.layers import Images, Keys
from vision_jax.structs import Detections, Targets, Terms


class ProposalNetwork(DetectorModule):
    """A detector of objects of one class: its detections are the proposals.

    Fields: those of `FasterRCNN`, whose first stage has the same parameters.
    """

    backbone: nn.Module
    pyramid: nn.Module = FPN()
    rpn: RPN = RPN()

    num_classes: ClassVar[int] = 1

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Finds proposals; with boxes in `targets` also draws the anchors for the loss.

        See `structs.Detector` for the arguments; labels are not looked at.

        Returns:
          The outputs of `FasterRCNN` that concern the first stage.
        """
        levels = self.pyramid(self.backbone(images, train=train, keys=keys), train=train)
        grids, strides = [x.shape[1:3] for x in levels], self.pyramid.strides(self.backbone)
        anchors = self.rpn.anchors(images.shape[1:3], grids, strides)
        outputs = {"pyramid": levels, **self.rpn.outputs(levels, anchors, sizes)}
        if targets is not None and targets.boxes is not None:
            outputs |= self.rpn.sample(outputs["anchors"], targets, sizes, keys)
        return outputs

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sums and weights of `rpn_class` and `rpn_box`."""
        return self.rpn.loss(outputs, targets, valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the proposals, all labelled 0, in pixels of the network's input."""
        proposals = Proposals.of(outputs)
        labels = jnp.where(proposals.valid, 0, -1).astype(jnp.int32)
        return Detections(proposals.boxes, proposals.scores, labels, proposals.valid)
