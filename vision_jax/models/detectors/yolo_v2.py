"""YOLO9000: Better, Faster, Stronger (Redmon & Farhadi 2016, arXiv:1612.08242): YOLO v2.

Every step of the paper's "path from YOLO" (table 2) is a field: batch norm (`norm`), the backbone,
the priors, how boxes are predicted from them (`location`), the passthrough. The loss is Darknet's.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.models.classifiers.classifier import SMALL_NORMAL
from vision_jax.models.classifiers.darknet import TINY, TINY_POOLS, ConvLeaky, Darknet, Form
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.rpn import wide
from vision_jax.models.layers.blocks import Conv, Norm, shards
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import yolo_cells
from vision_jax.structs import Detections, Targets

Number = int | float
Priors = tuple[tuple[Number, Number], ...]
# Widths and heights in cells: Darknet's, from k-means on the boxes of VOC and COCO.
VOC_PRIORS: Priors = (
    (1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053),
    (11.2364, 10.0071),
)  # fmt: skip
COCO_PRIORS: Priors = (
    (0.57273, 0.677385), (1.87446, 2.06253), (3.33843, 5.47434), (7.88282, 3.52778),
    (9.77052, 9.16828),
)  # fmt: skip
VOC_PRIORS_TINY: Priors = (
    (1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52)
)  # fmt: skip
# Chosen by hand, as before k-means: Faster R-CNN's three sizes in three shapes, in 32-pixel cells.
HAND_PRIORS: Priors = tuple(
    (size * wide, size / wide) for size in (4, 8, 16) for wide in (0.5**0.5, 1.0, 2**0.5)
)


class YOLOv2(nn.Module):
    """The detector.

    Fields:
      backbone: with the endpoints that are read.
      num_classes: without background.
      endpoint: what the detector reads.
      priors: widths and heights in cells; see `ops.anchors.kmeans_priors`.
      location: 'direct', the centre is within its cell (section 2); 'offset', it may lie anywhere,
        as in Faster R-CNN.
      convs: features of the 3×3 convolutions on the endpoint.
      passthrough: the finer endpoint that joins them, or '' for none; its resolution must be twice
        as high.
      reduced: features that a 1×1 convolution makes of it; 0 leaves it as it is.
      reorg: how it becomes coarse: 'space_to_depth', or 'darknet', whose reorg layer mixes places
        and channels up and which published weights need.
      merged: features of the 3×3 convolution after the join; 0 for none.
      norm, form: of the convolutions beside the backbone; see `models.darknet.ConvLeaky`.
      ignore: a prediction that overlaps an object by more than this need not be background.
      rescore: an object's target is the IoU of its prediction, not 1.
      object_weight, noobject_weight, class_weight, box_weight: of the terms.
      warm_up: for so many training images, predictions without an object are drawn to their
        priors, with weight 0.01.
      score: detections with a lower one are dropped.
      nms: greatest IoU of two detections of one class.
      candidates: boxes per class that enter non-maximum suppression.
      top: detections per image.
      dtype: compute dtype.
    """

    backbone: nn.Module = Darknet()
    num_classes: int = 20
    endpoint: str = "stage6"
    priors: Priors = VOC_PRIORS
    location: Literal["direct", "offset"] = "direct"
    convs: tuple[int, ...] = (1024, 1024)
    passthrough: str = "stage5"
    reduced: int = 64
    reorg: Literal["space_to_depth", "darknet"] = "space_to_depth"
    merged: int = 1024
    norm: Norm = "sync"
    form: Form = "torch"
    ignore: float = 0.6
    rescore: bool = True
    object_weight: float = 5.0
    noobject_weight: float = 1.0
    class_weight: float = 1.0
    box_weight: float = 1.0
    warm_up: int = 12800
    score: float = 0.005
    nms: float = 0.45
    candidates: int | None = 400
    top: int = 100
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        sizes: Float[Array, "b 2"],
        targets: Targets | None = None,
        keys: Key[Array, "b"] | None = None,
        train: bool = False,
    ) -> dict[str, Array]:
        """Outputs.

        raw (b, h, w, priors, 5 + classes): tx, ty, tw, th, objectness, classes, all before any
          activation.
        boxes (b, n, 4): xyxy in pixels of the network's input.
        sizes (b, 2): as given.
        seen (b,): training images before this batch.
        """
        endpoints = self.backbone(image, train, keys)
        head = Head(
            len(self.priors) * (5 + self.num_classes),
            self.endpoint,
            self.convs,
            self.passthrough,
            self.reduced,
            self.reorg,
            self.merged,
            self.norm,
            self.form,
            self.dtype,
            name="head",
        )
        x, seen = head(endpoints, train)
        raw = wide(x).reshape(*x.shape[:3], len(self.priors), -1)
        seen = jnp.broadcast_to(seen, (image.shape[0],))
        return {"raw": raw, "boxes": self._decode(raw), "sizes": sizes, "seen": seen}

    def loss(
        self, outputs: dict, targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """'box', 'object', 'noobject', 'class' and, with a warm-up, 'prior': sums over
        predictions, means over images."""
        boxes, labels, present = yolo.objects(targets)
        given = outputs["raw"], boxes, labels, present, outputs["seen"]
        return yolo.total(jax.vmap(self._terms)(*given), valid)

    def detect(self, outputs: dict) -> Detections:
        """The best boxes; a score is objectness times class probability."""
        raw = outputs["raw"]
        flat = raw.reshape(raw.shape[0], -1, raw.shape[-1])
        scores = nn.sigmoid(flat[..., 4:5]) * nn.softmax(flat[..., 5:])
        limits = self.score, self.nms, self.candidates, self.top
        return yolo.select(outputs["boxes"], scores, outputs["sizes"], *limits)

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """The priors around the centres of their cells, for an image of that size."""
        grid = (height // self.stride, width // self.stride)
        return yolo.anchors(self._sides, grid, self.stride)

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """The object that each prior answers for, or -1; those to ignore depend on predictions."""
        boxes, _, present = yolo.objects(targets)
        grid = (height // self.stride, width // self.stride)

        def one(boxes, present):
            placed = self._placed(boxes, present, grid)
            return yolo.owner(placed, grid[0] * grid[1] * len(self.priors))

        return jax.vmap(one)(boxes, present)

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.backbone.strides[self.endpoint]

    @property
    def _sides(self) -> Float[Array, "a 2"]:
        """The priors in pixels."""
        return jnp.array(self.priors, jnp.float32) * self.stride

    def _placed(self, boxes, present, grid):
        prior = assign.best_prior(boxes[:, 2:] - boxes[:, :2], self._sides)
        return yolo.place(boxes, present, prior, grid, self.stride, len(self.priors))

    def _decode(self, raw: Float[Array, "b h w a k"]) -> Float[Array, "b h*w*a 4"]:
        if self.location == "direct":
            return yolo.decode(raw, self._sides, self.stride)
        anchors = self.anchors(raw.shape[1] * self.stride, raw.shape[2] * self.stride)
        deltas = raw[..., :4].reshape(raw.shape[0], -1, 4)
        return jax.vmap(lambda d: box_ops.decode(d, anchors, (1.0, 1.0, 1.0, 1.0)))(deltas)

    def _box_loss(self, rows, index, truth, mask, grid):
        """Of the predictions `index`, whose raw outputs are `rows`, against boxes."""
        if self.location == "direct":
            cells = yolo_cells(grid, len(self.priors))[index]
            sides = self._sides[index % len(self.priors)]
            target = box_ops.encode_yolo(truth, cells, sides, float(self.stride))
            return yolo.box_loss(rows[:, :4], target, mask)
        anchors = self.anchors(grid[0] * self.stride, grid[1] * self.stride)[index]
        target = box_ops.encode(truth, anchors, (1.0, 1.0, 1.0, 1.0))
        difference = jnp.where(mask[:, None], rows[:, :4] - target, 0)
        return 0.5 * (difference * difference).sum(1)

    def _terms(self, raw, truth, labels, present, seen):
        """One image's terms."""
        grid = raw.shape[:2]
        flat = raw.reshape(-1, raw.shape[-1])
        boxes = jax.lax.stop_gradient(self._decode(raw[None])[0])
        placed = self._placed(truth, present, grid)
        index, mask = placed.index, placed.last
        free = ~yolo.owned(placed, len(flat))

        rows = flat[index]
        height, width = grid[0] * self.stride, grid[1] * self.stride
        small = 2 - box_ops.area(truth) / (height * width)
        right = box_ops.iou(boxes[index], truth) if self.rescore else jnp.ones_like(small)
        background = free & (yolo.best_overlap(boxes, truth, present) <= self.ignore)
        entropy = losses.binary_cross_entropy
        empty = entropy(flat[:, 4], jnp.zeros_like(flat[:, 4]), background).sum()
        found = yolo.divergence(rows[:, 4], right, mask).sum()
        box = (small * self._box_loss(rows, index, truth, mask, grid)).sum()
        terms = {
            "box": self.box_weight * box,
            "object": self.object_weight * found,
            "noobject": self.noobject_weight * empty,
            "class": self.class_weight * losses.cross_entropy(rows[:, 5:], labels, 0.0, mask).sum(),
        }
        if self.warm_up:
            everywhere, anchors = jnp.arange(len(flat)), self.anchors(height, width)
            drawn = self._box_loss(flat, everywhere, anchors, free, grid)
            terms["prior"] = jnp.where(seen < self.warm_up, 0.01 * drawn.sum(), 0)
        return terms


