"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497), and what is built on it.

`FasterRCNN` is the paper's network of two stages, whatever backbone and heads it is given. With a
`mask` head it is Mask R-CNN, with a `keypoint` head Keypoint R-CNN (He et al. 2017,
arXiv:1703.06870). The functions below make the published combinations.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.config import UserError, suggest
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet, Version
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.box_head import BoxHead
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.fpn import FPN, OneMap
from vision_jax.models.detectors.region_pool import Levels, RegionPool, ResNetStage
from vision_jax.models.detectors.roi_heads import run_on_positives
from vision_jax.models.detectors.rpn import RPN, LevelAnchors, Proposals
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers, variant
from vision_jax.ops.assign import IGNORED
from vision_jax.structs import Detections, Targets, Terms

FROZEN = Layers(norm="frozen")  # detectors start from classifiers, whose statistics they keep
TERMS = ("rpn_class", "rpn_box", "roi_class", "roi_box", "mask", "keypoint")


class FasterRCNN(DetectorModule):
    """A detector of two stages: regions are proposed, then classified and refined.

    Fields:
      backbone: finds feature maps.
      num_classes: without background.
      pyramid: the levels that both stages read: `FPN`, or `OneMap` of the backbone's.
      rpn: the first stage.
      head: the second stage.
      mask, keypoint: heads for masks and keypoints of the second stage's detections.
      rpn_backbone: the first stage's own, where features are not shared; None: shared.
      rpn_pyramid: of `rpn_backbone`; None: `pyramid` serves both.
      losses: the terms that are trained on, of `TERMS`. With the alternating schedule (section 3.2)
        a stage of training has the RPN's two or the others, with a shared or an own `rpn_backbone`.
      positives_first: region counts to compile for: a training step runs the mask and keypoint
        heads on the smallest count that covers all positives; () disables this.
    """

    backbone: nn.Module
    num_classes: int = 80
    pyramid: nn.Module = FPN()
    rpn: RPN = RPN()
    head: BoxHead = BoxHead()
    mask: nn.Module | None = None
    keypoint: nn.Module | None = None
    rpn_backbone: nn.Module | None = None
    rpn_pyramid: nn.Module | None = None
    losses: tuple[str, ...] = TERMS
    positives_first: tuple[int, ...] = (16, 32, 64)

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Finds features, proposals and detections; with boxes in `targets` also what a loss needs.

        See `structs.Detector` for the arguments. Detections are made without batch statistics and
        dropout in training too.

        Returns:
          pyramid: the maps that the second stage reads, from fine to coarse.
          anchors, rpn_class_logits, rpn_box_deltas, proposals, proposal_scores, proposal_valid:
            see `RPN.outputs`.
          features, class_logits, box_deltas: of the proposals, see `BoxHead`.
          detections: `Detections`; mask_logits, keypoint_logits: of these, see the heads.
          rpn_sampled_idxs, rpn_matched_idxs: the anchors drawn for the loss, see `RPN.sample`.
          rois, roi_matched_idxs, roi_class_logits, roi_box_deltas, roi_mask_logits,
            roi_keypoint_logits: the regions drawn for the loss and the heads' answers for them; of
            masks and keypoints zeros beyond the last positive region, see `run_on_positives`.
        """
        levels = self.pyramid(self.backbone(images, train=train, keys=keys), train=train)
        rpn_levels = levels
        if self.rpn_backbone is not None:
            rpn_levels = self.rpn_levels(images, train=train, keys=keys)
        anchors = self._level_anchors(images.shape[1:3], rpn_levels)
        outputs = {"pyramid": levels, **self.rpn.outputs(rpn_levels, anchors, sizes)}
        outputs |= self._detections(levels, outputs, sizes, max(images.shape[1:3]))
        if targets is None or targets.boxes is None:
            return outputs
        outputs |= self.rpn.sample(outputs["anchors"], targets, sizes, keys)
        logits, deltas = outputs["rpn_class_logits"], outputs["rpn_box_deltas"]
        proposals = self.rpn.propose(logits, deltas, anchors, sizes, train=True)
        return outputs | self._sampled_regions(levels, proposals, targets, train, keys)

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns sums and weights of the terms in `losses` that the network has.

        Raises:
          UserError: a name in `losses` that is none of `TERMS`.
        """
        for name in self.losses:
            if name not in TERMS:
                raise UserError(f"losses: no term {name!r}{suggest(name, TERMS)}")
        terms = self.rpn.loss(outputs, targets, valid) | self.head.loss(outputs, targets, valid)
        rois, matched_idxs = self.head.positives(outputs)
        matched_idxs = jnp.where(valid[:, None], matched_idxs, IGNORED)
        for name, head in self._region_heads():
            terms[name] = head.loss(outputs[f"roi_{name}_logits"], rois, matched_idxs, targets)
        return {name: term for name, term in terms.items() if name in self.losses}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the detections, in pixels of the network's input."""
        return outputs["detections"]

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the RPN's anchors on an image of these sides, xyxy in pixels."""
        images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        levels = jax.eval_shape(
            lambda x: self.init_with_output(jax.random.key(0), x, method="rpn_levels")[0], images
        )
        return jnp.concatenate(self._level_anchors((height, width), levels))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns each anchor's object, or background or ignored, as `ops.assign` numbers them."""
        sizes = jnp.array([[height, width]], jnp.float32)
        sizes = jnp.broadcast_to(sizes, (targets.valid.shape[0], 2))
        return self.rpn.matches(self.anchors(height, width), targets, sizes)

    def rpn_levels(
        self, images: Images, *, train: bool = False, keys: Keys = None
    ) -> tuple[Float[Array, "b _ _ d"], ...]:
        """Computes the maps that the first stage reads, from its own backbone if it has one."""
        backbone, pyramid = self._rpn_parts()
        return pyramid(backbone(images, train=train, keys=keys), train=train)

    def _rpn_parts(self) -> tuple[nn.Module, nn.Module]:
        if self.rpn_backbone is None:
            return self.backbone, self.pyramid
        pyramid = self.pyramid if self.rpn_pyramid is None else self.rpn_pyramid
        return self.rpn_backbone, pyramid

    def _level_anchors(self, image_size: tuple[int, int], levels: Sequence[Any]) -> LevelAnchors:
        backbone, pyramid = self._rpn_parts()
        grids = [level.shape[1:3] for level in levels]
        return self.rpn.anchors(image_size, grids, pyramid.strides(backbone))

    def _region_heads(self) -> list[tuple[str, nn.Module]]:
        heads = (("mask", self.mask), ("keypoint", self.keypoint))
        return [(name, head) for name, head in heads if head is not None]

    def _detections(
        self, levels: Levels, outputs: Outputs, sizes: Sizes, longest_side: int
    ) -> Outputs:
        """Runs the second stage on the proposals, and the other heads on its detections."""
        strides = self.pyramid.strides(self.backbone)
        proposals = Proposals.of(outputs)
        regions = self.head.regions(levels, strides, proposals.boxes)
        head_outputs = self.head(regions, self.num_classes)
        detections = self.head.detect(head_outputs, proposals, sizes)
        for name, head in self._region_heads():
            pool = self.head.regions if head.pool is None else head.pool
            logits = head(pool(levels, strides, detections.boxes), self.num_classes)
            detections = head.complete(detections, logits, longest_side)
            head_outputs[f"{name}_logits"] = logits
        return head_outputs | {"detections": detections}

    def _sampled_regions(
        self, levels: Levels, proposals: Proposals, targets: Targets, train: bool, keys: Keys
    ) -> Outputs:
        """Runs all heads on the regions that the loss counts."""
        strides = self.pyramid.strides(self.backbone)
        outputs = self.head.sample(proposals, targets, keys)
        regions = self.head.regions(levels, strides, outputs["rois"], train=train)
        head_outputs = self.head(regions, self.num_classes, train=train, keys=keys)
        outputs |= {f"roi_{name}": value for name, value in head_outputs.items()}
        rois, matched_idxs = self.head.positives(outputs)

        def run(head: nn.Module, inputs: Any, rois: Array) -> Array:
            if head.pool is None:
                return head(inputs[:, : rois.shape[1]], self.num_classes, train=train)
            return head(head.pool(inputs, strides, rois), self.num_classes, train=train)

        for name, head in self._region_heads():
            inputs = regions[:, : rois.shape[1]] if head.pool is None else levels
            outputs[f"roi_{name}_logits"] = run_on_positives(
                head, self.positives_first, inputs, rois, matched_idxs, run
            )
        return outputs


