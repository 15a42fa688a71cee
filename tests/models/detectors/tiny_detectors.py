"""Every detector in a size that trains in seconds, and images to train it on.

A new detector is one function here and one line in `DETECTORS`; test_detectors.py walks over them.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.models.detectors import tiny_yolo
from vision_jax import data, models
from vision_jax.data.shapes_draw import KEYPOINTS
from vision_jax.models.detectors.retinanet import octave_sizes
from vision_jax.structs import Batch

CLASSES, SIDE, SLOTS = 8, 64, 100
# Of the R-CNNs' first stages.
PROPOSALS = {"train_before_nms": 60, "train_after_nms": 60, "before_nms": 60, "after_nms": 30}


def retinanet() -> nn.Module:
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "p6p7", "c5")
    sizes = octave_sizes(12, 4, 2)
    return models.RetinaNet(_backbone(), pyramid, CLASSES, sizes=sizes, depth=1, count=20)


def ssd() -> nn.Module:
    boxes = models.DefaultBoxes((0.12, 0.25, 0.4, 0.6, 0.85), ((2.0,),) * 4, None)
    reads, extras = ("conv2_x", "conv3_x"), ((16, 32), (16, 32))
    return models.SSD(
        _backbone(), CLASSES, boxes, reads, ("conv2_x",), "conv3_x", 0, extras, count=20
    )


def faster_rcnn() -> nn.Module:
    """On one map."""
    rpn = models.RPN(sizes=((12.0, 24.0, 48.0),), width=32, samples=64, **PROPOSALS)
    pool = models.RegionPool(size=5, levels=1)
    head = models.BoxHead(pool=pool, hidden=(64,), samples=32, detections=20)
    return models.FasterRCNN(_backbone(), CLASSES, models.OneMap("conv3_x"), rpn, head)


def faster_rcnn_fpn(**more: Any) -> nn.Module:
    """On a pyramid."""
    rpn = models.RPN(sizes=((12.0,), (24.0,), (48.0,)), width=32, samples=64, **PROPOSALS)
    head = models.BoxHead(pool=_pool(5), hidden=(64,), samples=32, detections=20)
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "pool")
    return models.FasterRCNN(_backbone(), CLASSES, pyramid, rpn, head, **more)


def faster_rcnn_vgg() -> nn.Module:
    """As the paper's: RoIPool, no anchors across the border, lambda over the number of cells."""
    backbone = models.VGG(((3,), (3,), (3, 3)), 16, keep=("conv3_2",))
    rpn = models.RPN(
        sizes=((12.0, 24.0, 48.0),),
        spacing="network",
        width=32,
        cross_boundary=False,
        samples=64,
        box_weight=10.0,
        per_cell=True,
        **PROPOSALS,
    )
    head = models.BoxHead(
        models.RegionPool("max", 5), hidden=(64, 64), samples=32, beta=1.0, detections=20
    )
    return models.FasterRCNN(backbone, CLASSES, models.OneMap("conv3_2"), rpn, head)


def faster_rcnn_c4(size: int = 8, **more: Any) -> nn.Module:
    """With a stage of the backbone as the second stage's body, and one box for all classes."""
    rpn = models.RPN(
        sizes=((12.0, 24.0, 48.0),), cell="exact", spacing="network", samples=64, **PROPOSALS
    )
    head = models.BoxHead(
        models.RegionPool(size=size, samples=0, aligned=True),
        models.ResNetStage(1, 16, stage=4),
        hidden=(),
        class_specific=False,
        samples=32,
        detections=20,
    )
    return models.FasterRCNN(_backbone(), CLASSES, models.OneMap("conv3_x"), rpn, head, **more)


def mask_rcnn_c4() -> nn.Module:
    """Masks from the second stage's body, fine enough that few of their cells are half covered."""
    return faster_rcnn_c4(14, mask=models.MaskHead(None, (), 32), leading=(2, 4))


def mask_rcnn() -> nn.Module:
    return faster_rcnn_fpn(mask=models.MaskHead(pool=_pool(7), widths=(32, 32)), leading=(2, 4))


