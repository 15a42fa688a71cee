"""The detectors of own_detection.py: each in its own form, with anchors or priors by the data.

A network called `small` is for a laptop's CPU; the others have the published sizes, so that
published weights fit them.
"""

import dataclasses

import numpy as np
from ml_collections import ConfigDict

from experiments.shared import own_data
from experiments.shared.own_data import LAPTOP, Looked
from vision_jax import models
from vision_jax.config import UserError, node
from vision_jax.data import box_shapes
from vision_jax.models import Layers
from vision_jax.models.classifiers.darknet import TINY, TINY_POOLS
from vision_jax.models.classifiers.resnet import DEPTHS
from vision_jax.models.classifiers.vgg import CONFIGURATIONS
from vision_jax.models.detectors.ssd import EXTRAS_300, EXTRAS_512, EXTRAS_RESNET
from vision_jax.models.detectors.ssd_boxes import STRIDES_300, STRIDES_512

RESNETS = {f"resnet{depth}": depth for depth in (18, 34, 50, 101)}
OCTAVE = tuple(2 ** (k / 3) for k in (-1, 0, 1))  # RetinaNet's three scales of an anchor
SSD_SIDES = {"vgg16": (300, 512), "resnet18": (300,), "resnet34": (300,), "resnet50": (300,)}
# Least and largest long sides of a laptop's inputs, and of the published networks'.
SMALL_SIDES, LARGE_SIDES = (256, 416), (512, 800)
# What a laptop's R-CNN has less of.
SMALL_RPN = {
    "batch_size_per_image": 128,
    "train_pre_nms_top_n": 256,
    "train_post_nms_top_n": 128,
    "pre_nms_top_n": 256,
    "post_nms_top_n": 100,
}
SMALL_HEAD = {"hidden": (256, 256), "batch_size_per_image": 64}
SMALL_MASK = {"widths": (64, 64)}


@dataclasses.dataclass(frozen=True)
class Choice:
    """The detector that was asked for, and the data that it is to fit.

    Attributes:
      model: the name of its size.
      looked: the data.
      height, width: of the input, pixels.
      pretrained: whether it starts from weights, whose statistics it keeps then.
      max_detections: slots per image.
      stretches: whether images are stretched to a square.
      smoke: whether two stages will do instead of four.
    """

    model: str
    looked: Looked
    height: int
    width: int
    pretrained: bool
    max_detections: int
    stretches: bool = False
    smoke: bool = False

    @property
    def layers(self) -> Layers:
        return Layers(norm="frozen") if self.pretrained else Layers()

    @property
    def sides(self) -> np.ndarray:
        """Widths and heights (n, 2) of the objects in the input."""
        seen = self.looked.boxes, self.looked.box_sizes
        if self.stretches:
            return box_shapes.stretched(*seen, self.width)
        return box_shapes.letterboxed(*seen, self.height, self.width)


def resnet(choice: Choice) -> ConfigDict:
    """Makes the backbone."""
    if choice.model == LAPTOP:
        return node(
            models.ResNet,
            stages=(1, 1) if choice.smoke else (1, 1, 1, 1),
            block="basic",
            width=8 if choice.smoke else 32,
            stem="deep",
            layers=choice.layers,
        )
    blocks, block = DEPTHS[RESNETS[choice.model]]
    return node(models.ResNet, stages=blocks, block=block, layers=choice.layers)