class Head(nn.Module):
    """The convolutions beside the backbone; see `YOLOv2` for the fields.

    Submodules `conv1`, …, `passthrough`, `merged`, `predict`. Returns predictions (b, h, w,
    outputs), and the number of images seen in training before these, which is counted here.
    """

    outputs: int
    endpoint: str
    convs: tuple[int, ...]
    passthrough: str
    reduced: int
    reorg: str
    merged: int
    norm: Norm = "sync"
    form: Form = "torch"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, endpoints: dict[str, Array], train: bool = False
    ) -> tuple[Float[Array, "b h w o"], Float[Array, ""]]:
        def unit(x, features, kernel, name):
            parts = self.norm, self.form, self.dtype
            return ConvLeaky(features, kernel, 1, *parts, name=name)(x, train)

        x = endpoints[self.endpoint]
        for i, features in enumerate(self.convs, start=1):
            x = unit(x, features, 3, f"conv{i}")
        if self.passthrough:
            fine = endpoints[self.passthrough]
            fine = unit(fine, self.reduced, 1, "passthrough") if self.reduced else fine
            coarse = darknet_reorg(fine) if self.reorg == "darknet" else space_to_depth(fine)
            x = jnp.concatenate([coarse.astype(x.dtype), x], -1)
        if self.merged:
            x = unit(x, self.merged, 3, "merged")
        predict = Conv(self.outputs, dtype=self.dtype, kernel_init=SMALL_NORMAL, name="predict")
        seen = self.variable("counters", "seen", jnp.zeros, (), jnp.float32)
        before = seen.value
        if train and not self.is_initializing():
            seen.value = before + x.shape[0] * shards()
        return predict(x), before


