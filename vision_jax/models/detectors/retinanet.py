"""Focal Loss for Dense Object Detection (Lin et al. 2017, arXiv:1708.02002): RetinaNet.

Parameters: `backbone`, `pyramid`, and the two subnets `class_subnet` and `box_subnet`, whose layers
serve all levels. Initialisation: N(0, 0.01), zero biases, and a last class bias such that every
anchor starts with probability `prior` (section 4.1).
"""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.models.classifiers.classifier import SMALL_NORMAL
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors.fpn import FPN
from vision_jax.models.layers.blocks import Conv, ConvNorm, Norm
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import cell_anchors, grid_anchors
from vision_jax.ops.nms import nms
from vision_jax.structs import Detections, Targets

UNWEIGHTED = (1.0, 1.0, 1.0, 1.0)
RATIOS = (0.5, 1.0, 2.0)


def octave_sizes(
    smallest: int = 32, levels: int = 5, scales: int = 3
) -> tuple[tuple[float, ...], ...]:
    """Anchor sides per level: `scales` per octave, whole pixels, doubling from level to level."""
    return tuple(
        tuple(float(int(smallest * 2**level * 2 ** (k / scales))) for k in range(scales))
        for level in range(levels)
    )


class RetinaNet(nn.Module):
    """One-stage detector: every anchor of a feature pyramid is classified and refined.

    Fields:
      backbone: any backbone that has the pyramid's endpoints.
      pyramid: the paper's has P3 to P7, P6 made from C5.
      num_classes: without background, which is the absence of all.
      sizes: per level, sides of the anchors in pixels.
      ratios: height / width of the anchors, each with every size.
      cell, spacing: see `RPN`.
      depth: 3x3 convolutions of each subnet before its last.
      norm: of the subnets; 'none' (the paper), or see `blocks.norm`.
      prior: every class's probability at the start.
      alpha, gamma: see `losses.sigmoid_focal`.
      box_loss: 'smooth_l1', or 'giou' of the decoded boxes (torchvision's second RetinaNet).
      beta: see `losses.smooth_l1`; 0 is L1 (torchvision), Detectron has 0.11.
      high, low, low_quality: see `assign.match`.
      weights: see `boxes.encode`.
      least: detections have a greater score.
      candidates: (anchor, class) pairs per level that enter the suppression.
      overlap: IoU above which a detection suppresses a lesser one of its class.
      count: detections per image.
      dtype: compute dtype of the subnets.
    """

    backbone: nn.Module
    pyramid: FPN
    num_classes: int = 80
    sizes: tuple[tuple[float, ...], ...] = octave_sizes()
    ratios: tuple[float, ...] = RATIOS
    cell: Literal["rounded", "exact"] = "rounded"
    spacing: Literal["image", "network"] = "image"
    depth: int = 4
    norm: Norm = "none"
    prior: float = 0.01
    alpha: float = 0.25
    gamma: float = 2.0
    box_loss: Literal["smooth_l1", "giou"] = "smooth_l1"
    beta: float = 0.0
    high: float = 0.5
    low: float = 0.4
    low_quality: bool = True
    weights: tuple[float, float, float, float] = UNWEIGHTED
    least: float = 0.05
    candidates: int = 1000
    overlap: float = 0.5
    count: int = 100
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
        """The backbone's endpoints and, each a tuple over the pyramid's levels,

          pyramid: maps (b, h, w, c);
          logits: (b, anchors, num_classes) before the sigmoid;
          deltas: (b, anchors, 4), see `boxes.decode`;
          anchors: (b, anchors, 4) xyxy in pixels, the same for every image;

        and `sizes` as given. Nothing is drawn, so `targets` and `keys` go unread.
        """
        endpoints = self.backbone(image, train, keys)
        levels = self.pyramid(endpoints)
        subnet = functools.partial(Subnet, depth=self.depth, norm=self.norm, dtype=self.dtype)
        shapes = len(self.sizes[0]) * len(self.ratios)
        bias = -math.log((1 - self.prior) / self.prior)
        classify = subnet(shapes, self.num_classes, bias=bias, name="class_subnet")
        regress = subnet(shapes, 4, name="box_subnet")
        grids = [level.shape[1:3] for level in levels]
        anchors = [a.astype(image.dtype) for a in self._anchors(image.shape[1:3], grids)]
        return {
            **endpoints,
            "pyramid": levels,
            "logits": tuple(classify(level, train).astype(image.dtype) for level in levels),
            "deltas": tuple(regress(level, train).astype(image.dtype) for level in levels),
            "anchors": tuple(jnp.broadcast_to(a, (len(image), *a.shape)) for a in anchors),
            "sizes": sizes,
        }

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """All levels' anchors for images of this many pixels."""
        grids = [
            (-(-height // stride), -(-width // stride))
            for stride in self.pyramid.strides(self.backbone)
        ]
        return jnp.concatenate(self._anchors((height, width), grids))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Each anchor's object, or `assign.BACKGROUND` or `assign.IGNORED`."""
        anchors = self.anchors(height, width)
        return jax.vmap(self._match, (0, 0, None))(targets.boxes, targets.valid, anchors)

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """`class`, the focal loss, and `box`, each (sum, weight): means over images.

        Within an image both are divided by the number of anchors with an object (section 4.1).
        """
        logits, deltas, anchors = (
            jnp.concatenate(outputs[name], 1) for name in ("logits", "deltas", "anchors")
        )
        per_image = jax.vmap(self._image_loss)
        terms = per_image(logits, deltas, anchors, targets.boxes, targets.labels, targets.valid)
        weight = jnp.sum(valid, dtype=jnp.float32)
        return {name: (jnp.sum(jnp.where(valid, x, 0)), weight) for name, x in terms.items()}

    def detect(self, outputs: dict[str, Any]) -> Detections:
        """The `count` best after per-class non-maximum suppression."""
        levels = zip(outputs["logits"], outputs["deltas"], outputs["anchors"], strict=True)
        best = jax.vmap(self._best, (0, 0, 0, 0))
        found = [best(*level, outputs["sizes"]) for level in levels]
        boxes, scores, labels = (jnp.concatenate(parts, 1) for parts in zip(*found, strict=True))
        return jax.vmap(self._suppress)(boxes, scores, labels)

    def _anchors(self, image, grids):
        found = []
        for sizes, grid, stride in zip(
            self.sizes, grids, self.pyramid.strides(self.backbone), strict=True
        ):
            apart = (stride, stride)
            if self.spacing == "image":
                apart = (image[0] // grid[0], image[1] // grid[1])
            cell = cell_anchors(sizes, self.ratios, self.cell == "rounded")
            found.append(grid_anchors(cell, grid, apart))
        return found

    def _match(self, boxes, valid, anchors):
        return assign.match(boxes, valid, anchors, self.high, self.low, self.low_quality)

    def _image_loss(self, logits, deltas, anchors, boxes, labels, valid):
        matching = self._match(boxes, valid, anchors)
        positive = matching >= 0
        owner = jnp.maximum(matching, 0)
        label = jnp.where(positive, labels[owner], -1)
        wanted = jax.nn.one_hot(label, self.num_classes, dtype=logits.dtype)
        counted = jnp.broadcast_to((matching != assign.IGNORED)[:, None], logits.shape)
        focal = losses.sigmoid_focal(logits, wanted, self.alpha, self.gamma, counted)
        if self.box_loss == "giou":
            refined = box_ops.decode(deltas, anchors, self.weights)
            box = losses.giou_loss(refined, boxes[owner], positive)
        else:
            aim = box_ops.encode(boxes[owner], anchors, self.weights)
            mask = jnp.broadcast_to(positive[:, None], deltas.shape)
            box = losses.smooth_l1(deltas, aim, self.beta, mask)
        number = jnp.maximum(jnp.sum(positive), 1).astype(logits.dtype)
        return {"class": jnp.sum(focal) / number, "box": jnp.sum(box) / number}

    def _best(self, logits, deltas, anchors, size):
        """A level's `candidates` best pairs of an image: boxes, scores, labels."""
        scores = jax.nn.sigmoid(logits)
        # The best pairs belong to the anchors with the best pairs: sorting those alone is cheap.
        anchor = lax.top_k(jnp.max(scores, 1), min(self.candidates, len(scores)))[1]
        anchor = jnp.sort(anchor)  # so that equal scores keep the anchors' order
        pairs = scores[anchor].reshape(-1)
        score, pair = lax.top_k(pairs, min(self.candidates, len(pairs)))
        anchor, label = anchor[pair // self.num_classes], pair % self.num_classes
        boxes = box_ops.decode(deltas[anchor], anchors[anchor], self.weights)
        return box_ops.clip(boxes, size[0], size[1]), score, label

    def _suppress(self, boxes, scores, labels):
        kept = nms(boxes, scores, self.overlap, self.count, labels, scores > self.least)
        return Detections(
            boxes=jnp.where(kept.valid[:, None], boxes[kept.index], 0),
            scores=kept.score,
            labels=jnp.where(kept.valid, labels[kept.index], -1),
            valid=kept.valid,
        )


class Subnet(nn.Module):
    """Convolutions `conv1`, … and `out`, which has `outputs` numbers for each of `shapes` anchors.

    As wide as the map that it reads.
    """

    shapes: int
    outputs: int
    bias: float = 0.0
    depth: int = 4
    norm: Norm = "none"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], train: bool = False
    ) -> Float[Array, "b h*w*{self.shapes} {self.outputs}"]:
        for i in range(1, self.depth + 1):
            x = ConvNorm(
                x.shape[-1],
                3,
                padding=1,
                norm=self.norm,
                dtype=self.dtype,
                kernel_init=SMALL_NORMAL,
                name=f"conv{i}",
            )(x, train)
        start = nn.initializers.constant(self.bias)
        last = Conv(
            self.shapes * self.outputs,
            3,
            padding=1,
            dtype=self.dtype,
            kernel_init=SMALL_NORMAL,
            bias_init=start,
            name="out",
        )
        return last(x).reshape(x.shape[0], -1, self.outputs)


def retinanet_resnet_fpn(
    depth: int = 50,
    num_classes: int = 80,
    source: Literal["c5", "p5"] = "p5",
    beta: float = 0.0,
    eps: float = 1e-5,
    norm: Norm = "frozen",
    dtype: str = "float32",
) -> RetinaNet:
    """RetinaNet on one of the ResNets of `DEPTHS`, with P3 to P7 of 256 channels.

    The defaults are torchvision's first form; the paper has `source='c5'`.

    Args:
      depth: of the ResNet.
      num_classes: without background.
      source: see `FPN`.
      beta: see `RetinaNet`.
      eps: of the backbone's norms; torchvision's published weights need 0.
      norm: of the backbone.
      dtype: compute dtype.
    """
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages, block=block, norm=norm, eps=eps, dtype=dtype)
    endpoints = ("conv3_x", "conv4_x", "conv5_x")
    pyramid = FPN(endpoints, extra="p6p7", source=source, dtype=dtype)
    return RetinaNet(backbone, pyramid, num_classes, beta=beta, dtype=dtype)
