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
from vision_jax.models import Layers
from vision_jax.models.detectors.retinanet import octave_sizes
from vision_jax.structs import Batch

CLASSES, SIDE, SLOTS = 8, 64, 100
# Of the R-CNNs' first and second stages.
RPN = {
    "batch_size_per_image": 64,
    "train_pre_nms_top_n": 60,
    "train_post_nms_top_n": 60,
    "pre_nms_top_n": 60,
    "post_nms_top_n": 30,
}
HEAD = {"batch_size_per_image": 32, "max_detections": 20}
SIZES = ((12.0, 24.0, 48.0),)  # of the anchors on one map


def retinanet() -> nn.Module:
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "p6p7", "c5")
    fields = {"anchor_sizes": octave_sizes(12, 4, 2), "depth": 1, "max_detections": 20}
    return models.RetinaNet(_backbone(), pyramid, CLASSES, **fields)


def fcos() -> nn.Module:
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "p6p7", "c5")
    sizes = ((4.0,), (8.0,), (16.0,), (32.0,))
    limits = {"size_limits": (16.0, 32.0, 48.0), "max_detections": 20}
    return models.FCOS(_backbone(), pyramid, CLASSES, sizes, depth=1, **limits)


def ssd() -> nn.Module:
    return models.SSD(
        _backbone(),
        CLASSES,
        default_boxes=models.DefaultBoxes((0.12, 0.25, 0.4, 0.6, 0.85), ((2.0,),) * 4, None),
        feature_endpoints=("conv2_x", "conv3_x"),
        l2_normalized=("conv2_x",),
        extra_layers_from="conv3_x",
        fc=0,
        extras=((16, 32), (16, 32)),
        max_detections=20,
    )


def faster_rcnn() -> nn.Module:
    """Makes Faster R-CNN on one map."""
    rpn = models.RPN(anchor_sizes=SIZES, width=32, **RPN)
    head = models.BoxHead(pool=models.RegionPool(size=5, levels=1), hidden=(64,), **HEAD)
    return models.FasterRCNN(_backbone(), CLASSES, models.OneMap("conv3_x"), rpn, head)


def faster_rcnn_fpn(**more: Any) -> nn.Module:
    """Makes Faster R-CNN on a pyramid."""
    rpn = models.RPN(anchor_sizes=((12.0,), (24.0,), (48.0,)), width=32, **RPN)
    head = models.BoxHead(pool=_pool(5), hidden=(64,), **HEAD)
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "pool")
    return models.FasterRCNN(_backbone(), CLASSES, pyramid, rpn, head, **more)


def faster_rcnn_vgg() -> nn.Module:
    """Makes the paper's: RoIPool, no anchors across the border, lambda over the number of cells."""
    rpn = models.RPN(
        anchor_sizes=SIZES,
        anchor_stride="level",
        width=32,
        allow_cross_boundary=False,
        box_loss_weight=10.0,
        box_loss_normalizer="locations",
        **RPN,
    )
    head = models.BoxHead(models.RegionPool("max", 5), hidden=(64, 64), beta=1.0, **HEAD)
    return models.FasterRCNN(_vgg(), CLASSES, models.OneMap("conv3_2"), rpn, head)


def faster_rcnn_c4(size: int = 8, **more: Any) -> nn.Module:
    """Makes a network whose second stage has a body, and one box for all classes."""
    rpn = models.RPN(anchor_sizes=SIZES, anchor_rounding="exact", anchor_stride="level", **RPN)
    head = models.BoxHead(
        models.RegionPool(size=size, sampling_ratio=0, aligned=True),
        models.ResNetStage(1, 16, stage=4),
        hidden=(),
        class_specific=False,
        **HEAD,
    )
    return models.FasterRCNN(_backbone(), CLASSES, models.OneMap("conv3_x"), rpn, head, **more)