def faster_rcnn(choice: Choice, masks: bool = False) -> ConfigDict:
    """Makes Faster R-CNN on a pyramid: one anchor side per level, three shapes."""
    backbone = resnet(choice)
    stages = len(backbone.stages)
    sizes = box_shapes.anchor_sizes(choice.sides, (4, 8, 16, 32, 64)[: stages + 1])
    ratios = box_shapes.anchor_ratios(choice.sides)
    _tell("anchors", choice, sizes, ratios)
    small = choice.model == LAPTOP
    layers = choice.layers
    rpn, head, mask = (SMALL_RPN, SMALL_HEAD, SMALL_MASK) if small else ({}, {}, {})
    pool = {"levels": stages}
    if small:  # the published 224 pixels are of inputs of 800
        pool["canonical_size"] = round(0.28 * max(choice.height, choice.width), 1)
    if masks:
        pool_14 = node(models.RegionPool, size=14, **pool)
        mask = node(models.MaskHead, pool=pool_14, layers=layers, **mask)
    return node(
        models.FasterRCNN,
        backbone=backbone,
        num_classes=None,
        pyramid=node(
            models.FPN,
            endpoints=tuple(f"conv{stage + 2}_x" for stage in range(stages)),
            width=64 if small else 256,
            layers=layers,
        ),
        rpn=node(
            models.RPN,
            anchor_sizes=tuple((side,) for side in sizes),
            anchor_ratios=ratios,
            layers=layers,
            **rpn,
        ),
        head=node(
            models.BoxHead,
            pool=node(models.RegionPool, **pool),
            max_detections=choice.max_detections,
            layers=layers,
            **head,
        ),
        mask=mask if masks else None,
    )


def mask_rcnn(choice: Choice) -> ConfigDict:
    """Makes Mask R-CNN: Faster R-CNN with a head for masks."""
    return faster_rcnn(choice, masks=True)


def retinanet(choice: Choice) -> ConfigDict:
    """Makes RetinaNet on P3 to P7: three anchor sides per level, around one by the data."""
    centres = box_shapes.anchor_sizes(choice.sides, (8, 16, 32, 64, 128))
    sizes = tuple(tuple(round(side * octave, 1) for octave in OCTAVE) for side in centres)
    ratios = box_shapes.anchor_ratios(choice.sides)
    _tell("anchors", choice, [side for level in sizes for side in level], ratios)
    small = choice.model == LAPTOP
    plain = choice.layers.without_norm()
    return node(
        models.RetinaNet,
        backbone=resnet(choice),
        pyramid=node(
            models.FPN,
            endpoints=("conv3_x", "conv4_x", "conv5_x"),
            width=64 if small else 256,
            extra="p6p7",
            layers=plain,
        ),
        num_classes=None,
        anchor_sizes=sizes,
        anchor_ratios=ratios,
        depth=2 if small else 4,
        max_detections=choice.max_detections,
        layers=plain,
    )


def ssd(choice: Choice) -> ConfigDict:
    """Makes SSD: one scale per map and two ratios beside squares, by the data."""
    if choice.model == "vgg16":
        large = choice.width == 512
        extras, strides = (EXTRAS_512, STRIDES_512) if large else (EXTRAS_300, STRIDES_300)
        parts = {"fc": 1024, "extra_layers_from": "conv5_3", "feature_endpoints": ("conv4_3",)}
        backbone = node(
            models.VGG,
            kernels=CONFIGURATIONS["D"],
            keep=("conv4_3", "conv5_3"),
            ceil_mode=True,
            layers=choice.layers.without_norm(),
        )
    else:
        backbone, small = resnet(choice), choice.model == LAPTOP
        extras, strides = (((64, 128),) * 2, None) if small else (EXTRAS_RESNET, STRIDES_300)
        endpoints = tuple(f"conv{stage}_x" for stage in range(3, 2 + len(backbone.stages)))
        parts = {"fc": 0, "extra_layers_from": endpoints[-1], "feature_endpoints": endpoints}
    maps = len(parts["feature_endpoints"]) + (parts["fc"] > 0) + len(extras)
    scales = box_shapes.default_box_scales(choice.sides, choice.width, maps)
    ratios = box_shapes.default_box_ratios(choice.sides)
    _tell("default boxes", choice, [scale * choice.width for scale in scales], (1.0, *ratios))
    return node(
        models.SSD,
        backbone=backbone,
        num_classes=None,
        default_boxes=node(
            models.DefaultBoxes, scales=scales, ratios=(ratios,) * maps, strides=strides
        ),
        l2_normalized=("conv4_3",) if parts["fc"] else (),
        extras=extras,
        max_detections=max(200, choice.max_detections),
        layers=choice.layers.without_norm() if parts["fc"] else choice.layers,
        **parts,
    )


