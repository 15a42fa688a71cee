"""Networks in the settings with which publishers trained their weights."""

import dataclasses

from flax import linen as nn

from vision_jax import models
from vision_jax.models import Layers
from vision_jax.models.classifiers.darknet import DARKNET
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.models.detectors.retinanet import RetinaNet
from vision_jax.models.detectors.ssd_boxes import COCO_300
from vision_jax.models.detectors.yolo_v2 import COCO_PRIORS, VOC_PRIORS
from vision_jax.models.segmenters.deeplab import Dilated

# torchvision's first detectors were trained with norms that add nothing to the variance.
EXACT = Layers(norm="frozen", eps=0.0)
BATCH_NORM = Layers(norm="sync")
_SIDES = (32, 64, 128, 256, 512)


def on_resnet101(segmenter: Dilated) -> Dilated:
    """Puts a segmenter on a dilated ResNet-101 in place of its ResNet-50."""
    return segmenter.clone(backbone=segmenter.backbone.clone(stages=DEPTHS[101][0]))


def torchvision_ssd300() -> models.SSD:
    """Makes SSD300 for COCO, whose boxes' sides alone are clipped."""
    return models.SSD300(80, models.DefaultBoxes(COCO_300, clip="sides"))


def amdegroot_ssd300() -> models.SSD:
    """Makes SSD300 for VOC, whose boxes are clipped to the image."""
    return models.SSD300(20, models.DefaultBoxes(clip="all"))


def torchvision_retinanet_v2(num_classes: int = 80, layers: Layers = BATCH_NORM) -> RetinaNet:
    """Makes the second RetinaNet: P6 from C5, group norm in the subnets, boxes by GIoU."""
    model = models.retinanet_resnet_fpn(50, num_classes, source="c5", layers=layers)
    return model.clone(layers=Layers(norm="group"), box_loss="giou")


def detectron2_fpn(
    depth: int, mask: bool = False, keypoint: bool = False, aligned: bool = True
) -> models.FasterRCNN:
    """Makes detectron2's R-CNN on a pyramid, whose ResNet strides in its first 1x1.

    Args:
      depth: of the ResNet.
      mask, keypoint: which further heads there are.
      aligned: False pools regions as Detectron did, for its comparisons.
    """
    frozen = Layers(norm="frozen")
    plain = models.faster_rcnn_resnet_fpn(depth, 1 if keypoint else 80, frozen)
    pool = models.RegionPool(sampling_ratio=0 if aligned else 2, aligned=aligned, levels=4)
    larger = dataclasses.replace(pool, size=14)
    return plain.clone(
        backbone=plain.backbone.clone(version="v1"),
        rpn=plain.rpn.clone(
            anchor_rounding="exact", anchor_stride="level", train_post_nms_top_n=1000, beta=0.0
        ),
        head=plain.head.clone(pool=pool, beta=0.0),
        mask=models.MaskHead(larger, layers=frozen) if mask else None,
        keypoint=models.KeypointHead(pool=larger, layers=frozen) if keypoint else None,
    )


def detectron2_proposals() -> models.ProposalNetwork:
    """Makes the first stage on a pyramid as a network of its own, 2000 proposals an image."""
    model = detectron2_fpn(50)
    rpn = model.rpn.clone(post_nms_top_n=2000)
    return models.ProposalNetwork(model.backbone, model.pyramid, rpn)


def detectron2_retinanet(depth: int) -> RetinaNet:
    """Makes detectron2's RetinaNet: P6 from C5, anchors whose sides are not rounded."""
    model = models.retinanet_resnet_fpn(depth, source="c5")
    sizes = tuple(tuple(side * 2 ** (k / 3) for k in range(3)) for side in _SIDES)
    return model.clone(
        backbone=model.backbone.clone(version="v1"),
        anchor_sizes=sizes,
        anchor_rounding="exact",
        anchor_stride="level",
    )


def detectron2_backbone(depth: int) -> nn.Module:
    """Makes the classifier that a backbone of the authors of ResNet was cut out of."""
    return models.resnet(depth, version="v1")


def yolo_v2(num_classes: int) -> models.YOLOv2:
    """Makes YOLO v2 as Darknet computes it, for COCO's 80 or VOC's 20 classes."""
    priors = {80: COCO_PRIORS, 20: VOC_PRIORS}[num_classes]
    backbone = models.Darknet(layers=DARKNET)
    return models.YOLOv2(backbone, num_classes, priors=priors, reorg="darknet", layers=DARKNET)


def yolo_v2_tiny_coco() -> models.YOLOv2:
    """Makes the tiny YOLO v2 for COCO, whose last convolution but one is half as wide."""
    return models.YOLOv2Tiny(80, COCO_PRIORS, layers=DARKNET).clone(convs=(512,))


def yolo_v3() -> models.YOLOv3:
    """Makes YOLO v3 as Darknet computes it."""
    return models.YOLOv3(models.ResidualDarknet(layers=DARKNET), layers=DARKNET)
