"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497), and what is built on it.

`FasterRCNN` is the paper's network of two stages, whatever backbone and heads it is given. With a
`mask` head it is Mask R-CNN, with a `keypoint` head Keypoint R-CNN (He et al. 2017,
arXiv:1703.06870). The functions below make the published combinations.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.config import UserError, suggest
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet, Version
from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.roi_heads import BoxHead, RegionPool, ResNetStage, leading
from vision_jax.models.detectors.rpn import RPN
from vision_jax.models.layers.blocks import Norm
from vision_jax.ops.assign import IGNORED
from vision_jax.structs import Detections, Targets

TERMS = ("rpn_class", "rpn_box", "roi_class", "roi_box", "mask", "keypoint")


class OneMap(nn.Module):
    """In place of a pyramid, one of the backbone's maps."""

    endpoint: str = "conv4_x"

    def __call__(self, endpoints: dict[str, Array]) -> tuple[Float[Array, "b _ _ c"], ...]:
        return (endpoints[self.endpoint],)

    def strides(self, backbone: nn.Module) -> tuple[int, ...]:
        """Input pixels per pixel of the map."""
        return (backbone.strides[self.endpoint],)


class FasterRCNN(nn.Module):
    """Proposals, and what they are, in one network.

    Fields:
      backbone: finds feature maps.
      num_classes: without background.
      pyramid: the levels that both stages read: `FPN`, or `OneMap` of the backbone's.
      rpn: the first stage.
      head: the second stage.
      mask, keypoint: heads for masks and keypoints of what the second stage finds.
      rpn_backbone, rpn_pyramid: the first stage's own, where features are not shared; None: shared.
      losses: the terms that are trained on, of `TERMS`. With the alternating schedule (section 3.2)
        a stage of training has the RPN's two or the others, with a shared or an own `rpn_backbone`.
      leading: in training, where all positives are among an image's first so many regions, the
        heads for masks and keypoints run on these alone; (): always on all that may be positive.
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
    leading: tuple[int, ...] = (16, 32, 64)

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        sizes: Float[Array, "b 2"],
        targets: Targets | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> dict[str, Any]:
        """Features, proposals, their classes, detections; with targets also what a loss needs.

        Args:
          image: normalised RGB, padded at the right and the bottom.
          sizes: height and width of each image's content, in pixels.
          targets: with boxes, where a loss is wanted.
          keys: one random key per example, for sampling and dropout.
          train: batch statistics and dropout; detections are made without either.

        Returns:
          pyramid: the maps that the second stage reads, from fine to coarse.
          anchors: (a, 4); rpn_logits: (b, a); rpn_deltas: (b, a, 4).
          proposals: (b, p, 4); proposal_scores, proposal_valid: (b, p).
          features, class_logits, box_deltas: of the proposals, see `BoxHead`.
          detections: `Detections`; mask_logits, keypoint_logits: of these, see the heads.
          rpn_index, rpn_matches: the anchors drawn for the loss, see `RPN.sample`.
          rois, roi_matches, roi_class_logits, roi_box_deltas, roi_mask_logits,
            roi_keypoint_logits: the regions drawn for the loss and what the heads find in them; of
            masks and keypoints zeros beyond the last positive region, see `leading`.
        """
        shape = image.shape[1:3]
        levels = self.pyramid(self.backbone(image, train, keys))
        strides = self.pyramid.strides(self.backbone)
        rpn_levels, rpn_strides = levels, strides
        if self.rpn_backbone is not None:
            own = self.pyramid if self.rpn_pyramid is None else self.rpn_pyramid
            rpn_levels = own(self.rpn_backbone(image, train, keys))
            rpn_strides = own.strides(self.rpn_backbone)
        logits, deltas = self.rpn(rpn_levels)
        anchors = self.rpn.anchors(shape, [x.shape[1:3] for x in rpn_levels], rpn_strides)
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
        outputs |= self.head(self.head.regions(levels, strides, proposals.boxes), self.num_classes)
        found = self.head.detect(outputs, proposals, sizes)
        for name, head in self._further():
            pool = self.head.regions if head.pool is None else head.pool
            regions = pool(levels, strides, found.boxes)
            outputs[f"{name}_logits"] = head(regions, self.num_classes)
            found = head.complete(found, outputs[f"{name}_logits"], max(shape))
        outputs["detections"] = found
        if targets is None or targets.boxes is None:
            return outputs

        outputs |= self.rpn.sample(outputs["anchors"], targets, sizes, keys)
        proposals = self.rpn.propose(logits, deltas, anchors, sizes, train=True)
        outputs |= self.head.sample(proposals, targets, keys)
        shared = self.head.regions(levels, strides, outputs["rois"], train)
        second = self.head(shared, self.num_classes, train, keys)
        outputs |= {f"roi_{name}": value for name, value in second.items()}
        rois, matching = self.head.positives(outputs)
        counts = [n for n in self.leading if n < rois.shape[1]] + [rois.shape[1]]

        def say(head: nn.Module, maps: Any, rois: Array) -> Array:
            if head.pool is None:
                return head(maps[:, : rois.shape[1]], self.num_classes)
            return head(head.pool(maps, strides, rois), self.num_classes)

        for name, head in self._further():
            maps = shared[:, : rois.shape[1]] if head.pool is None else levels
            found = leading(head, counts, maps, rois, matching, say)
            outputs[f"roi_{name}_logits"] = found
        return outputs

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """Sums and weights of the terms in `losses` that the network has.

        Raises:
          UserError: a name in `losses` that is none of `TERMS`.
        """
        for name in self.losses:
            if name not in TERMS:
                raise UserError(f"losses: no term {name!r}{suggest(name, TERMS)}")
        terms = self.rpn.loss(outputs, targets, valid) | self.head.loss(outputs, targets, valid)
        boxes, matching = self.head.positives(outputs)
        matching = jnp.where(valid[:, None], matching, IGNORED)
        for name, head in self._further():
            terms[name] = head.loss(outputs[f"roi_{name}_logits"], boxes, matching, targets)
        return {name: term for name, term in terms.items() if name in self.losses}

    def detect(self, outputs: dict[str, Any]) -> Detections:
        """What was found, in pixels of the network's input."""
        return outputs["detections"]

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """The RPN's anchors on an image of these sides, in pixels."""
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        levels = jax.eval_shape(
            lambda x: self.init_with_output(jax.random.key(0), x, method="rpn_levels")[0], image
        )
        backbone = self.backbone if self.rpn_backbone is None else self.rpn_backbone
        pyramid = self.pyramid if self.rpn_pyramid is None else self.rpn_pyramid
        grids = [x.shape[1:3] for x in levels]
        return jnp.concatenate(self.rpn.anchors((height, width), grids, pyramid.strides(backbone)))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Each anchor's object, background or to be ignored, as `ops.assign` numbers them."""
        sizes = jnp.array([[height, width]], jnp.float32)
        sizes = jnp.broadcast_to(sizes, (targets.valid.shape[0], 2))
        return self.rpn.matches(self.anchors(height, width), targets, sizes)

    def rpn_levels(self, image: Float[Array, "b h w c"]) -> tuple[Float[Array, "b _ _ d"], ...]:
        """The maps that the first stage reads, in evaluation."""
        backbone = self.backbone if self.rpn_backbone is None else self.rpn_backbone
        pyramid = self.pyramid if self.rpn_pyramid is None else self.rpn_pyramid
        return pyramid(backbone(image))

    def _further(self) -> list[tuple[str, nn.Module]]:
        heads = (("mask", self.mask), ("keypoint", self.keypoint))
        return [(name, head) for name, head in heads if head is not None]


