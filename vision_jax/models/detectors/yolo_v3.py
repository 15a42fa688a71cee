"""YOLOv3: An Incremental Improvement (Redmon & Farhadi 2018, arXiv:1804.02767).

Three scales predict from one backbone, each with its own three of nine priors; classes are logistic.
The loss is Darknet's: an object belongs to the one prior, of all nine, whose shape is nearest; its
objectness is 1, that of other predictions 0, unless they overlap an object by more than 0.7.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.models.classifiers.classifier import SMALL_NORMAL
from vision_jax.models.classifiers.darknet import (
    TINY,
    TINY_POOLS,
    ConvLeaky,
    Darknet,
    Form,
    ResidualDarknet,
)
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.rpn import wide
from vision_jax.models.layers.blocks import Conv, Norm
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import yolo_cells
from vision_jax.structs import Detections, Targets

Number = int | float
COCO_PRIORS: tuple[tuple[Number, Number], ...] = (
    (10, 13), (16, 30), (33, 23), (30, 61), (62, 45), (59, 119), (116, 90), (156, 198), (373, 326)
)  # fmt: skip
COCO_PRIORS_TINY: tuple[tuple[Number, Number], ...] = (
    (10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319)
)  # fmt: skip


class YOLOv3(nn.Module):
    """The detector.

    Fields:
      backbone: with an endpoint per scale.
      num_classes: without background.
      endpoints: what each scale reads, the coarsest first.
      priors: widths and heights, in pixels of the network's input.
      masks: the numbers of each scale's priors.
      neck: features of each scale's convolutions, 1×1 and 3×3 by turns; the last one also leads,
        by a 1×1 convolution to `lateral` features and up to twice the resolution, to the next.
      out: features of the 3×3 convolution before each scale's predictions.
      lateral: see `neck`; one less than scales.
      norm, form: of the convolutions beside the backbone; see `models.darknet.ConvLeaky`.
      ignore: a prediction that overlaps an object by more than this need not be background.
      smoothing: share of a class target that is spread evenly (Zhang et al. 2019, section 3.3).
      score: detections with a lower one are dropped.
      nms: greatest IoU of two detections of one class.
      candidates: boxes per class that enter non-maximum suppression.
      top: detections per image.
      dtype: compute dtype.
    """

    backbone: nn.Module = ResidualDarknet()
    num_classes: int = 80
    endpoints: tuple[str, ...] = ("stage5", "stage4", "stage3")
    priors: tuple[tuple[Number, Number], ...] = COCO_PRIORS
    masks: tuple[tuple[int, ...], ...] = ((6, 7, 8), (3, 4, 5), (0, 1, 2))
    neck: tuple[tuple[int, ...], ...] = (
        (512, 1024, 512, 1024, 512),
        (256, 512, 256, 512, 256),
        (128, 256, 128, 256, 128),
    )
    out: tuple[int, ...] = (1024, 512, 256)
    lateral: tuple[int, ...] = (256, 128)
    norm: Norm = "sync"
    form: Form = "torch"
    ignore: float = 0.7
    smoothing: float = 0.0
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
    ) -> dict[str, Array | tuple[Array, ...]]:
        """Outputs; the coarsest scale first.

        raw: per scale (b, h, w, priors, 5 + classes): tx, ty, tw, th, objectness, classes, all
          before any activation.
        boxes (b, n, 4): xyxy in pixels of the network's input, all scales in one.
        sizes (b, 2): as given.
        """
        endpoints = self.backbone(image, train, keys)
        head = Head(
            self.endpoints,
            tuple(len(mask) * (5 + self.num_classes) for mask in self.masks),
            self.neck,
            self.out,
            self.lateral,
            self.norm,
            self.form,
            self.dtype,
            name="head",
        )
        raw = tuple(
            wide(x).reshape(*x.shape[:3], len(mask), -1)
            for x, mask in zip(head(endpoints, train), self.masks, strict=True)
        )
        levels = zip(raw, self.masks, self.strides, strict=True)
        boxes = [yolo.decode(x, self._priors(mask), stride) for x, mask, stride in levels]
        return {"raw": raw, "boxes": jnp.concatenate(boxes, 1), "sizes": sizes}

    def loss(
        self, outputs: dict, targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """'box', 'object', 'noobject' and 'class': sums over predictions, means over images."""
        boxes, labels, present = yolo.objects(targets)
        sides = boxes[..., 2:] - boxes[..., :2]
        prior = jax.vmap(assign.best_prior, (0, None))(sides, self._priors(range(self._count)))
        terms: dict[str, Array] = {}
        for raw, mask, stride in zip(outputs["raw"], self.masks, self.strides, strict=True):

            def one(raw, boxes, labels, present, prior, mask=mask, stride=stride):
                return self._level(raw, boxes, labels, present, prior, mask, stride)

            level = jax.vmap(one)(raw, boxes, labels, present, prior)
            terms = {name: terms.get(name, 0) + value for name, value in level.items()}
        return yolo.total(terms, valid)

    def detect(self, outputs: dict) -> Detections:
        """The best boxes; a score is objectness times class probability."""
        flat = [x.reshape(x.shape[0], -1, x.shape[-1]) for x in outputs["raw"]]
        found = nn.sigmoid(jnp.concatenate(flat, 1)[..., 4:])
        scores = found[..., :1] * found[..., 1:]
        limits = self.score, self.nms, self.candidates, self.top
        return yolo.select(outputs["boxes"], scores, outputs["sizes"], *limits)

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """The priors around the centres of their cells, for an image of that size."""
        levels = zip(self.masks, self.strides, strict=True)
        return jnp.concatenate(
            [
                yolo.anchors(self._priors(mask), (height // stride, width // stride), stride)
                for mask, stride in levels
            ]
        )

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """The object that each prior answers for, or -1; those to ignore depend on predictions."""
        boxes, _, present = yolo.objects(targets)
        sides = boxes[..., 2:] - boxes[..., :2]
        prior = jax.vmap(assign.best_prior, (0, None))(sides, self._priors(range(self._count)))
        levels = []
        for mask, stride in zip(self.masks, self.strides, strict=True):
            grid = (height // stride, width // stride)

            def one(boxes, present, prior, mask=mask, stride=stride, grid=grid):
                placed = _placed(boxes, present, prior, mask, grid, stride)
                return yolo.owner(placed, grid[0] * grid[1] * len(mask))

            levels.append(jax.vmap(one)(boxes, present, prior))
        return jnp.concatenate(levels, 1)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each scale."""
        return tuple(self.backbone.strides[name] for name in self.endpoints)

    @property
    def _count(self) -> int:
        return len(self.priors)

    def _priors(self, mask) -> Float[Array, "a 2"]:
        return jnp.array([self.priors[i] for i in mask], jnp.float32)

    def _level(self, raw, truth, labels, present, prior, mask, stride):
        """One image's terms at one scale."""
        grid, count = raw.shape[:2], raw.shape[2]
        flat = raw.reshape(-1, raw.shape[-1])
        priors, cells = self._priors(mask), yolo_cells(grid, count)
        boxes = jax.lax.stop_gradient(yolo.decode(raw[None], priors, stride)[0])
        placed = _placed(truth, present, prior, mask, grid, stride)
        free = ~yolo.owned(placed, len(flat))
        free &= yolo.best_overlap(boxes, truth, present) <= self.ignore

        rows, here = flat[placed.index], cells[placed.index]
        wanted = box_ops.encode_yolo(truth, here, priors[placed.index % count], float(stride))
        height, width = grid[0] * stride, grid[1] * stride
        small = 2 - box_ops.area(truth) / (height * width)
        # An object of another class at the same place is one too.
        together = (placed.index[:, None] == placed.index[None]) & placed.present[None]
        named = jax.nn.one_hot(labels, self.num_classes)
        named = jnp.where(together[..., None], named[None], 0).max(1, initial=0)
        named = (1 - self.smoothing) * named + self.smoothing / self.num_classes
        mask = placed.last
        entropy = losses.binary_cross_entropy
        return {
            "box": (small * yolo.box_loss(rows[:, :4], wanted, mask)).sum(),
            "object": entropy(rows[:, 4], jnp.ones_like(rows[:, 4]), mask).sum(),
            "noobject": entropy(flat[:, 4], jnp.zeros_like(flat[:, 4]), free).sum(),
            "class": entropy(
                rows[:, 5:], named, jnp.broadcast_to(mask[:, None], named.shape)
            ).sum(),
        }


