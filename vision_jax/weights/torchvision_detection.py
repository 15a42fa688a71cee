"""torchvision's names of Faster, Mask and Keypoint R-CNN with a feature pyramid."""

import dataclasses
from collections.abc import Iterator

from flax import linen as nn

from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.detectors.fast_rcnn import FastRCNN
from vision_jax.models.detectors.faster_rcnn import FasterRCNN
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.detectors.keypoint_rcnn import KeypointHead
from vision_jax.models.detectors.mask_rcnn import MaskHead
from vision_jax.models.detectors.region_pool import ResNetStage
from vision_jax.models.detectors.rfcn import RFCN
from vision_jax.weights.engine import Pick, Row
from vision_jax.weights.shared_rows import BATCH_NORMS, conv_norm, is_plain_resnet
from vision_jax.weights.torchvision import classifier_of
from vision_jax.weights.torchvision_retinanet import COCO_NUMBERS, LABELS, resnet_fpn


def rcnn(model: FasterRCNN, old: bool = False) -> Iterator[Row]:
    """Yields the layers of faster_rcnn.py, mask_rcnn.py and keypoint_rcnn.py.

    A file with 91 labels gives background and the 80 classes of COCO to a network of 80.

    Args:
      model: the network.
      old: names as files had them before torchvision 0.12, the published ones among them.
    """
    yield from resnet_fpn(model.backbone, model.pyramid, old)
    for i in range(model.rpn.depth):
        path = f"rpn/conv{i + 1}" if i else "rpn/conv"
        theirs = "rpn.head.conv" if old and not i else f"rpn.head.conv.{i}.0"
        yield Row(theirs, path, "conv_bias")
    for name in ("cls_logits", "bbox_pred"):
        yield Row(f"rpn.head.{name}", f"rpn/{name}", "conv_bias")
    width = model.head.convs[-1] if model.head.convs else model.pyramid.width
    flat = (width, model.head.pool.size, model.head.pool.size)
    convs = len(model.head.convs)
    for i in range(convs):
        conv = f"roi_heads.box_head.{i}"
        yield from conv_norm(f"{conv}.0", f"{conv}.1", f"head/conv{i + 1}")
    for i in range(len(model.head.hidden)):
        # After convolutions, layers are numbered through: a flattening, and an activation for each.
        layer = f"{convs + 1 + 2 * i}" if convs else f"fc{i + 6}"
        row = (f"roi_heads.box_head.{layer}", f"head/fc{i + 6}", "dense_bias")
        yield Row(*row, flat if i == 0 else None)
    for name, numbers in (("cls_score", 1), ("bbox_pred", 4)):
        pick = _classes(model, numbers)
        yield Row(f"roi_heads.box_predictor.{name}", f"head/{name}", "dense_bias", pick=pick)
    if isinstance(model.mask, MaskHead):
        yield from _mask(model.mask, _classes(model, 1), old)
    if isinstance(model.keypoint, KeypointHead):
        yield from _keypoint(model.keypoint)


def has_rcnn(model: FasterRCNN) -> bool:
    """Returns True where a ResNet without tweaks and its pyramid serve both stages.

    Other layers have batch norms, if any.
    """
    pyramid, head = model.pyramid, model.head
    if model.rpn_backbone is not None or not isinstance(pyramid, FPN):
        return False
    norms = [pyramid.layers.norm] if pyramid.normalized else []
    norms += [head.layers.norm] if head.convs else []
    if isinstance(model.mask, MaskHead) and model.mask.normalized:
        norms.append(model.mask.layers.norm)
    has_norms = all(norm in BATCH_NORMS for norm in norms)
    has_head = head.body is None and head.class_specific
    return is_plain_resnet(model.backbone) and has_head and has_norms


def classifier(model: nn.Module) -> Iterator[Row]:
    """Yields torchvision's classifier on a detector's backbone.

    Its last layers go to the second stage where that has them: VGG's fc6 and fc7, or the ResNet's
    last stage, of R-FCN to what makes its score maps. A proposal network with a backbone of its own
    gets the same layers.
    """
    backbone, stage, grid, part = model.backbone, None, 7, "head"
    if isinstance(model, RFCN):
        stage, part = model.score_maps.body, "score_maps"
    elif isinstance(model, FasterRCNN | FastRCNN):
        stage, grid = model.head.body, model.head.pool.size
    elif isinstance(backbone, AlexNetBackbone):
        grid = 6  # R-CNN's
    last = None
    if isinstance(backbone, ResNet) and isinstance(stage, ResNetStage):
        last = f"backbone/conv{len(backbone.stages) + 2}_"
        backbone = backbone.clone(stages=(*backbone.stages, stage.blocks))
    elif isinstance(backbone, ResNet) and len(backbone.stages) == 3:
        # DeepMask's. The file has a last stage, of three blocks if bottlenecks, which goes unused.
        backbone = backbone.clone(stages=(*backbone.stages, 3))
    has_two = isinstance(model, FasterRCNN) and model.rpn_backbone is not None
    for row in classifier_of(backbone, grid):
        if last and row.path.startswith(last):
            row = dataclasses.replace(row, path=row.path.replace("backbone/", f"{part}/body/", 1))
        yield row
        if has_two and row.path.startswith("backbone/"):
            yield dataclasses.replace(row, path=f"rpn_{row.path}")


def _mask(head: MaskHead, pick: Pick | None, old: bool) -> Iterator[Row]:
    """Yields the layers of the mask head."""
    for i in range(len(head.widths)):
        name = f"mask_fcn{i + 1}"
        theirs = f"roi_heads.mask_head.{name if old else f'{i}.0'}"
        if head.normalized:
            yield from conv_norm(theirs, f"roi_heads.mask_head.{i}.1", f"mask/{name}")
        else:
            yield Row(theirs, f"mask/{name}", "conv_bias")
    predictor = "roi_heads.mask_predictor"
    yield Row(f"{predictor}.conv5_mask", "mask/conv5_mask", "conv_transpose_bias")
    yield Row(f"{predictor}.mask_fcn_logits", "mask/mask_fcn_logits", "conv_bias", pick=pick)


def _keypoint(head: KeypointHead) -> Iterator[Row]:
    """Yields the layers of the keypoint head."""
    for i in range(len(head.widths)):
        theirs = f"roi_heads.keypoint_head.{2 * i}"
        yield Row(theirs, f"keypoint/conv_fcn{i + 1}", "conv_bias")
    theirs = "roi_heads.keypoint_predictor.kps_score_lowres"
    yield Row(theirs, "keypoint/kps_score_lowres", "conv_transpose_bias")


def _classes(model: FasterRCNN, numbers: int) -> Pick | None:
    """Picks the background and COCO's classes, each with so many outputs."""
    if model.num_classes != len(COCO_NUMBERS):
        return None
    return Pick((LABELS, numbers), 0, (0, *COCO_NUMBERS))