def keypoint_rcnn() -> nn.Module:
    head = models.KeypointHead(len(KEYPOINTS), pool=_pool(7), widths=(32, 32))
    return faster_rcnn_fpn(keypoint=head, leading=(2, 4))


# Of 64×64 images with objects of `CLASSES` classes.
DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "retinanet": retinanet,
    "ssd": ssd,
    "faster_rcnn": faster_rcnn,
    "faster_rcnn_fpn": faster_rcnn_fpn,
    "faster_rcnn_vgg": faster_rcnn_vgg,
    "faster_rcnn_c4": faster_rcnn_c4,
    "mask_rcnn": mask_rcnn,
    "mask_rcnn_c4": mask_rcnn_c4,
    "keypoint_rcnn": keypoint_rcnn,
    "yolo_v1": tiny_yolo.v1,
    "yolo_v1-lecture": tiny_yolo.v1_lecture,
    "yolo_v2": tiny_yolo.v2,
    "yolo_v3": tiny_yolo.v3,
}


def images(count: int = 4) -> Batch:
    """The first embedded images, with boxes, masks and keypoints in 100 slots."""
    source = data.TFDS("shapes/det64", f"train[:{count}]", fields=("objects", "rle", "keypoints"))
    pipeline = data.Eval(source, batch_size=count, max_boxes=SLOTS)
    with contextlib.closing(pipeline.batches()) as batches:
        return jax.tree.map(jnp.asarray, next(batches))


def crowded(batch: Batch, seed: int = 0) -> Batch:
    """The same images with 100 objects each, anywhere: large, small, on top of each other."""
    rng = np.random.default_rng(seed)
    shape = (batch.count, SLOTS)
    low = rng.uniform(0, SIDE - 2, (*shape, 2))
    boxes = np.concatenate([low, np.minimum(low + rng.uniform(1, SIDE, (*shape, 2)), SIDE)], -1)
    points = np.concatenate([rng.uniform(0, SIDE, (*shape, 5, 2)), np.full((*shape, 5, 1), 2)], -1)
    full = batch.targets.replace(
        boxes=jnp.asarray(boxes, jnp.float32),
        labels=jnp.asarray(rng.integers(0, CLASSES, shape), jnp.int32),
        valid=jnp.ones(shape, bool),
        difficult=jnp.zeros(shape, bool),
        crowd=jnp.zeros(shape, bool),
        masks=jnp.asarray(rng.random((*shape, SIDE, SIDE)) < 0.5),
        keypoints=jnp.asarray(points, jnp.float32),
    )
    return batch.replace(targets=full)


def empty(batch: Batch) -> Batch:
    """The same images without an object."""
    targets = jax.tree.map(jnp.zeros_like, batch.targets)
    return batch.replace(targets=targets.replace(labels=targets.labels - 1))


def shrunk(batch: Batch, height: int = 20, width: int = 12) -> Batch:
    """The same images shrunk to so many pixels, less than the largest anchors have; the rest is
    padding."""
    y, x = height / SIDE, width / SIDE
    rows, columns = (np.arange(n) * SIDE // n for n in (height, width))
    content = batch.image[:, rows][:, :, columns]
    targets = batch.targets
    return batch.replace(
        image=jnp.zeros_like(batch.image).at[:, :height, :width].set(content),
        scale=batch.scale * jnp.array([[y, x]]),
        targets=targets.replace(
            boxes=targets.boxes * jnp.array([[[x, y, x, y]]]),
            masks=jnp.zeros_like(targets.masks)
            .at[:, :, :height, :width]
            .set(targets.masks[:, :, rows][:, :, :, columns]),
            keypoints=targets.keypoints * jnp.array([[[[x, y, 1]]]]),
        ),
    )


def _backbone() -> nn.Module:
    """Strides 4 and 8."""
    return models.ResNet((1, 1), "basic", 16, norm="frozen")


def _darknet(norm: str = "sync") -> nn.Module:
    """Strides 1, 2, 4, 8."""
    return models.Darknet((((3, 8),), ((3, 16),), ((3, 32),), ((3, 48),)), norm=norm)


def _pool(size: int) -> models.RegionPool:
    return models.RegionPool(size=size, levels=2, canonical_size=32.0, canonical_level=3)
