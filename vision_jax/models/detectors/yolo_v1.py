"""You Only Look Once (Redmon et al. 2015, arXiv:1506.02640): YOLO v1.

The image is cut into side × side cells; the cell that holds an object's centre answers for it with
one class distribution and the best of its boxes. `YOLOv1` is the paper's network; `FastYOLO` and
`YOLOv1Shipped` are what Darknet ships.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.config import UserError
from vision_jax.models.classifiers.darknet import EXTRACTION, FAST, SLOPE, Darknet, conv_leaky
from vision_jax.models.detectors import yolo, yolo_v1_lecture
from vision_jax.models.detectors.detector import DenseDetector, Outputs, Sizes, Valid
from vision_jax.models.detectors.selection import select_detections
from vision_jax.models.detectors.yolo import Number, Predictions
from vision_jax.models.layers import (
    HEAD_LAYER,
    NO_NORM,
    Dense,
    Dropout,
    Images,
    Keys,
    Layers,
    at_least_float32,
    compute_dtype,
    small_normal,
)
from vision_jax.ops import assign, initializers
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.anchors import grid_anchors
from vision_jax.structs import Detections, Targets, Terms


class YOLOv1(DenseDetector):
    """The detector: every cell of a grid gives one class distribution and a few boxes.

    Fields:
      backbone: with the endpoint that is read.
      num_classes: without background.
      endpoint: what the detector reads.
      side: cells down and across; the image has `side * stride` pixels on each side.
      boxes_per_cell: the paper's B.
      formulation: 'paper', or 'lecture'; see `yolo_v1_lecture`.
      base_boxes: of the lecture's form, B pairs (height, width) in shares of the image's side.
      convs: (features, stride) of the 3×3 convolutions on the endpoint.
      local: features of a locally connected 3×3 layer; 0 for none.
      hidden: features of the fully connected layers before the last.
      dropout: probability, before the last layer.
      objectness_target: of an object: the 'iou' of its box, or 'one'.
      sqrt: width and height are predicted by their square roots.
      box_loss_weight, noobject_loss_weight, object_loss_weight, class_loss_weight: factors of the
        terms; the first two are the paper's λ.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class.
      max_detections: slots per image.
      layers: how the layers beside the backbone normalise (the paper: not at all) and compute.
    """

    backbone: nn.Module = Darknet(EXTRACTION, layers=NO_NORM)
    num_classes: int = 20
    endpoint: str = "stage5"
    side: int = 7
    boxes_per_cell: int = 2
    formulation: Literal["paper", "lecture"] = "paper"
    base_boxes: tuple[tuple[Number, Number], ...] = ((0.2, 0.2), (0.6, 0.3), (0.3, 0.6))
    convs: tuple[tuple[int, int], ...] = ((1024, 1), (1024, 2), (1024, 1), (1024, 1))
    local: int = 0
    hidden: tuple[int, ...] = (4096,)
    dropout: float = 0.5
    objectness_target: Literal["iou", "one"] = "iou"
    sqrt: bool = True
    box_loss_weight: float = 5.0
    noobject_loss_weight: float = 0.5
    object_loss_weight: float = 1.0
    class_loss_weight: float = 1.0
    score_threshold: float = 0.005
    nms_threshold: float = 0.5
    max_detections: int = 100
    layers: Layers = NO_NORM

    @nn.compact
    def dense_outputs(self, images: Images, *, train: bool = False, keys: Keys = None) -> Outputs:
        """Finds the outputs of the cells, in row-major order; `a` are boxes, a cell's innermost.

        class_logits (b, cells, classes): the paper's are taken for probabilities as they are; the
          lecture's go through a softmax, and the last one is background's.
        objectness_logits (b, a): the paper's are taken for confidences as they are; the lecture's
          go through a sigmoid.
        box_deltas (b, a, 4): x, y relative to the cell, and w, h (or their roots) to the image; the
          lecture's are dx, dy, dh, dw.
        anchors (a, 4): see `anchors`.

        Raises:
          UserError: an image of another size than the fully connected layer is made for, or base
            boxes that are not `boxes_per_cell` many.
        """
        height, width = images.shape[1:3]
        if (height, width) != (self._pixels,) * 2:
            raise UserError(
                f"YOLOv1 with side={self.side} reads {self._pixels} pixels square, not "
                f"{height}x{width}; resize the images or set side"
            )
        if self.formulation == "lecture" and len(self.base_boxes) != self.boxes_per_cell:
            raise UserError(
                f"boxes_per_cell={self.boxes_per_cell}, but there are {len(self.base_boxes)} "
                "base_boxes"
            )
        fields = self.convs, self.local, self.hidden, self.dropout, self.layers
        head = Head(self.outputs_per_image, *fields, name="head")
        endpoint = self.backbone(images, train=train, keys=keys)[self.endpoint]
        return self.split(at_least_float32(head(endpoint, train=train, keys=keys)))

    def split(self, flat: Float[Array, "b n"]) -> Outputs:
        """Names the last layer's numbers; all classes come first, then confidences, then boxes."""
        b, cells = flat.shape[0], self.side**2
        ends = (cells * self.class_scores, cells * (self.class_scores + self.boxes_per_cell))
        classes, objectness, deltas = jnp.split(flat, ends, axis=1)
        return {
            "class_logits": classes.reshape(b, cells, -1),
            "objectness_logits": objectness,
            "box_deltas": deltas.reshape(b, -1, 4),
            "anchors": self.anchors(self._pixels, self._pixels),
        }

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes 'box', 'object', 'noobject', 'class': sums over cells, means over images.

        The paper's are squared errors (eq. 3), the lecture's smooth L1 and cross-entropies.
        """
        gt_boxes, gt_labels, gt_valid = yolo.objects(targets)
        losses = {"paper": self._losses, "lecture": self._lecture_losses}[self.formulation]

        def per_image(predictions, gt_boxes, gt_labels, gt_valid):
            cell_idxs = self._cell_idxs(gt_boxes, gt_valid)
            return losses(predictions, cell_idxs, gt_boxes, gt_labels)

        terms = jax.vmap(per_image)(self._by_cell(outputs), gt_boxes, gt_labels, gt_valid)
        factors = {
            "box": self.box_loss_weight,
            "object": self.object_loss_weight,
            "noobject": self.noobject_loss_weight,
            "class": self.class_loss_weight,
        }
        return yolo.sum_images({name: factors[name] * x for name, x in terms.items()}, valid)

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Selects the best boxes; a score is confidence times class probability."""
        classes, confidence, _ = self._by_cell(outputs)
        if self.formulation == "lecture":
            classes, confidence = yolo_v1_lecture.scores(classes, confidence)
        scores = confidence[..., None] * classes[..., None, :]
        scores = scores.reshape(len(scores), -1, self.num_classes)
        limits = self.score_threshold, self.nms_threshold, None, self.max_detections
        return select_detections(self.decode(outputs), scores, sizes, *limits)

    def decode(self, outputs: Outputs) -> Float[Array, "b a 4"]:
        """Returns the boxes, xyxy in pixels."""
        return self._decode(outputs["box_deltas"])

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"]:
        """Returns the lecture's base boxes in every cell; the paper's are the cells themselves."""
        sides = np.full((self.boxes_per_cell, 2), self.stride, np.float32)
        if self.formulation == "lecture":
            sides = self._base_sides
        centre = np.float32(self.stride / 2)
        cell = np.concatenate([centre - sides / 2, centre + sides / 2], 1)
        return grid_anchors(cell, (self.side, self.side), (self.stride, self.stride))

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"]:
        """Returns the object of each cell's boxes, or -1; predictions decide which box has it."""
        gt_boxes, _, gt_valid = yolo.objects(targets)
        cell_idxs = jax.vmap(self._cell_idxs)(gt_boxes, gt_valid)
        return cell_idxs.reshape(len(cell_idxs), -1).repeat(self.boxes_per_cell, 1)

    @property
    def class_scores(self) -> int:
        """Class scores of a cell."""
        return self.num_classes + (self.formulation == "lecture")

    @property
    def outputs_per_image(self) -> int:
        """Numbers that the last layer gives for an image."""
        return self.side**2 * (self.class_scores + 5 * self.boxes_per_cell)

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.backbone.strides[self.endpoint] * int(np.prod([s for _, s in self.convs]))

    @property
    def _pixels(self) -> int:
        return self.side * self.stride

    @property
    def _base_sides(self) -> Float[np.ndarray, "n 2"]:
        """Widths and heights of the base boxes in pixels."""
        return np.array(self.base_boxes, np.float32)[:, ::-1] * self.side * self.stride

    def _by_cell(self, outputs):
        """Returns a batch's predictions with the axes of the grid."""
        grid = (len(outputs["box_deltas"]), self.side, self.side)
        shapes = (-1,), (self.boxes_per_cell,), (self.boxes_per_cell, 4)
        parts = zip(Predictions._fields, shapes, strict=True)
        return Predictions(*(outputs[name].reshape(*grid, *shape) for name, shape in parts))

    def _decode(self, box_deltas):
        if self.formulation == "lecture":
            return yolo_v1_lecture.decode(box_deltas, self.anchors(self._pixels, self._pixels))
        deltas = box_deltas.reshape(-1, self.side, self.side, self.boxes_per_cell, 4)
        row, column = jnp.mgrid[: self.side, : self.side].astype(jnp.float32)[:, None, :, :, None]
        x, y = (deltas[..., 0] + column) * self.stride, (deltas[..., 1] + row) * self.stride
        sides = deltas[..., 2:] ** 2 if self.sqrt else deltas[..., 2:]
        w, h = sides[..., 0] * self._pixels, sides[..., 1] * self._pixels
        boxes = jnp.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
        return boxes.reshape(box_deltas.shape)

    def _cell_idxs(self, gt_boxes, gt_valid):
        """Returns the object of each cell (s, s), or `assign.BACKGROUND`."""
        return assign.match_cells(gt_boxes, gt_valid, (self.side,) * 2, float(self.stride))

    def _lecture_losses(self, predictions, cell_idxs, gt_boxes, gt_labels):
        sides = jnp.asarray(self._base_sides)
        base_boxes = self.anchors(self._pixels, self._pixels).reshape(predictions.box_deltas.shape)
        return yolo_v1_lecture.losses(
            predictions, base_boxes, sides, cell_idxs, gt_boxes, gt_labels
        )

    def _losses(self, predictions, cell_idxs, gt_boxes, gt_labels):
        """Computes one image's unweighted terms of the paper's loss (eq. 3)."""
        classes, confidence, deltas = predictions
        has_object, matched_idxs = cell_idxs >= 0, jnp.maximum(cell_idxs, 0)
        matched_gt_boxes = gt_boxes[matched_idxs]
        boxes = lax.stop_gradient(self._decode(deltas.reshape(1, -1, 4))).reshape(deltas.shape)
        iou, distance = _nearness(boxes, matched_gt_boxes[:, :, None], self._pixels)
        # Darknet: if no box overlaps the object, the one with the smallest error has it.
        best = jnp.where((iou > 0).any(-1), iou.argmax(-1), distance.argmin(-1))
        is_best = jnp.arange(self.boxes_per_cell)[None, None] == best[..., None]
        positive = is_best & has_object[..., None]

        error = deltas - self._box_targets(matched_gt_boxes)[:, :, None]
        target = iou if self.objectness_target == "iou" else jnp.ones_like(iou)
        class_targets = jax.nn.one_hot(gt_labels[matched_idxs], self.num_classes)
        return {
            "box": _sum_squares(error, positive[..., None]),
            "object": _sum_squares(confidence - target, positive),
            "noobject": _sum_squares(confidence, ~positive),
            "class": _sum_squares(classes - class_targets, has_object[..., None]),
        }

    def _box_targets(self, matched_gt_boxes):
        """Returns what each cell's boxes should say (s, s, 4) to be the cell's object."""
        x, y, w, h = jnp.moveaxis(box_ops.convert(matched_gt_boxes, "xyxy", "cxcywh"), -1, 0)
        corner = jnp.arange(self.side) * self.stride
        x, y = (x - corner[None]) / self.stride, (y - corner[:, None]) / self.stride
        sides = (w / self._pixels, h / self._pixels)
        return jnp.stack([x, y, *(jnp.sqrt(v) if self.sqrt else v for v in sides)], -1)