def faster_rcnn_resnet_fpn(
    depth: int, num_classes: int = 80, layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes Faster R-CNN on a feature pyramid (Lin et al. 2017, arXiv:1612.03144), as torchvision.

    Args:
      depth: of the ResNet, a key of `DEPTHS`.
      num_classes: without background.
      layers: of all parts; torchvision's published weights have norm 'frozen' and eps 0.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages, block=block, layers=layers)
    parts = FPN(layers=layers), RPN(layers=layers), BoxHead(layers=layers)
    return FasterRCNN(backbone, num_classes, *parts)


def faster_rcnn_resnet_fpn_v2(
    depth: int, num_classes: int = 80, layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes torchvision's second Faster R-CNN (Li et al. 2021, arXiv:2111.11429, section 2).

    The RPN has two convolutions, the second stage four before its one fully connected layer; these
    four and the pyramid are normalised.

    Args:
      depth: of the ResNet, a key of `DEPTHS`.
      num_classes: without background.
      layers: of all parts.
    """
    model = faster_rcnn_resnet_fpn(depth, num_classes, layers)
    return model.clone(
        pyramid=FPN(normalized=True, layers=layers),
        rpn=RPN(depth=2, layers=layers),
        head=BoxHead(convs=(256,) * 4, hidden=(1024,), layers=layers),
    )


def faster_rcnn_resnet_c4(
    depth: int, num_classes: int = 80, version: Version = "v1", layers: Layers = FROZEN
) -> FasterRCNN:
    """Makes Faster R-CNN on conv4_x, with conv5_x on every region, as in detectron2.

    He et al. 2015, arXiv:1512.03385, appendix A.

    Args:
      depth: of the ResNet, a key of `DEPTHS` with bottlenecks.
      num_classes: without background.
      version: where bottlenecks stride; detectron2's weights have 'v1'.
      layers: of all parts.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages[:3], block, version=version, layers=layers)
    rpn = RPN(
        anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),),
        anchor_rounding="exact",
        anchor_stride="level",
        train_pre_nms_top_n=12000,
        pre_nms_top_n=6000,
        beta=0.0,
        layers=layers,
    )
    head = BoxHead(
        pool=RegionPool(size=14, sampling_ratio=0, aligned=True),
        body=ResNetStage(stages[3], version=version, layers=layers),
        hidden=(),
        beta=0.0,
        layers=layers,
    )
    return FasterRCNN(backbone, num_classes, OneMap("conv4_x"), rpn, head)