class Head(nn.Module):
    """The convolutions beside the backbone: predictions (b, h, w, outputs) of each scale.

    Submodules `scale1_conv1`, …, `scale1_out`, `scale1_predict`, and `scale2_lateral` before
    the second scale's. See `YOLOv3` for the fields.
    """

    endpoints: tuple[str, ...]
    outputs: tuple[int, ...]
    neck: tuple[tuple[int, ...], ...]
    out: tuple[int, ...]
    lateral: tuple[int, ...]
    norm: Norm = "sync"
    form: Form = "torch"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, endpoints: dict[str, Array], train: bool = False
    ) -> tuple[Float[Array, "b _ _ _"], ...]:
        def unit(x, features, kernel, name):
            parts = self.norm, self.form, self.dtype
            return ConvLeaky(features, kernel, 1, *parts, name=name)(x, train)

        x, found = None, []
        for scale, endpoint in enumerate(self.endpoints, start=1):
            y = endpoints[endpoint]
            if x is not None:
                x = unit(x, self.lateral[scale - 2], 1, f"scale{scale}_lateral")
                x = x.repeat(2, 1).repeat(2, 2)
                y = jnp.concatenate([x, y.astype(x.dtype)], -1)
            for i, features in enumerate(self.neck[scale - 1], start=1):
                y = unit(y, features, 1 if i % 2 else 3, f"scale{scale}_conv{i}")
            x = y
            y = unit(y, self.out[scale - 1], 3, f"scale{scale}_out")
            predict = Conv(
                self.outputs[scale - 1],
                dtype=self.dtype,
                kernel_init=SMALL_NORMAL,
                name=f"scale{scale}_predict",
            )
            found.append(predict(y))
        return tuple(found)


def YOLOv3Tiny(
    num_classes: int = 80,
    norm: Norm = "sync",
    form: Form = "torch",
    priors: tuple[tuple[Number, Number], ...] = COCO_PRIORS_TINY,
    dtype: str = "float32",
) -> YOLOv3:
    """Darknet's yolov3-tiny: two scales on a plain backbone.

    Darknet gives its second scale priors 0, 1, 2, its first 3, 4, 5.
    """
    return YOLOv3(
        Darknet(TINY, TINY_POOLS, norm=norm, form=form, dtype=dtype),
        num_classes,
        endpoints=("stage7", "stage5"),
        priors=priors,
        masks=((3, 4, 5), (0, 1, 2)),
        neck=((256,), ()),
        out=(512, 256),
        lateral=(128,),
        norm=norm,
        form=form,
        dtype=dtype,
    )


def _placed(truth, present, prior, mask, grid, stride):
    """The objects whose prior is one of the scale's."""
    is_mine = prior[:, None] == jnp.array(mask)[None]
    mine = present & is_mine.any(1)
    return yolo.place(truth, mine, is_mine.argmax(1), grid, stride, len(mask))
