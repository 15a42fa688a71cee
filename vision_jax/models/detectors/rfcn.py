"""R-FCN: detection by position-sensitive score maps (Dai et al. 2016, arXiv:1605.06409).

All layers with weights run on the whole image, conv5_x dilated in place of striding. For every
class, background among them, there are k x k maps, each of which scores one of the k x k parts of
an object ("top left of a cat"). A region's score is the mean of its parts', each read from its own
map: nothing is left to compute per region.

Parameters: `score_maps/body/conv5_1` …, `score_maps/reduce`, `score_maps/cls_score`,
`score_maps/bbox_pred` (all 1x1); N(0, 0.01), zero biases.
"""

import functools
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet, Version
from vision_jax.models.detectors.box_head import BoxHead
from vision_jax.models.detectors.detector import Outputs, Sizes
from vision_jax.models.detectors.faster_rcnn import FROZEN, FasterRCNN
from vision_jax.models.detectors.fpn import OneMap
from vision_jax.models.detectors.region_pool import Levels, ResNetStage
from vision_jax.models.detectors.rpn import RPN, Proposals
from vision_jax.models.layers import (
    Conv,
    Keys,
    Layers,
    at_least_float32,
    small_normal,
    variant,
)
from vision_jax.ops.boxes import move_ends
from vision_jax.ops.rfcn import rfcn_pool
from vision_jax.ops.roi_align import ps_roi_align
from vision_jax.ops.roi_pool import ps_roi_pool
from vision_jax.structs import Targets

# The authors': one box serves all classes, and hard examples are mined.
FIRST_STAGE = RPN(
    anchor_sizes=((128.0, 256.0, 512.0),),
    anchor_rounding="original",
    anchor_stride="level",
    width=512,
    outputs_per_anchor=2,
    allow_cross_boundary=False,
    train_pre_nms_top_n=6000,
    train_post_nms_top_n=300,
    pre_nms_top_n=6000,
    post_nms_top_n=300,
    min_size=16.0,
    released_boxes=True,
)
HEAD = BoxHead(
    class_specific=False,
    hard_examples=True,
    batch_size_per_image=128,
    beta=1.0,
    nms_threshold=0.3,
    released_boxes=True,
)


class ScoreMaps(nn.Module):
    """The layers behind the backbone, and what they say of regions.

    Fields:
      body: conv5_x, on the whole map; None leaves it out.
      width: channels of the 1x1 convolution that reduces its channels (section 2.2).
      bins: k, parts of a region down and across.
      rule: how parts are laid over cells: 'released' by the authors (`ops.rfcn.rfcn_pool`), or
        torchvision's 'pool' and 'align'.
      use_bias: of the 1x1 convolutions.
      layers: settings.
    """

    body: nn.Module | None = ResNetStage(stride=1, dilations=(2, 2, 2), version="v1")
    width: int = 1024
    bins: int = 7
    rule: Literal["released", "pool", "align"] = "released"
    use_bias: bool = True
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        boxes: Float[Array, "b r 4"],
        stride: int,
        num_classes: int,
        *,
        train: bool = False,
    ) -> dict[str, Array]:
        """Scores regions and refines their boxes.

        Args:
          x: the backbone's map.
          boxes: the regions, xyxy in pixels; they get no gradient.
          stride: input pixels per cell of the map.
          num_classes: without background.
          train: for the body's norms.

        Returns:
          score_maps: (b, h, w, (num_classes + 1) k²), background first, of each class k² in a row.
          box_maps: (b, h, w, 4 k²), likewise of the offsets.
          part_scores: (b, r, k, k, num_classes + 1), the parts' votes.
          class_logits: (b, r, num_classes + 1), their means.
          box_deltas: (b, r, 1, 4), likewise.
        """
        if self.body is not None:
            x = self.body(x, train=train)
        conv = functools.partial(
            Conv, use_bias=self.use_bias, kernel_init=small_normal, layers=self.layers
        )
        x = nn.relu(conv(self.width, name="reduce")(x))
        parts = self.bins**2
        score_maps = at_least_float32(conv((num_classes + 1) * parts, name="cls_score")(x))
        box_maps = at_least_float32(conv(4 * parts, name="bbox_pred")(x))
        # One pooling of all: its cost is that of finding the cells.
        maps = jnp.concatenate([score_maps, box_maps], -1)
        votes = self._pool(maps, boxes, 1 / stride)
        part_scores, offsets = jnp.split(votes, [num_classes + 1], -1)
        return {
            "score_maps": score_maps,
            "box_maps": box_maps,
            "part_scores": part_scores,
            "class_logits": part_scores.mean((2, 3)),
            "box_deltas": offsets.mean((2, 3))[:, :, None],
        }

    def _pool(self, maps: Array, boxes: Array, scale: float) -> Array:
        if self.rule == "released":  # whose boxes end with their last pixel
            return rfcn_pool(maps, move_ends(boxes, -1), self.bins, scale)
        pool = {"pool": ps_roi_pool, "align": ps_roi_align}[self.rule]
        return pool(maps, boxes, self.bins, scale)