class Head(nn.Module):
    """The layers after the backbone, down to `outputs` numbers per image.

    Submodules `conv1`, …, `local`, `fc1`, …; see `YOLOv1` for the fields.
    """

    outputs: int
    convs: tuple[tuple[int, int], ...]
    local: int
    hidden: tuple[int, ...]
    dropout: float
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b {self.outputs}"]:
        for i, (features, stride) in enumerate(self.convs, start=1):
            unit = conv_leaky(features, 3, stride, layers=self.layers, name=f"conv{i}")
            x = unit(x, train=train)
        if self.local:
            local = LocallyConnected(self.local, layers=self.layers, name="local")
            x = nn.leaky_relu(local(x), SLOPE)
        x = x.reshape(x.shape[0], -1)
        dense = functools.partial(Dense, kernel_init=small_normal, layers=self.layers)
        for i, features in enumerate(self.hidden, start=1):
            x = nn.leaky_relu(dense(features, name=f"fc{i}")(x), SLOPE)
        x = Dropout(self.dropout, layer=HEAD_LAYER)(x, train=train, keys=keys)
        return dense(self.outputs, name=f"fc{len(self.hidden) + 1}")(x)


class LocallyConnected(nn.Module):
    """A 3×3 convolution whose weights differ from place to place, with zeros around the map.

    Parameters: `kernel` (h, w, c * 9, features), the channel before the place within the window;
    `bias` (h, w, features).
    """

    features: int
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w o"]:
        _, h, w, c = x.shape
        start = initializers.Distribution("cut normal", 2.0, "in", leading=2)
        kernel = self.param("kernel", start, (h, w, c * 9, self.features))
        bias = self.param("bias", initializers.zeros, (h, w, self.features))
        dtype = compute_dtype(self.layers.dtype, kernel)
        y = lax.conv_general_dilated_local(
            x.astype(dtype),
            kernel.astype(dtype),
            (1, 1),
            ((1, 1), (1, 1)),
            (3, 3),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return y + bias.astype(dtype)[None]


def FastYOLO(num_classes: int = 20, dropout: float = 0.0, layers: Layers = Layers()) -> YOLOv1:
    """Makes Fast YOLO as Darknet ships it (yolov1-tiny): eight convolutions, one linear layer."""
    return YOLOv1(
        Darknet(FAST, layers=layers),
        num_classes,
        endpoint="stage7",
        convs=(),
        hidden=(),
        dropout=dropout,
        layers=layers,
    )


def YOLOv1Shipped(num_classes: int = 20, layers: Layers = Layers()) -> YOLOv1:
    """Makes YOLO as Darknet ships it (yolov1).

    Unlike the paper's it has batch norm, three boxes and a locally connected layer.
    """
    backbone = Darknet(EXTRACTION, layers=layers)
    fields = {"boxes_per_cell": 3, "local": 256, "hidden": ()}
    return YOLOv1(backbone, num_classes, **fields, layers=layers)


def _nearness(
    boxes: Float[Array, "s s n 4"], matched_gt_boxes: Float[Array, "s s 1 4"], pixels: int
) -> tuple[Float[Array, "s s n"], Float[Array, "s s n"]]:
    """Computes IoU, and the distance of (x, y, w, h) in shares of the image's side."""
    difference = box_ops.convert(boxes, "xyxy", "cxcywh")
    difference = (difference - box_ops.convert(matched_gt_boxes, "xyxy", "cxcywh")) / pixels
    return box_ops.iou(boxes, matched_gt_boxes), jnp.sqrt(jnp.sum(difference**2, -1))


def _sum_squares(error, mask):
    error = jnp.where(mask, error, 0)
    return (error * error).sum()