def yolo(choice: Choice) -> ConfigDict:
    """Makes YOLO v3: three priors per scale, the largest on the coarsest."""
    scales = 2 if choice.model == "tiny" else 3
    priors = box_shapes.kmeans(choice.sides, 3 * scales)
    fit = box_shapes.mean_best_iou(choice.sides, priors)
    shapes = tuple((round(float(w), 1), round(float(h), 1)) for w, h in priors)
    told = ", ".join(f"{w:g}×{h:g}" for w, h in shapes)
    print(f"priors: k-means of {len(choice.sides)} boxes: {told}; mean IoU {fit:.2f}")
    masks = tuple(tuple(range(3 * k, 3 * k + 3)) for k in reversed(range(scales)))
    detector = {"priors": shapes, "masks": masks, "max_detections": choice.max_detections}
    layers = choice.layers
    backbone = node(models.ResidualDarknet, layers=layers)
    if choice.model == "tiny":
        backbone = node(models.Darknet, stages=TINY, pools=TINY_POOLS, layers=layers)
        detector |= {"endpoints": ("stage7", "stage5"), "neck": ((256,), ()), "out": (512, 256)}
        detector |= {"lateral": (128,)}
    elif choice.model == LAPTOP:
        backbone = node(models.ResidualDarknet, blocks=(1, 1, 2, 2, 1), width=16, layers=layers)
        detector |= {"neck": ((128, 256, 128), (64, 128, 64), (32, 64, 32))}
        detector |= {"out": (256, 128, 64), "lateral": (64, 32)}
    return node(models.YOLOv3, backbone=backbone, num_classes=None, layers=layers, **detector)


DETECTORS = {
    "faster_rcnn": faster_rcnn,
    "mask_rcnn": mask_rcnn,
    "retinanet": retinanet,
    "ssd": ssd,
    "yolo": yolo,
}
_SIZES = {"ssd": (LAPTOP, *SSD_SIDES), "yolo": (LAPTOP, "tiny", "darknet53")}


def model_names(detector: str) -> tuple[str, ...]:
    """Returns the names of a detector's sizes, the laptop's first."""
    return _SIZES.get(detector, (LAPTOP, *RESNETS))


def long_side(detector: str, model: str, wanted: int, looked: Looked) -> int:
    """Returns the input's long side: the option's, else by the data.

    Raises:
      UserError: a side for which the network is not made.
    """
    if detector == "ssd" and model in SSD_SIDES:
        known = SSD_SIDES[model]
        if wanted and wanted not in known:
            raise UserError(f"size={wanted}: SSD on {model} takes {' or '.join(map(str, known))}")
        chosen = own_data.long_side(looked, known[0], known[-1])
        return wanted or (known[0] if chosen <= known[0] else known[-1])
    if wanted % own_data.STRIDE:
        raise UserError(f"size={wanted}: it must be a multiple of {own_data.STRIDE}")
    return wanted or own_data.long_side(looked, *(SMALL_SIDES if model == LAPTOP else LARGE_SIDES))


def _tell(what: str, choice: Choice, sides, ratios) -> None:
    """Prints anchors, and how well they fit."""
    roots = np.sqrt(np.asarray(ratios))
    shapes = [(side / root, side * root) for side in sides for root in (*roots, *(1 / roots))]
    if what == "anchors":
        shapes = [(side / root, side * root) for side in sides for root in roots]
    fit = box_shapes.mean_best_iou(choice.sides, np.asarray(shapes))
    told = ", ".join(f"{side:.0f}" for side in sides)
    ratio = "height / width" if what == "anchors" else "long / short side"
    print(
        f"{what}: k-means of {len(choice.sides)} boxes: sides {told} pixels; {ratio} "
        f"{', '.join(f'{r:g}' for r in ratios)}; mean IoU {fit:.2f}"
    )