def FasterRCNNVGG16(
    num_classes: int = 20, shared: bool = True, layers: Layers = NO_NORM
) -> FasterRCNN:
    """Makes the paper's network, as its authors released it.

    Nine anchors a cell, lambda 10 over the number of cells, no anchors across the border in
    training, 2000 and 300 proposals, RoIPool 7x7, and the classifier's fc6 and fc7. The weights of
    `VGG16` fit backbone and head.

    Args:
      num_classes: without background.
      shared: whether both stages read the same backbone; the first two of the alternating
        schedule's four stages have one each.
      layers: of all parts.
    """
    backbone = VGG(keep=("conv5_3",), layers=layers)
    rpn_backbone = None if shared else VGG(keep=("conv5_3",), layers=layers)
    rpn = RPN(
        anchor_sizes=((128.0, 256.0, 512.0),),
        anchor_rounding="original",
        anchor_stride="level",
        width=512,
        allow_cross_boundary=False,
        train_pre_nms_top_n=12000,
        pre_nms_top_n=6000,
        post_nms_top_n=300,
        min_size=16.0,
        box_loss_weight=10.0,
        box_loss_normalizer="locations",
        layers=layers,
    )
    head = vgg_head(batch_size_per_image=128, layers=layers)
    return FasterRCNN(
        backbone, num_classes, OneMap("conv5_3"), rpn, head, rpn_backbone=rpn_backbone
    )


def vgg_head(
    batch_size_per_image: int, min_negative_iou: float = 0.0, layers: Layers = NO_NORM
) -> BoxHead:
    """Makes the second stage on VGG-16 (Girshick 2015, section 2): RoIPool, fc6, fc7, smooth L1."""
    return BoxHead(
        pool=RegionPool("max"),
        hidden=(4096, 4096),
        dropout=0.5,
        batch_size_per_image=batch_size_per_image,
        min_negative_iou=min_negative_iou,
        beta=1.0,
        nms_threshold=0.3,
        layers=layers,
    )


FasterRCNNResNet50FPN = variant(
    "FasterRCNNResNet50FPN",
    faster_rcnn_resnet_fpn,
    "Makes Faster R-CNN on ResNet-50 with a feature pyramid; see `faster_rcnn_resnet_fpn`.",
    depth=50,
)
FasterRCNNResNet50FPNV2 = variant(
    "FasterRCNNResNet50FPNV2",
    faster_rcnn_resnet_fpn_v2,
    "Makes torchvision's second Faster R-CNN on ResNet-50; see `faster_rcnn_resnet_fpn_v2`.",
    depth=50,
)
FasterRCNNResNet101FPN = variant(
    "FasterRCNNResNet101FPN",
    faster_rcnn_resnet_fpn,
    "Makes Faster R-CNN on ResNet-101 with a feature pyramid; see `faster_rcnn_resnet_fpn`.",
    depth=101,
)
FasterRCNNResNet50C4 = variant(
    "FasterRCNNResNet50C4",
    faster_rcnn_resnet_c4,
    "Makes Faster R-CNN on ResNet-50's conv4_x; see `faster_rcnn_resnet_c4`.",
    depth=50,
)
FasterRCNNResNet101C4 = variant(
    "FasterRCNNResNet101C4",
    faster_rcnn_resnet_c4,
    "Makes Faster R-CNN on ResNet-101's conv4_x; see `faster_rcnn_resnet_c4`.",
    depth=101,
)