class RFCN(FasterRCNN):
    """R-FCN: an RPN, and a second stage that only pools and votes.

    Fields are those of `FasterRCNN`, and
      score_maps: what the second stage reads. Of `head` it is the fields of sampling, losses and
        detections that count: those of layers and pooling go unread.
    """

    num_classes: int = 20
    pyramid: nn.Module = OneMap("conv4_x")
    rpn: RPN = FIRST_STAGE
    head: BoxHead = HEAD
    score_maps: ScoreMaps = ScoreMaps()

    def _detections(
        self, levels: Levels, outputs: Outputs, sizes: Sizes, longest_side: int
    ) -> Outputs:
        """Lets parts vote on the proposals.

        Raises:
          UserError: there are heads for masks or keypoints, or heads with a box per class.
        """
        if self._region_heads() or self.head.class_specific:
            raise UserError(
                "R-FCN has no mask and no keypoint head, and one box for all classes: give "
                "mask=None, keypoint=None, head.class_specific=False"
            )
        proposals = Proposals.of(outputs)
        found = self._votes(levels, proposals.boxes)
        return found | {"detections": self.head.detect(found, proposals, sizes)}

    def _sampled_regions(
        self, levels: Levels, proposals: Proposals, targets: Targets, train: bool, keys: Keys
    ) -> Outputs:
        """Lets parts vote on the regions that the loss counts."""
        outputs = self.head.sample(proposals, targets, keys)
        found = self._votes(levels, outputs["rois"], train)
        return outputs | {f"roi_{name}": value for name, value in found.items()}

    def _votes(self, levels: Levels, boxes: Array, train: bool = False) -> dict[str, Array]:
        stride = self.pyramid.strides(self.backbone)[0]
        return self.score_maps(levels[0], boxes, stride, self.num_classes, train=train)


def rfcn_resnet(
    depth: int, num_classes: int = 20, version: Version = "v1", layers: Layers = FROZEN
) -> RFCN:
    """Makes R-FCN on a ResNet as its authors released it.

    Nine anchors a cell of conv4_x, 300 proposals in training and testing, 7x7 parts, conv5_x
    dilated from its first block on, and the 128 hardest of all proposals in the loss.

    Args:
      depth: of the ResNet, a key of `DEPTHS` with bottlenecks.
      num_classes: without background.
      version: where bottlenecks stride; torchvision's classifiers have 'v1.5'.
      layers: of all parts.
    """
    stages, block = DEPTHS[depth]
    body = ResNetStage(stages[3], stride=1, dilations=(2,) * stages[3], version=version)
    return RFCN(
        ResNet(stages[:3], block, version=version, layers=layers),
        num_classes,
        rpn=FIRST_STAGE.clone(layers=layers),
        head=HEAD.clone(layers=layers),
        score_maps=ScoreMaps(body.clone(layers=layers), layers=layers),
    )


RFCNResNet50 = variant(
    "RFCNResNet50", rfcn_resnet, "Makes R-FCN on ResNet-50; see `rfcn_resnet`.", depth=50
)
RFCNResNet101 = variant(
    "RFCNResNet101", rfcn_resnet, "Makes R-FCN on ResNet-101; see `rfcn_resnet`.", depth=101
)