def rfcn() -> nn.Module:
    """Makes R-FCN with 3x3 parts, which mines 32 hard examples."""
    rpn = models.RPN(anchor_sizes=SIZES, width=32, outputs_per_anchor=2, **RPN)
    maps = models.ScoreMaps(models.ResNetStage(1, 16, 1, (2,), stage=4), 64, 3)
    head = models.BoxHead(class_specific=False, hard_examples=True, beta=1.0, **HEAD)
    pyramid = models.OneMap("conv3_x")
    return models.RFCN(_backbone(), CLASSES, pyramid, rpn, head, score_maps=maps)


def mask_rcnn_c4() -> nn.Module:
    """Makes masks from the second stage's body, so fine that few cells are half covered."""
    return faster_rcnn_c4(14, mask=models.MaskHead(None, (), 32), positives_first=(2, 4))


def mask_rcnn() -> nn.Module:
    head = models.MaskHead(pool=_pool(7), widths=(32, 32))
    return faster_rcnn_fpn(mask=head, positives_first=(2, 4))


def mask_rcnn_v2() -> nn.Module:
    """Makes the second form: norms in the pyramid and in both heads, two layers in the RPN."""
    rpn = models.RPN(anchor_sizes=((12.0,), (24.0,), (48.0,)), width=32, depth=2, **RPN)
    layers = Layers(norm="sync")
    head = models.BoxHead(_pool(5), convs=(32,), hidden=(64,), layers=layers, **HEAD)
    mask = models.MaskHead(_pool(7), (32, 32), normalized=True, layers=layers)
    pyramid = models.FPN(("conv2_x", "conv3_x"), 32, "pool", normalized=True, layers=layers)
    more = {"mask": mask, "positives_first": (2, 4)}
    return models.FasterRCNN(_backbone(), CLASSES, pyramid, rpn, head, **more)


def keypoint_rcnn() -> nn.Module:
    head = models.KeypointHead(len(KEYPOINTS), pool=_pool(7), widths=(32, 32))
    return faster_rcnn_fpn(keypoint=head, positives_first=(2, 4))


def fast_rcnn() -> nn.Module:
    """Makes Fast R-CNN, whose proposal is the whole image where a batch has none."""
    head = models.BoxHead(models.RegionPool("max", 5), hidden=(64,), **HEAD)
    return models.FastRCNN(_vgg(), CLASSES, models.OneMap("conv3_2"), head)


def rcnn() -> nn.Module:
    """Makes R-CNN's first part, whose answers are the softmax's; regions as for Fast R-CNN."""
    return models.RCNN(_vgg(), CLASSES, _region_head(), crop_size=32, context=4)


def spp_net() -> nn.Module:
    """Makes SPP-net's first part on maps of stride 8."""
    parts = {"levels": (3, 1), "short_side": SIDE, "scales": (SIDE, 2 * SIDE)}
    return models.SPPNet(_vgg(), CLASSES, _region_head(), **parts)


def proposal_network() -> nn.Module:
    rpn = models.RPN(anchor_sizes=SIZES, width=32, **RPN)
    return models.ProposalNetwork(_backbone(), models.OneMap("conv3_x"), rpn)


def detr(mask: nn.Module | None = None) -> nn.Module:
    """Makes DETR without dropout, which normalises first: it learns four images in seconds."""
    settings = models.TransformerSettings(
        features=32, heads=4, hidden=64, dropout=0.0, attention_dropout=0.0, norm_first=True
    )
    encoder, decoder = models.Encoder(1, settings), models.Decoder(2, settings)
    parts = {"endpoint": "conv3_x", "encoder": encoder, "decoder": decoder, "mask": mask}
    return models.DETR(_backbone(), CLASSES, num_queries=8, **parts)


def detr_masks() -> nn.Module:
    return detr(models.QueryMasks(heads=8))