def faster_rcnn_resnet_fpn(
    depth: int,
    num_classes: int = 80,
    norm: Norm = "frozen",
    eps: float = 1e-5,
    dtype: str = "float32",
) -> FasterRCNN:
    """With a feature pyramid (Lin et al. 2017, arXiv:1612.03144), as in torchvision.

    Args:
      depth: of the ResNet, a key of `DEPTHS`.
      num_classes: without background.
      norm, eps: of the backbone; torchvision's published weights have 'frozen' and 0.
      dtype: compute dtype.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages, block=block, norm=norm, eps=eps, dtype=dtype)
    return FasterRCNN(
        backbone, num_classes, FPN(dtype=dtype), RPN(dtype=dtype), BoxHead(dtype=dtype)
    )


def FasterRCNNResNet50FPN(
    num_classes: int = 80, norm: Norm = "frozen", eps: float = 1e-5, dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-50; see `faster_rcnn_resnet_fpn`."""
    return faster_rcnn_resnet_fpn(50, num_classes, norm, eps, dtype)


def FasterRCNNResNet101FPN(
    num_classes: int = 80, norm: Norm = "frozen", eps: float = 1e-5, dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-101; see `faster_rcnn_resnet_fpn`."""
    return faster_rcnn_resnet_fpn(101, num_classes, norm, eps, dtype)


def faster_rcnn_resnet_c4(
    depth: int,
    num_classes: int = 80,
    version: Version = "v1",
    norm: Norm = "frozen",
    dtype: str = "float32",
) -> FasterRCNN:
    """On conv4_x, with conv5_x on every region (He et al. 2015, appendix A), as in detectron2.

    Args:
      depth: of the ResNet, a key of `DEPTHS` with bottlenecks.
      num_classes: without background.
      version: where bottlenecks stride; detectron2's weights have 'v1'.
      norm: of the backbone and of conv5_x.
      dtype: compute dtype.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages[:3], block, version=version, norm=norm, dtype=dtype)
    rpn = RPN(
        sizes=((32.0, 64.0, 128.0, 256.0, 512.0),),
        cell="exact",
        spacing="network",
        train_before_nms=12000,
        before_nms=6000,
        beta=0.0,
        dtype=dtype,
    )
    head = BoxHead(
        pool=RegionPool(size=14, samples=0, aligned=True),
        body=ResNetStage(stages[3], version=version, norm=norm, dtype=dtype),
        hidden=(),
        beta=0.0,
        dtype=dtype,
    )
    return FasterRCNN(backbone, num_classes, OneMap("conv4_x"), rpn, head)


