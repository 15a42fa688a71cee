"""SSD: Single Shot MultiBox Detector (Liu et al. 2016, arXiv:1512.02325).

Parameters: `backbone`; `fc6` and `fc7`, VGG's fully connected layers made convolutions; `conv8_1`,
`conv8_2`, … of the paper's figure 2; for each map that is read `<map>_class` and `<map>_box`, and
`<map>_scale` where it is rescaled. Initialisation: Glorot uniform with zero biases, as in the
paper, for all beside the backbone, which it starts from ImageNet.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.detectors.ssd_boxes import (
    COCO_300,
    SEVEN_RATIOS,
    STRIDES_512,
    VOC_300,
    VOC_512,
    DefaultBoxes,
    LectureBoxes,
)
from vision_jax.models.layers.blocks import Conv, ConvNorm, Norm, channelwise
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.nms import nms_classes
from vision_jax.ops.normalize import l2_normalize
from vision_jax.ops.pool import max_pool
from vision_jax.ops.sampling import hard_negatives
from vision_jax.structs import Detections, Targets

XAVIER = nn.initializers.glorot_uniform()
START = 20.0  # of the learned scales (section 3.1)
BOXES_300 = DefaultBoxes(VOC_300)
BOXES_512 = DefaultBoxes(VOC_512, SEVEN_RATIOS, STRIDES_512)
BOXES_RESNET = DefaultBoxes(COCO_300)
LECTURE_BOXES = LectureBoxes()


class Extra(NamedTuple):
    """A pair of convolutions: 1x1 to `reduced` channels, then a larger one that shrinks the map."""

    reduced: int
    features: int
    kernel: int = 3
    stride: int = 2
    padding: int = 1


# Figure 2: from 19 or 32 pixels down to one.
EXTRAS_300 = (Extra(256, 512), Extra(128, 256), Extra(128, 256, 3, 1, 0), Extra(128, 256, 3, 1, 0))
EXTRAS_512 = (
    Extra(256, 512),
    Extra(128, 256),
    Extra(128, 256),
    Extra(128, 256),
    Extra(128, 256, 4, 1, 1),
)
EXTRAS_RESNET = (
    Extra(256, 512),
    Extra(128, 256, 3, 1, 0),
    Extra(128, 256, 3, 1, 0),
)


class SSD(nn.Module):
    """The detector: every map of a chain classifies and refines its own default boxes.

    Fields:
      backbone: any backbone with the endpoints that are named here.
      num_classes: without background.
      boxes: `DefaultBoxes` or `LectureBoxes`, for as many maps as are read.
      reads: endpoints that are read as they are, the finest first.
      rescaled: those of `reads` that are first divided by their norm over channels and multiplied
        by learned scales.
      top: endpoint that the added layers start from.
      fc: features of fc6 (3×3, dilated by 6, after a pooling that keeps the size) and fc7 (1×1),
        whose map is read; 0 for none.
      extras: `Extra`s, of which each makes a map that is read.
      whole: read the maximum over the last map too, as a map of one pixel.
      norm: of the added layers; 'none' (the paper), or see `blocks.norm`.
      overlap: IoU from which a default box is an object's.
      negatives: background boxes that the loss counts, per box with an object.
      weights: see `boxes.encode`; inverses of what Caffe calls variances.
      limit: greatest logarithm of a side over its default box's.
      score: detections have a greater one.
      candidates: boxes per class that enter the suppression.
      nms: IoU above which a detection suppresses a lesser one of its class.
      count: detections per image.
      dtype: compute dtype.
    """

    backbone: nn.Module
    num_classes: int = 20
    boxes: DefaultBoxes | LectureBoxes = BOXES_300
    reads: tuple[str, ...] = ("conv4_3",)
    rescaled: tuple[str, ...] = ("conv4_3",)
    top: str = "conv5_3"
    fc: int = 1024
    extras: tuple[tuple[int, ...], ...] = EXTRAS_300
    whole: bool = False
    norm: Norm = "none"
    overlap: float = 0.5
    negatives: float = 3.0
    weights: tuple[float, float, float, float] = box_ops.RCNN_WEIGHTS
    limit: float = box_ops.LOG_SIZE_LIMIT
    score: float = 0.01
    candidates: int | None = 400
    nms: float = 0.45
    count: int = 200
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        sizes: Float[Array, "b 2"],
        targets: Targets | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> dict[str, Any]:
        """The backbone's endpoints and

          maps: tuple of maps (b, h, w, c) that boxes are predicted from;
          logits: (b, a, 1 + num_classes), background first, before the softmax;
          deltas: (b, a, 4), see `boxes.decode`;
          anchors: (b, a, 4) default boxes, xyxy in pixels, the same for every image;

        and `sizes` as given. Nothing is drawn, so `targets` and `keys` go unread.
        """
        endpoints = self.backbone(image, train, keys)
        maps = self._maps(endpoints, train)
        predict = functools.partial(Conv, kernel=3, padding=1, dtype=self.dtype, kernel_init=XAVIER)
        found = {"class": [], "box": []}
        outputs = {"class": 1 + self.num_classes, "box": 4}
        for (name, x), shapes in zip(maps.items(), self.boxes.shapes, strict=True):
            for kind, number in outputs.items():
                y = predict(shapes * number, name=f"{name}_{kind}")(x)
                found[kind].append(y.reshape(len(y), -1, number).astype(image.dtype))
        grids = [x.shape[1:3] for x in maps.values()]
        anchors = self.boxes(image.shape[1:3], grids, image.dtype)
        return {
            **endpoints,
            "maps": tuple(maps.values()),
            "logits": jnp.concatenate(found["class"], 1),
            "deltas": jnp.concatenate(found["box"], 1),
            "anchors": jnp.broadcast_to(anchors, (len(image), *anchors.shape)),
            "sizes": sizes,
        }

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """The default boxes of images of this many pixels."""
        image, sizes = jnp.zeros((1, height, width, 3)), jnp.array([[height, width]], jnp.float32)
        init = functools.partial(self.init_with_output, jax.random.key(0))
        maps = jax.eval_shape(init, image, sizes)[0]["maps"]
        return self.boxes((height, width), [x.shape[1:3] for x in maps], jnp.float32)

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Each default box's object, or `assign.BACKGROUND`."""
        match = jax.vmap(assign.match_ssd, (0, 0, None, None))
        return match(targets.boxes, targets.valid, self.anchors(height, width), self.overlap)

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """`class` and `box`, each (sum, matched default boxes of the batch) (section 2.2).

        Hard negatives are chosen within each image.
        """
        present = targets.valid & valid[:, None]
        given = (outputs[name] for name in ("logits", "deltas", "anchors"))
        terms = jax.vmap(self._image_loss)(*given, targets.boxes, targets.labels, present)
        matched = jnp.sum(terms.pop("matched"), dtype=jnp.float32)
        return {name: (jnp.sum(jnp.where(valid, x, 0)), matched) for name, x in terms.items()}

    def detect(self, outputs: dict[str, Any]) -> Detections:
        """The `count` best after per-class non-maximum suppression."""
        given = (outputs[name] for name in ("logits", "deltas", "anchors", "sizes"))
        return jax.vmap(self._best)(*given)

    def _maps(self, endpoints, train):
        """The maps that are read, by name."""
        maps = {name: endpoints[name] for name in self.reads}
        for name in self.rescaled:
            maps[name] = L2Scale(name=f"{name}_scale")(maps[name])
        conv = functools.partial(ConvNorm, norm=self.norm, dtype=self.dtype, kernel_init=XAVIER)
        x = endpoints[self.top]
        if self.fc:
            x = max_pool(x, 3, 1, padding=1)
            x = conv(self.fc, 3, padding=6, dilation=6, name="fc6")(x, train)
            maps["fc7"] = x = conv(self.fc, name="fc7")(x, train)
        for number, extra in enumerate(self.extras, start=8):
            extra = Extra(*extra)
            x = conv(extra.reduced, name=f"conv{number}_1")(x, train)
            size = extra.kernel, extra.stride, extra.padding
            x = conv(extra.features, *size, name=f"conv{number}_2")(x, train)
            maps[f"conv{number}_2"] = x
        if self.whole:
            maps["whole"] = jnp.max(x, (1, 2), keepdims=True)
        return maps

    def _image_loss(self, logits, deltas, anchors, boxes, labels, valid):
        matching = assign.match_ssd(boxes, valid, anchors, self.overlap)
        positive = matching >= 0
        owner = jnp.maximum(matching, 0)
        label = jnp.where(positive, labels[owner] + 1, 0)
        entropy = losses.cross_entropy(logits, label)
        counted = positive | hard_negatives(entropy, positive, self.negatives)
        aim = box_ops.encode(boxes[owner], anchors, self.weights)
        mask = jnp.broadcast_to(positive[:, None], deltas.shape)
        return {
            "class": jnp.sum(jnp.where(counted, entropy, 0)),
            "box": jnp.sum(losses.smooth_l1(deltas, aim, mask=mask)),
            "matched": jnp.sum(positive),
        }

    def _best(self, logits, deltas, anchors, size):
        scores = jax.nn.softmax(logits)[:, 1:]
        boxes = box_ops.decode(deltas, anchors, self.weights, self.limit)
        boxes = box_ops.clip(boxes, size[0], size[1])
        kept = nms_classes(boxes, scores, self.nms, self.count, self.candidates, self.score)
        return Detections(
            boxes=jnp.where(kept.valid[:, None], boxes[kept.index], 0),
            scores=kept.score,
            labels=kept.label,
            valid=kept.valid,
        )


