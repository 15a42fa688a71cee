"""SSD: Single Shot MultiBox Detector (Liu et al. 2016, arXiv:1512.02325).

Parameters: `backbone`; `fc6` and `fc7`, VGG's fully connected layers made convolutions; `conv8_1`,
`conv8_2`, … of the paper's figure 2; for each map that is read `<map>_class` and `<map>_box`, and
`<map>_scale` where it is L2-normalised. Initialisation: Glorot uniform with zero biases, as in the
paper, for all beside the backbone, which it starts from ImageNet.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.classifiers.mobilenet_v1 import MobileNetV1Backbone
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.classifiers.vgg import CONFIGURATIONS, VGG
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.selection import select_detections
from vision_jax.models.detectors.ssd_boxes import (
    COCO_300,
    SEVEN_RATIOS,
    STRIDES_512,
    VOC_300,
    VOC_512,
    DefaultBoxes,
    LectureBoxes,
    TensorFlowBoxes,
)
from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    ConvNorm,
    Images,
    Keys,
    Layers,
    Same,
    channelwise,
    compute_dtype,
)
from vision_jax.ops import assign, initializers, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.normalize import l2_normalize
from vision_jax.ops.pool import max_pool
from vision_jax.ops.sampling import hard_negatives
from vision_jax.structs import Detections, Targets, Terms

XAVIER = initializers.xavier
START = 20.0  # initial value of the learned scales (section 3.1)
BOXES_300 = DefaultBoxes(VOC_300)
BOXES_512 = DefaultBoxes(VOC_512, SEVEN_RATIOS, STRIDES_512)
BOXES_RESNET = DefaultBoxes(COCO_300)
LECTURE_BOXES = LectureBoxes()
TENSORFLOW_BOXES = TensorFlowBoxes()


class Extra(NamedTuple):
    """A pair of convolutions: 1x1 to `reduced` channels, then a larger one that shrinks the map."""

    reduced: int
    features: int
    kernel: int = 3
    stride: int = 2
    padding: int | Same = 1


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
EXTRAS_MOBILENET = tuple(
    Extra(reduced, 2 * reduced, padding="same") for reduced in (256, 128, 128, 64)
)
_ACTS = {"relu": nn.relu, "relu6": nn.relu6}


class SSD(DenseDetector):
    """The detector: every map of a chain classifies and refines its own default boxes.

    Fields:
      backbone: any backbone with the endpoints that are named here.
      num_classes: without background.
      default_boxes: `DefaultBoxes`, `LectureBoxes` or `TensorFlowBoxes`, for as many maps as are
        read.
      feature_endpoints: endpoints that are read as they are, the finest first.
      l2_normalized: those of them that are first divided by their norm over channels and multiplied
        by learned scales.
      extra_layers_from: endpoint that the added layers start from.
      fc: features of fc6 (3×3, dilated by 6, after a pooling that keeps the size) and fc7 (1×1),
        whose map is read; 0 for none.
      extras: `Extra`s, of which each makes a map that is read.
      act: of the added layers.
      predict_kernel: rows and columns that a prediction sees of its map.
      score_activation: 'softmax' over the background and the classes, or 'sigmoid' of each alone.
      global_map: read the maximum over the last map too, as a map of one pixel.
      positive_iou: IoU from which a default box is an object's.
      negative_ratio: negatives per positive in hard negative mining.
      box_weights: factors of the box coding, see `ops.boxes.encode`; inverses of what Caffe calls
        variances.
      log_size_limit: greatest logarithm of a side over its default box's.
      score_threshold: detections have a greater score.
      pre_nms_top_k: boxes per class that enter the suppression; None is all.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      max_detections: slots per image.
      layers: how the added layers normalise (the paper: not at all) and compute.
    """

    backbone: nn.Module
    num_classes: int = 20
    default_boxes: DefaultBoxes | LectureBoxes | TensorFlowBoxes = BOXES_300
    feature_endpoints: tuple[str, ...] = ("conv4_3",)
    l2_normalized: tuple[str, ...] = ("conv4_3",)
    extra_layers_from: str = "conv5_3"
    fc: int = 1024
    extras: tuple[Extra | tuple[int, ...], ...] = EXTRAS_300
    act: Literal["relu", "relu6"] = "relu"
    predict_kernel: int = 3
    score_activation: Literal["softmax", "sigmoid"] = "softmax"
    global_map: bool = False
    positive_iou: float = 0.5
    negative_ratio: float = 3.0
    box_weights: tuple[float, float, float, float] = box_ops.RCNN_WEIGHTS
    log_size_limit: float = box_ops.LOG_SIZE_LIMIT
    score_threshold: float = 0.01
    pre_nms_top_k: int | None = 400
    nms_threshold: float = 0.45
    max_detections: int = 200
    layers: Layers = NO_NORM

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the backbone's endpoints and the outputs of all maps, the finest first.

        maps: tuple of maps (b, h, w, c) that boxes are predicted from.
        class_logits: (b, a, 1 + num_classes), background first, before `score`.
        box_deltas: (b, a, 4), see `ops.boxes.decode`.
        anchors: (a, 4) default boxes, xyxy in pixels.
        """
        endpoints = self.backbone(images, train=train, keys=keys)
        maps = self._maps(endpoints, train)
        size = {"kernel": self.predict_kernel, "padding": self.predict_kernel // 2}
        settings = {**size, "kernel_init": XAVIER, "layers": self.layers}
        predictions = {"class": [], "box": []}
        outputs = {"class": 1 + self.num_classes, "box": 4}
        per_cell = self.default_boxes.boxes_per_cell
        for (name, x), count in zip(maps.items(), per_cell, strict=True):
            for kind, number in outputs.items():
                y = Conv(count * number, **settings, name=f"{name}_{kind}")(x)
                predictions[kind].append(y.reshape(y.shape[0], -1, number).astype(images.dtype))
        grids = [x.shape[1:3] for x in maps.values()]
        return {
            **endpoints,
            "maps": tuple(maps.values()),
            "class_logits": jnp.concatenate(predictions["class"], 1),
            "box_deltas": jnp.concatenate(predictions["box"], 1),
            "anchors": self.default_boxes(images.shape[1:3], grids, images.dtype),
        }

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the default boxes, xyxy, of images of this many pixels."""
        image, sizes = jnp.zeros((1, height, width, 3)), jnp.array([[height, width]], jnp.float32)
        init = functools.partial(self.init_with_output, jax.random.key(0))
        maps = jax.eval_shape(init, image, sizes)[0]["maps"]
        return self.default_boxes((height, width), [x.shape[1:3] for x in maps], jnp.float32)

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns each default box's object, or `assign.BACKGROUND`."""
        match = jax.vmap(assign.match_ssd, (0, 0, None, None))
        return match(targets.boxes, targets.valid, self.anchors(height, width), self.positive_iou)

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `class` and `box`, each over the batch's matched default boxes (section 2.2).

        Hard negatives are chosen within each image.
        """
        gt_valid = targets.valid & valid[:, None]
        predictions = (outputs[name] for name in ("class_logits", "box_deltas", "anchors"))
        per_image = jax.vmap(self._losses, (0, 0, None, 0, 0, 0))
        terms = per_image(*predictions, targets.boxes, targets.labels, gt_valid)
        matched = jnp.sum(terms.pop("matched"), dtype=jnp.float32)
        return {name: (jnp.sum(jnp.where(valid, x, 0)), matched) for name, x in terms.items()}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best detections after per-class non-maximum suppression."""
        score = jax.nn.sigmoid if self.score_activation == "sigmoid" else jax.nn.softmax
        scores = score(outputs["class_logits"])[..., 1:]
        coding = outputs["anchors"], self.box_weights, self.log_size_limit
        boxes = jax.vmap(lambda deltas: box_ops.decode(deltas, *coding))(outputs["box_deltas"])
        limits = self.score_threshold, self.nms_threshold, self.pre_nms_top_k, self.max_detections
        return select_detections(boxes, scores, sizes, *limits)

    def _maps(self, endpoints, train):
        """Makes the maps that are read, by name."""
        maps = {name: endpoints[name] for name in self.feature_endpoints}
        for name in self.l2_normalized:
            maps[name] = L2Scale(layers=self.layers, name=f"{name}_scale")(maps[name])
        act = _ACTS[self.act]
        conv = functools.partial(ConvNorm, act=act, kernel_init=XAVIER, layers=self.layers)
        x = endpoints[self.extra_layers_from]
        if self.fc:
            x = max_pool(x, 3, 1, padding=1)
            x = conv(self.fc, 3, padding=6, dilation=6, name="fc6")(x, train=train)
            maps["fc7"] = x = conv(self.fc, name="fc7")(x, train=train)
        for number, extra in enumerate(self.extras, start=8):
            extra = Extra(*extra)
            x = conv(extra.reduced, name=f"conv{number}_1")(x, train=train)
            size = extra.kernel, extra.stride, extra.padding
            x = conv(extra.features, *size, name=f"conv{number}_2")(x, train=train)
            maps[f"conv{number}_2"] = x
        if self.global_map:
            maps["global"] = jnp.max(x, (1, 2), keepdims=True)
        return maps

    def _losses(self, class_logits, box_deltas, anchors, gt_boxes, gt_labels, gt_valid):
        """Computes one image's terms, and how many default boxes are matched."""
        matched_idxs = assign.match_ssd(gt_boxes, gt_valid, anchors, self.positive_iou)
        positive = matched_idxs >= 0
        index = jnp.maximum(matched_idxs, 0)
        class_targets = jnp.where(positive, gt_labels[index] + 1, 0)
        if self.score_activation == "sigmoid":
            one_hot = jax.nn.one_hot(class_targets, class_logits.shape[-1])
            class_loss = losses.binary_cross_entropy(class_logits, one_hot).sum(-1)
        else:
            class_loss = losses.cross_entropy(class_logits, class_targets)
        class_mask = positive | hard_negatives(class_loss, positive, self.negative_ratio)
        box_targets = box_ops.encode(gt_boxes[index], anchors, self.box_weights)
        box_mask = jnp.broadcast_to(positive[:, None], box_deltas.shape)
        return {
            "class": jnp.sum(jnp.where(class_mask, class_loss, 0)),
            "box": jnp.sum(losses.smooth_l1(box_deltas, box_targets, mask=box_mask)),
            "matched": jnp.sum(positive),
        }


class L2Scale(nn.Module):
    """A normalisation of each pixel's features by their norm, with a learned scale per channel.

    ParseNet's (Liu et al. 2015), which conv4_3 needs, being larger than later maps. Parameter:
    `scale` (channels,).
    """

    start: float = START
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Images) -> Images:
        scale = self.param("scale", initializers.constant(self.start), (x.shape[-1],))
        y = l2_normalize(x.astype(scale.dtype)) * channelwise(scale)
        return y.astype(compute_dtype(self.layers.dtype, scale))