def FasterRCNNResNet50C4(
    num_classes: int = 80, version: Version = "v1", norm: Norm = "frozen", dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-50; see `faster_rcnn_resnet_c4`."""
    return faster_rcnn_resnet_c4(50, num_classes, version, norm, dtype)


def FasterRCNNResNet101C4(
    num_classes: int = 80, version: Version = "v1", norm: Norm = "frozen", dtype: str = "float32"
) -> FasterRCNN:
    """ResNet-101; see `faster_rcnn_resnet_c4`."""
    return faster_rcnn_resnet_c4(101, num_classes, version, norm, dtype)


def FasterRCNNVGG16(
    num_classes: int = 20, shared: bool = True, dtype: str = "float32"
) -> FasterRCNN:
    """The paper's network, as its authors released it.

    Nine anchors a cell, lambda 10 over the number of cells, no anchors across the border in
    training, 2000 and 300 proposals, RoIPool 7x7, and the classifier's fc6 and fc7. The weights of
    `VGG16` fit backbone and head.

    Args:
      num_classes: without background.
      shared: whether both stages read the same backbone; the first two of the alternating schedule's
        four stages have one each.
      dtype: compute dtype.
    """
    backbone = VGG(keep=("conv5_3",), dtype=dtype)
    own = None if shared else VGG(keep=("conv5_3",), dtype=dtype)
    rpn = RPN(
        sizes=((128.0, 256.0, 512.0),),
        cell="original",
        spacing="network",
        width=512,
        cross_boundary=False,
        train_before_nms=12000,
        before_nms=6000,
        after_nms=300,
        least_size=16.0,
        box_weight=10.0,
        per_cell=True,
        dtype=dtype,
    )
    head = vgg_head(samples=128, dtype=dtype)
    return FasterRCNN(backbone, num_classes, OneMap("conv5_3"), rpn, head, rpn_backbone=own)


def vgg_head(samples: int, least_iou: float = 0.0, dtype: str = "float32") -> BoxHead:
    """The second stage on VGG-16 (Girshick 2015, section 2): RoIPool, fc6, fc7, smooth L1."""
    return BoxHead(
        pool=RegionPool("max"),
        hidden=(4096, 4096),
        dropout=0.5,
        samples=samples,
        least_iou=least_iou,
        beta=1.0,
        nms_iou=0.3,
        dtype=dtype,
    )