class L2Scale(nn.Module):
    """Each pixel's features over their Euclidean norm, times a learned scale per channel.

    ParseNet's normalisation (Liu et al. 2015), which conv4_3 needs, being larger than later maps.
    """

    start: float = START

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        scale = self.param("scale", nn.initializers.constant(self.start), (x.shape[-1],))
        y = l2_normalize(x.astype(scale.dtype)) * channelwise(scale)
        return y.astype(x.dtype)


def SSD300(
    num_classes: int = 20,
    boxes: DefaultBoxes = BOXES_300,
    dtype: str = "float32",
) -> SSD:
    """On VGG-16 for 300×300 pixels: 8732 default boxes, those of the paper's VOC files.

    `DefaultBoxes(COCO_300)` are its files' for COCO, and with `clip='sides'` torchvision's.
    """
    return SSD(_vgg16(dtype), num_classes, boxes, dtype=dtype)


def SSD512(
    num_classes: int = 20,
    boxes: DefaultBoxes = BOXES_512,
    dtype: str = "float32",
) -> SSD:
    """On VGG-16 for 512×512 pixels: 24564 default boxes; `COCO_512` are the scales for COCO."""
    return SSD(_vgg16(dtype), num_classes, boxes, extras=EXTRAS_512, dtype=dtype)