def pix2seq(**changes: Any) -> nn.Module:
    """Makes Pix2Seq without made-up objects, in a fixed order: it learns four images by heart."""
    settings = models.TransformerSettings(
        features=32, heads=4, hidden=64, dropout=0.0, attention_dropout=0.0, norm_first=True
    )
    encoder, decoder = models.Encoder(1, settings), models.Decoder(2, settings)
    parts = {"endpoint": "conv3_x", "encoder": encoder, "decoder": decoder, "noise_objects": False}
    parts |= {"max_detections": 4, "max_length": 20, "bins": 32, "order": "area"}
    parts |= {"first_coordinate": 128, "vocabulary": 160, "top_k": 1}
    return models.Pix2Seq(_backbone(), CLASSES, **parts | changes)


# Of 64×64 images with objects of `CLASSES` classes.
DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "retinanet": retinanet,
    "detr": detr,
    "detr_masks": detr_masks,
    "pix2seq": pix2seq,
    "fcos": fcos,
    "ssd": ssd,
    "faster_rcnn": faster_rcnn,
    "faster_rcnn_fpn": faster_rcnn_fpn,
    "faster_rcnn_vgg": faster_rcnn_vgg,
    "faster_rcnn_c4": faster_rcnn_c4,
    "rfcn": rfcn,
    "mask_rcnn": mask_rcnn,
    "mask_rcnn_c4": mask_rcnn_c4,
    "mask_rcnn_v2": mask_rcnn_v2,
    "keypoint_rcnn": keypoint_rcnn,
    "yolo_v1": tiny_yolo.v1,
    "yolo_v1-lecture": tiny_yolo.v1_lecture,
    "yolo_v2": tiny_yolo.v2,
    "yolo_v3": tiny_yolo.v3,
}
# With those that find no objects' classes by themselves.
ALL_DETECTORS = DETECTORS | {
    "rcnn": rcnn,
    "spp_net": spp_net,
    "fast_rcnn": fast_rcnn,
    "proposal_network": proposal_network,
}


def drawn_variables(model: nn.Module) -> Any:
    """Draws a detector's variables by NumPy, for which no program has to be compiled."""
    image, size = (jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, SIDE, SIDE, 3), (1, 2)))
    shapes, rng = (
        jax.eval_shape(model.init, jax.random.key(0), image, size),
        np.random.default_rng(2),
    )

    def fill(path: Any, leaf: Any) -> jax.Array:
        if path[-1].key in ("scale", "var"):
            return jnp.ones(leaf.shape)
        if path[-1].key in ("bias", "mean"):
            return jnp.zeros(leaf.shape)
        spread = 1.0 if path[-1].key == "embedding" else np.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(rng.normal(0, spread, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def images(count: int = 4) -> Batch:
    """Loads the first embedded images, with boxes, masks and keypoints in 100 slots."""
    source = data.TFDS("shapes/det64", f"train[:{count}]", fields=("objects", "rle", "keypoints"))
    pipeline = data.Eval(source, batch_size=count, max_boxes=SLOTS)
    with contextlib.closing(pipeline.batches()) as batches:
        return jax.tree.map(jnp.asarray, next(batches))


def crowded(batch: Batch, seed: int = 0) -> Batch:
    """Gives the images 100 objects each, anywhere: large, small, on top of each other."""
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
    """Takes all objects from the images."""
    targets = jax.tree.map(jnp.zeros_like, batch.targets)
    return batch.replace(targets=targets.replace(labels=targets.labels - 1))


def shrunk(batch: Batch, height: int = 20, width: int = 12) -> Batch:
    """Shrinks the images to fewer pixels than the largest anchors have; the rest is padding."""
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
    """Makes a ResNet of strides 4 and 8."""
    return models.ResNet((1, 1), "basic", 16, layers=Layers(norm="frozen"))


def _region_head() -> nn.Module:
    fields = {"batch_size_per_image": 32, "max_detections": 20, "dropout": 0.0, "std": 0.05}
    fields |= {"classifier": "softmax", "svm_features": "fc6", "refine": False}
    return models.RegionClassifier((64,), **fields)


def _vgg() -> nn.Module:
    return models.VGG(((3,), (3,), (3, 3)), 16, keep=("conv3_2",))


def _pool(size: int) -> models.RegionPool:
    return models.RegionPool(size=size, levels=2, canonical_size=32.0, canonical_level=3)
