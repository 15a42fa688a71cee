"""You Only Look Once (Redmon et al. 2015, arXiv:1506.02640): YOLO v1.

The image is cut into side × side cells; the cell that holds an object's centre answers for it with
one class distribution and the best of its boxes. `YOLOv1` is the paper's network; `FastYOLO` and
`YOLOv1Shipped` are what Darknet ships.

`form='lecture'` is YOLO as it is drawn in lectures (Stanford CS231n): each cell regresses its base
boxes by (dx, dy, dh, dw, confidence) and scores classes that include background.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.config import UserError
from vision_jax.models.classifiers.classifier import HEAD_LAYER, SMALL_NORMAL
from vision_jax.models.classifiers.darknet import EXTRACTION, FAST, ConvLeaky, Darknet, Form
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.rpn import wide
from vision_jax.models.layers.blocks import Dense, Dropout, Norm, compute_dtype
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import grid_anchors
from vision_jax.structs import Detections, Targets

Number = int | float
SLOPE = 0.1
_PLAIN = (1.0, 1.0, 1.0, 1.0)


class YOLOv1(nn.Module):
    """The detector.

    Fields:
      backbone: with the endpoint that is read.
      num_classes: without background.
      endpoint: what the detector reads.
      side: cells down and across; the image has `side * stride` pixels on each side.
      boxes: per cell, B.
      form: 'paper' or 'lecture'.
      base_boxes: of the lecture's form, B pairs (height, width) in shares of the image's side.
      convs: (features, stride) of the 3×3 convolutions on the endpoint.
      local: features of a locally connected 3×3 layer; 0 for none.
      hidden: features of the fully connected layers before the last.
      dropout: before the last layer.
      norm, form_of_norm: of the convolutions; see `models.darknet.ConvLeaky`. The paper has none.
      rescore: an object's confidence target is the IoU of its box, not 1.
      sqrt: width and height are predicted by their square roots.
      box_weight, noobject_weight, object_weight, class_weight: of the terms; the first two are the
        paper's λ.
      score: detections with a lower one are dropped.
      nms: greatest IoU of two detections of one class.
      top: detections per image.
      dtype: compute dtype.
    """

    backbone: nn.Module = Darknet(EXTRACTION, norm="none")
    num_classes: int = 20
    endpoint: str = "stage5"
    side: int = 7
    boxes: int = 2
    form: Literal["paper", "lecture"] = "paper"
    base_boxes: tuple[tuple[Number, Number], ...] = ((0.2, 0.2), (0.6, 0.3), (0.3, 0.6))
    convs: tuple[tuple[int, int], ...] = ((1024, 1), (1024, 2), (1024, 1), (1024, 1))
    local: int = 0
    hidden: tuple[int, ...] = (4096,)
    dropout: float = 0.5
    norm: Norm = "none"
    form_of_norm: Form = "torch"
    rescore: bool = True
    sqrt: bool = True
    box_weight: float = 5.0
    noobject_weight: float = 0.5
    object_weight: float = 1.0
    class_weight: float = 1.0
    score: float = 0.005
    nms: float = 0.5
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
        """Outputs of each cell, in row-major order.

        class_scores (b, s, s, c): the paper's are taken as probabilities; the lecture's are logits,
          the last one of background.
        confidence (b, s, s, boxes): the lecture's are logits.
        regression (b, s, s, boxes, 4): x, y relative to the cell, and w, h (or their roots) to the
          image; the lecture's are dx, dy, dh, dw.
        boxes (b, n, 4): xyxy in pixels of the network's input.
        sizes (b, 2): as given.

        Raises:
          UserError: an image of another size than the fully connected layer is made for, or base
            boxes that are not `boxes` many.
        """
        height, width = image.shape[1:3]
        if (height, width) != (self.side * self.stride,) * 2:
            raise UserError(
                f"YOLOv1 with side={self.side} reads {self.side * self.stride} pixels square, not "
                f"{height}x{width}; resize the images or set side"
            )
        if self.form == "lecture" and len(self.base_boxes) != self.boxes:
            raise UserError(f"boxes={self.boxes}, but there are {len(self.base_boxes)} base_boxes")
        head = Head(
            self.side**2 * (self.scores + 5 * self.boxes),
            self.convs,
            self.local,
            self.hidden,
            self.dropout,
            self.norm,
            self.form_of_norm,
            self.dtype,
            name="head",
        )
        flat = head(self.backbone(image, train, keys)[self.endpoint], train, keys)
        outputs = self.split(wide(flat))
        return {**outputs, "boxes": self._boxes(outputs["regression"]), "sizes": sizes}

    def split(self, flat: Float[Array, "b n"]) -> dict[str, Array]:
        """The last layer's numbers by name; all classes, then all confidences, then all boxes."""
        cells, b = self.side**2, flat.shape[0]
        grid = (b, self.side, self.side)
        ends = np.cumsum([cells * self.scores, cells * self.boxes])
        classes, confidence, regression = jnp.split(flat, ends, axis=1)
        return {
            "class_scores": classes.reshape(*grid, self.scores),
            "confidence": confidence.reshape(*grid, self.boxes),
            "regression": regression.reshape(*grid, self.boxes, 4),
        }

    def loss(
        self, outputs: dict, targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """'box', 'object', 'noobject', 'class': sums over cells, means over images.

        The paper's are squared errors (eq. 3), the lecture's smooth L1 and cross-entropies.
        """
        truth, labels, present = yolo.objects(targets)
        terms = {"paper": self._terms, "lecture": self._lecture_terms}[self.form]
        names = ("class_scores", "confidence", "regression")
        given = (*(outputs[name] for name in names), truth, labels, present)
        return yolo.total(jax.vmap(terms)(*given), valid)

    def detect(self, outputs: dict) -> Detections:
        """The best boxes; a score is confidence times class probability."""
        confidence, classes = outputs["confidence"], outputs["class_scores"]
        if self.form == "lecture":
            confidence, classes = nn.sigmoid(confidence), nn.softmax(classes)[..., :-1]
        scores = confidence[..., None] * classes[..., None, :]
        scores = scores.reshape(scores.shape[0], -1, self.num_classes)
        limits = self.score, self.nms, None, self.top
        return yolo.select(outputs["boxes"], scores, outputs["sizes"], *limits)

    @property
    def scores(self) -> int:
        """Class scores of a cell."""
        return self.num_classes + (self.form == "lecture")

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.backbone.strides[self.endpoint] * int(np.prod([s for _, s in self.convs]))

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """The lecture's base boxes around the centres of their cells; the paper's are the cells."""
        if self.form == "lecture":
            sides = np.array(self.base_boxes, np.float32)[:, ::-1] * self.side * self.stride
        else:
            sides = np.full((self.boxes, 2), self.stride, np.float32)
        centre = np.float32(self.stride / 2)
        cell = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
        return grid_anchors(cell, (self.side, self.side), (self.stride, self.stride))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """The object of each cell's boxes, or -1; which box has it depends on predictions."""
        truth, _, present = yolo.objects(targets)

        def one(truth, present):
            return self._cells(truth, present).reshape(-1).repeat(self.boxes)

        return jax.vmap(one)(truth, present)

    def _cells(self, truth, present):
        """The object of each cell (s, s), or -1."""
        return assign.match_cells(truth, present, (self.side,) * 2, float(self.stride))

    def _boxes(self, regression: Float[Array, "b s s n 4"]) -> Float[Array, "b s*s*n 4"]:
        """Boxes xyxy in pixels."""
        b, pixels = regression.shape[0], self.side * self.stride
        if self.form == "lecture":
            dx, dy, dh, dw = jnp.moveaxis(regression.reshape(b, -1, 4), -1, 0)
            deltas = jnp.stack([dx, dy, dw, dh], -1)
            anchors = self.anchors(pixels, pixels)
            return jax.vmap(lambda d: box_ops.decode(d, anchors, _PLAIN))(deltas)
        row, column = jnp.mgrid[: self.side, : self.side].astype(jnp.float32)[:, None, :, :, None]
        x = (regression[..., 0] + column) * self.stride
        y = (regression[..., 1] + row) * self.stride
        sides = regression[..., 2:] ** 2 if self.sqrt else regression[..., 2:]
        w, h = sides[..., 0] * pixels, sides[..., 1] * pixels
        found = jnp.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
        return found.reshape(b, -1, 4)

    def _terms(self, classes, confidence, regression, truth, labels, present):
        """One image's terms of the paper's loss."""
        cell = self._cells(truth, present)
        has, number = cell >= 0, jnp.maximum(cell, 0)
        pixels = self.side * self.stride
        found = lax.stop_gradient(self._boxes(regression[None]))[0].reshape(regression.shape)
        wanted = truth[number] if truth.shape[0] else jnp.zeros((*cell.shape, 4))
        iou, distance = _nearness(found, wanted[:, :, None], pixels)
        # Darknet: if no box overlaps the object, the one with the smallest error has it.
        best = jnp.where((iou > 0).any(-1), iou.argmax(-1), distance.argmin(-1))
        mine = (jnp.arange(self.boxes)[None, None] == best[..., None]) & has[..., None]

        x, y, w, h = jnp.moveaxis(box_ops.convert(wanted, "xyxy", "cxcywh"), -1, 0)
        corner = jnp.arange(self.side) * self.stride
        target = [
            (x - corner[None]) / self.stride,
            (y - corner[:, None]) / self.stride,
            *(jnp.sqrt(v / pixels) if self.sqrt else v / pixels for v in (w, h)),
        ]
        error = regression - jnp.stack(target, -1)[:, :, None]
        score = iou if self.rescore else jnp.ones_like(iou)
        label = labels[number] if truth.shape[0] else number
        named = jax.nn.one_hot(label, self.num_classes)
        return {
            "box": self.box_weight * _squares(error, mine[..., None]),
            "object": self.object_weight * _squares(confidence - score, mine),
            "noobject": self.noobject_weight * _squares(confidence, ~mine),
            "class": self.class_weight * _squares(classes - named, has[..., None]),
        }

    def _lecture_terms(self, classes, confidence, regression, truth, labels, present):
        """One image's terms of the lecture's form, with the paper's weights.

        The base box whose shape is nearest has the object; a cell without one is background.
        """
        cell = self._cells(truth, present)
        has, number = cell >= 0, jnp.maximum(cell, 0)
        anchors = self.anchors(0, 0).reshape(regression.shape)
        wanted = truth[number] if truth.shape[0] else jnp.zeros((*cell.shape, 4))
        wanted = jnp.broadcast_to(wanted[:, :, None], anchors.shape)
        sides = jnp.array(self.base_boxes, jnp.float32)[:, ::-1] * self.side * self.stride
        shape = wanted[:, :, 0, 2:] - wanted[:, :, 0, :2]
        best = assign.best_prior(shape.reshape(-1, 2), sides).reshape(cell.shape)
        mine = (jnp.arange(self.boxes)[None, None] == best[..., None]) & has[..., None]

        tx, ty, tw, th = jnp.moveaxis(box_ops.encode(wanted, anchors, _PLAIN), -1, 0)
        target = jnp.stack([tx, ty, th, tw], -1)
        box = losses.smooth_l1(regression, target, 1.0, jnp.repeat(mine[..., None], 4, -1))
        label = jnp.where(has, labels[number] if truth.shape[0] else 0, self.num_classes)
        ones, entropy = jnp.ones_like(confidence), losses.binary_cross_entropy
        return {
            "box": self.box_weight * box.sum(),
            "object": self.object_weight * entropy(confidence, ones, mine).sum(),
            "noobject": self.noobject_weight * entropy(confidence, 0 * ones, ~mine).sum(),
            "class": self.class_weight * losses.cross_entropy(classes, label).sum(),
        }


class Head(nn.Module):
    """What follows the backbone, down to `outputs` numbers per image; see `YOLOv1` for the fields.

    Submodules `conv1`, …, `local`, `fc1`, ….
    """

    outputs: int
    convs: tuple[tuple[int, int], ...]
    local: int
    hidden: tuple[int, ...]
    dropout: float
    norm: Norm = "none"
    form: Form = "torch"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b o"]:
        for i, (features, stride) in enumerate(self.convs, start=1):
            parts = self.norm, self.form, self.dtype
            x = ConvLeaky(features, 3, stride, *parts, name=f"conv{i}")(x, train)
        if self.local:
            x = nn.leaky_relu(
                LocallyConnected(self.local, dtype=self.dtype, name="local")(x), SLOPE
            )
        x = x.reshape(x.shape[0], -1)
        for i, features in enumerate(self.hidden, start=1):
            fc = Dense(features, dtype=self.dtype, kernel_init=SMALL_NORMAL, name=f"fc{i}")
            x = nn.leaky_relu(fc(x), SLOPE)
        x = Dropout(self.dropout, layer=HEAD_LAYER)(x, train, keys)
        last = f"fc{len(self.hidden) + 1}"
        return Dense(self.outputs, dtype=self.dtype, kernel_init=SMALL_NORMAL, name=last)(x)


class LocallyConnected(nn.Module):
    """A 3×3 convolution whose weights differ from place to place, with zeros around the map.

    Parameters: `kernel` (h, w, c * 9, features), the channel before the place within the window;
    `bias` (h, w, features).
    """

    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        _, h, w, c = x.shape
        start = nn.initializers.he_normal(in_axis=2, out_axis=3, batch_axis=(0, 1))
        kernel = self.param("kernel", start, (h, w, c * 9, self.features))
        bias = self.param("bias", nn.initializers.zeros, (h, w, self.features))
        dtype = compute_dtype(self.dtype, kernel)
        layout = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated_local(
            x.astype(dtype),
            kernel.astype(dtype),
            (1, 1),
            ((1, 1), (1, 1)),
            (3, 3),
            dimension_numbers=layout,
        )
        return y + bias.astype(dtype)[None]


def FastYOLO(
    num_classes: int = 20,
    norm: Norm = "sync",
    form_of_norm: Form = "torch",
    dropout: float = 0.0,
    dtype: str = "float32",
) -> YOLOv1:
    """Fast YOLO as Darknet ships it (yolov1-tiny): eight convolutions and one linear layer."""
    return YOLOv1(
        Darknet(FAST, norm=norm, form=form_of_norm, dtype=dtype),
        num_classes,
        endpoint="stage7",
        convs=(),
        hidden=(),
        dropout=dropout,
        norm=norm,
        form_of_norm=form_of_norm,
        dtype=dtype,
    )


def YOLOv1Shipped(
    num_classes: int = 20,
    norm: Norm = "sync",
    form_of_norm: Form = "torch",
    dtype: str = "float32",
) -> YOLOv1:
    """YOLO as Darknet ships it (yolov1): batch norm, three boxes, a locally connected layer."""
    return YOLOv1(
        Darknet(EXTRACTION, norm=norm, form=form_of_norm, dtype=dtype),
        num_classes,
        boxes=3,
        local=256,
        hidden=(),
        norm=norm,
        form_of_norm=form_of_norm,
        dtype=dtype,
    )


def _nearness(
    found: Float[Array, "s s n 4"], wanted: Float[Array, "s s 1 4"], pixels: int
) -> tuple[Float[Array, "s s n"], Float[Array, "s s n"]]:
    """IoU, and the distance of (x, y, w, h) in shares of the image's side."""
    difference = box_ops.convert(found, "xyxy", "cxcywh")
    difference = (difference - box_ops.convert(wanted, "xyxy", "cxcywh")) / pixels
    return box_ops.iou(found, wanted), jnp.sqrt(jnp.sum(difference**2, -1))


def _squares(error, mask):
    error = jnp.where(mask, error, 0)
    return (error * error).sum()