def SSD300ResNet(
    depth: int = 50,
    num_classes: int = 20,
    boxes: DefaultBoxes = BOXES_RESNET,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> SSD:
    """On a ResNet of `DEPTHS` for 300×300 pixels: the same six grids, 8732 default boxes.

    conv3_x, conv4_x and conv5_x are read where VGG has conv4_3, fc7 and conv8_2.
    """
    stages, block = DEPTHS[depth]
    return SSD(
        ResNet(stages, block, norm=norm, dtype=dtype),
        num_classes,
        boxes,
        reads=("conv3_x", "conv4_x", "conv5_x"),
        rescaled=(),
        top="conv5_x",
        fc=0,
        extras=EXTRAS_RESNET,
        norm=norm,
        dtype=dtype,
    )


def SmallSSD(
    num_classes: int = 8,
    boxes: LectureBoxes = LECTURE_BOXES,
    width: int = 16,
    norm: Norm = "sync",
    dtype: str = "float32",
) -> SSD:
    """The lecture's: a base network, blocks that halve width and height, boxes at each scale.

    Three stages are the base, each further one a block; a last map of one pixel sees everything
    (Zhang, Dive into Deep Learning, 14.7). As many stages as there are sizes of boxes, plus one.
    """
    stages = len(boxes.sizes) + 1
    backbone = VGG(((3, 3),) * stages, width, norm=norm, dtype=dtype)
    return SSD(
        backbone,
        num_classes,
        boxes,
        reads=tuple(f"pool{stage}" for stage in range(3, stages + 1)),
        rescaled=(),
        top=f"pool{stages}",
        fc=0,
        extras=(),
        whole=True,
        norm=norm,
        dtype=dtype,
    )


def _vgg16(dtype: str) -> VGG:
    return VGG(CONFIGURATIONS["D"], keep=("conv4_3", "conv5_3"), ceil_mode=True, dtype=dtype)