def SSD300(
    num_classes: int = 20, default_boxes: DefaultBoxes = BOXES_300, layers: Layers = NO_NORM
) -> SSD:
    """Makes SSD on VGG-16 for 300×300 pixels: 8732 default boxes, those of the paper's VOC files.

    `DefaultBoxes(COCO_300)` are its files' for COCO, and with `clip='sides'` torchvision's.
    """
    return SSD(_vgg16(layers), num_classes, default_boxes, layers=layers)


def SSD512(
    num_classes: int = 20, default_boxes: DefaultBoxes = BOXES_512, layers: Layers = NO_NORM
) -> SSD:
    """Makes SSD on VGG-16 for 512×512 pixels: 24564 default boxes.

    `COCO_512` are the scales for COCO.
    """
    return SSD(_vgg16(layers), num_classes, default_boxes, extras=EXTRAS_512, layers=layers)


def SSD300ResNet(
    depth: int = 50,
    num_classes: int = 20,
    default_boxes: DefaultBoxes = BOXES_RESNET,
    layers: Layers = Layers(),
) -> SSD:
    """Makes SSD on a ResNet of `DEPTHS` for 300×300 pixels: the same six grids, 8732 default boxes.

    conv3_x, conv4_x and conv5_x are read where VGG has conv4_3, fc7 and conv8_2.
    """
    stages, block = DEPTHS[depth]
    return SSD(
        ResNet(stages, block, layers=layers),
        num_classes,
        default_boxes,
        feature_endpoints=("conv3_x", "conv4_x", "conv5_x"),
        l2_normalized=(),
        extra_layers_from="conv5_x",
        fc=0,
        extras=EXTRAS_RESNET,
        layers=layers,
    )


