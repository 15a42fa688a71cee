"""Faster R-CNN's first stage as a network of its own (Ren et al. 2015, arXiv:1506.01497).

It finds objects of no class: a detector for recall curves, and the first of the alternating
schedule's stages.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.rpn import RPN
from vision_jax.structs import Detections, Targets


class ProposalNetwork(nn.Module):
    """Proposals as detections of one class.

    Fields: as of `FasterRCNN`, whose first stage has the same parameters.
    """

    backbone: nn.Module
    pyramid: nn.Module = FPN()
    rpn: RPN = RPN()

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        sizes: Float[Array, "b 2"],
        targets: Targets | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> dict[str, Any]:
        """Features and proposals; with targets also the anchors drawn for the loss.

        Args: as of `FasterRCNN`; labels are not looked at.
        Returns: the entries of `FasterRCNN` that concern the first stage.
        """
        levels = self.pyramid(self.backbone(image, train, keys))
        strides = self.pyramid.strides(self.backbone)
        logits, deltas = self.rpn(levels)
        anchors = self.rpn.anchors(image.shape[1:3], [x.shape[1:3] for x in levels], strides)
        proposals = self.rpn.propose(logits, deltas, anchors, sizes)
        outputs = {
            "pyramid": levels,
            "anchors": jnp.concatenate(anchors),
            "rpn_logits": logits,
            "rpn_deltas": deltas,
            "proposals": proposals.boxes,
            "proposal_scores": proposals.scores,
            "proposal_valid": proposals.valid,
        }
        if targets is not None and targets.boxes is not None:
            outputs |= self.rpn.sample(outputs["anchors"], targets, sizes, keys)
        return outputs

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """Sums and weights of `rpn_class` and `rpn_box`."""
        return self.rpn.loss(outputs, targets, valid)

    def detect(self, outputs: dict[str, Any]) -> Detections:
        """The proposals, all labelled 0, in pixels of the network's input."""
        valid = outputs["proposal_valid"]
        labels = jnp.where(valid, 0, -1).astype(jnp.int32)
        return Detections(outputs["proposals"], outputs["proposal_scores"], labels, valid)