def space_to_depth(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """Each 2×2 square of pixels as one, its pixels in row-major order, channels innermost."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def darknet_reorg(x: Float[Array, "b h w c"]) -> Float[Array, "b h//2 w//2 4*c"]:
    """What Darknet's reorg layer computes.

    It takes the memory of (c, h, w) for one of (c / 4, 2h, 2w), gathers each 2×2 square of that
    into channels, and takes the result for one of (4c, h / 2, w / 2).
    """
    b, h, w, c = x.shape
    x = x.transpose(0, 3, 1, 2).reshape(b, c // 4, h, 2, w, 2)
    x = x.transpose(0, 3, 5, 1, 2, 4).reshape(b, 4 * c, h // 2, w // 2)
    return x.transpose(0, 2, 3, 1)


def YOLOv2Tiny(
    num_classes: int = 20,
    norm: Norm = "sync",
    form: Form = "torch",
    priors: Priors = VOC_PRIORS_TINY,
    dtype: str = "float32",
) -> YOLOv2:
    """Darknet's yolov2-tiny-voc: a plain backbone, one convolution, no passthrough."""
    return YOLOv2(
        Darknet(TINY, TINY_POOLS, norm=norm, form=form, dtype=dtype),
        num_classes,
        "stage7",
        priors,
        convs=(1024,),
        passthrough="",
        merged=0,
        norm=norm,
        form=form,
        dtype=dtype,
    )