def SSDMobileNet(
    num_classes: int = 90,
    default_boxes: TensorFlowBoxes = TENSORFLOW_BOXES,
    layers: Layers = Layers(eps=1e-3),
) -> SSD:
    """Makes TensorFlow's SSD on MobileNet v1 (Howard et al. 2017, section 4.5): six maps.

    block11 and block13 are read where VGG has conv4_3 and fc7. Predictions are 1×1 convolutions,
    their scores sigmoids. `layers=NO_NORM` takes weights whose norms were folded, as face-api's
    (`num_classes=2`; images in -1..1).
    """
    return SSD(
        MobileNetV1Backbone(padding="same", layers=layers),
        num_classes,
        default_boxes,
        feature_endpoints=("block11", "block13"),
        l2_normalized=(),
        extra_layers_from="block13",
        fc=0,
        extras=EXTRAS_MOBILENET,
        act="relu6",
        predict_kernel=1,
        score_activation="sigmoid",
        layers=layers,
    )


def SmallSSD(
    num_classes: int = 8,
    default_boxes: LectureBoxes = LECTURE_BOXES,
    width: int = 16,
    layers: Layers = Layers(),
) -> SSD:
    """Makes the lecture's: a base network, blocks that halve width and height, boxes at each scale.

    Three stages are the base, each further one a block; a last map of one pixel sees everything
    (Zhang, Dive into Deep Learning, 14.7). As many stages as there are sizes of boxes, plus one.
    """
    stages = len(default_boxes.sizes) + 1
    return SSD(
        VGG(((3, 3),) * stages, width, layers=layers),
        num_classes,
        default_boxes,
        feature_endpoints=tuple(f"pool{stage}" for stage in range(3, stages + 1)),
        l2_normalized=(),
        extra_layers_from=f"pool{stages}",
        fc=0,
        extras=(),
        global_map=True,
        layers=layers,
    )


def _vgg16(layers: Layers) -> VGG:
    endpoints = ("conv4_3", "conv5_3")
    return VGG(CONFIGURATIONS["D"], keep=endpoints, ceil_mode=True, layers=layers)
