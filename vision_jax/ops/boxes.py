"""Boxes: formats, areas, overlaps, encodings.

A box is four floats in its last axis. Unless said otherwise it is `xyxy`: left, top, right, bottom
in pixels, continuous coordinates, so that width = x1 - x0 and the first pixel covers [0, 1].
The overlaps are elementwise and broadcast: for all pairs call them with `a[:, None]`, `b[None]`,
or use `pairwise`. A box without extent (zero area, inverted, NaN) overlaps nothing: 0, never NaN.
"""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax, nn
from jaxtyping import Array, Bool, Float, ScalarLike

# exp() of a larger log-size would let one wild prediction overflow (Detectron's constant).
LOG_SIZE_LIMIT = math.log(1000.0 / 16.0)
RCNN_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # = 1 / (0.1, 0.1, 0.2, 0.2), also SSD's variances
FORMATS = ("xyxy", "yxyx", "xywh", "cxcywh")


def convert(boxes: Float[Array, "*n 4"], source: str, target: str) -> Float[Array, "*n 4"]:
    """Converts boxes to another format.

    Args:
      boxes: in any unit.
      source, target: `xyxy`, `yxyx` (TensorFlow's order), `xywh` (COCO: corner and size) or
        `cxcywh` (centre and size).

    Raises:
      ValueError: an unknown format.
    """
    for name in (source, target):
        if name not in FORMATS:
            raise ValueError(f"box format {name!r} is not one of {', '.join(FORMATS)}")
    if source == target:
        return boxes
    return _from_xyxy(_to_xyxy(boxes, source), target)


def _to_xyxy(boxes: Array, source: str) -> Array:
    a, b, c, d = _columns(boxes)
    if source == "yxyx":
        return jnp.stack([b, a, d, c], -1)
    if source == "xywh":
        return jnp.stack([a, b, a + c, b + d], -1)
    if source == "cxcywh":
        return jnp.stack([a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d], -1)
    return boxes


def _from_xyxy(boxes: Array, target: str) -> Array:
    x0, y0, x1, y1 = _columns(boxes)
    if target == "yxyx":
        return jnp.stack([y0, x0, y1, x1], -1)
    if target == "xywh":
        return jnp.stack([x0, y0, x1 - x0, y1 - y0], -1)
    if target == "cxcywh":
        return jnp.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], -1)
    return boxes


def area(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Computes areas (x1 - x0)(y1 - y0), in squared pixels; negative where one side is inverted."""
    x0, y0, x1, y1 = _columns(boxes)
    return (x1 - x0) * (y1 - y0)


def intersection(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes the area that both boxes cover, in squared pixels."""
    ax0, ay0, ax1, ay1 = _columns(a)
    bx0, by0, bx1, by1 = _columns(b)
    width = jnp.maximum(jnp.minimum(ax1, bx1) - jnp.maximum(ax0, bx0), 0)
    height = jnp.maximum(jnp.minimum(ay1, by1) - jnp.maximum(ay0, by0), 0)
    return width * height


def iou(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes intersection over union, in [0, 1]; 0 where the union is not positive."""
    both = intersection(a, b)
    return _ratio(both, area(a) + area(b) - both)


def overlap_of_first(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes the share of `a` that `b` covers, in [0, 1]: for COCO's crowds and SSD's crops."""
    both = intersection(a, b)
    return _ratio(both, area(a) + jnp.zeros_like(both))


def giou(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes generalized IoU (Rezatofighi 2019, algorithm 1), in [-1, 1]."""
    both = intersection(a, b)
    union = area(a) + area(b) - both
    width, height = _hull(a, b)
    hull = width * height
    return _ratio(both, union) - _ratio(hull - union, hull)


def diou(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes distance IoU (Zheng 2020, eq. 7), in [-1, 1]."""
    width, height = _hull(a, b)
    ax0, ay0, ax1, ay1 = _columns(a)
    bx0, by0, bx1, by1 = _columns(b)
    dx, dy = (ax0 + ax1 - bx0 - bx1) / 2, (ay0 + ay1 - by0 - by1) / 2
    return iou(a, b) - _ratio(dx * dx + dy * dy, width * width + height * height)


def ciou(a: Float[Array, "*#n 4"], b: Float[Array, "*#n 4"]) -> Float[Array, "*#n"]:
    """Computes complete IoU (Zheng 2020, eq. 10): DIoU minus a penalty on unlike aspect ratios.

    As in the paper, the weight of the penalty passes no gradient.
    """
    difference = _angle(a) - _angle(b)
    penalty = (4 / math.pi**2) * difference * difference
    shared = iou(a, b)
    weight = lax.stop_gradient(penalty / (1 - shared + penalty + 1e-7))
    return diou(a, b) - weight * penalty


def pairwise(
    overlap: Callable[[Array, Array], Array], a: Float[Array, "n 4"], b: Float[Array, "m 4"]
) -> Float[Array, "n m"]:
    """Computes an overlap (`iou`, `giou` ...) of every box of `a` with every box of `b`."""
    return overlap(a[:, None], b[None])


def clip(
    boxes: Float[Array, "*n 4"], height: ScalarLike, width: ScalarLike
) -> Float[Array, "*n 4"]:
    """Cuts boxes off at the image's border; `height` and `width`, pixels, may be traced scalars."""
    x0, y0, x1, y1 = _columns(boxes)
    width, height = jnp.asarray(width, boxes.dtype), jnp.asarray(height, boxes.dtype)
    return jnp.stack(
        [
            jnp.clip(x0, 0, width),
            jnp.clip(y0, 0, height),
            jnp.clip(x1, 0, width),
            jnp.clip(y1, 0, height),
        ],
        -1,
    )


def move_ends(boxes: Float[Array, "*n 4"], pixels: int) -> Float[Array, "*n 4"]:
    """Moves right and bottom ends, by 1 from a box's last pixel to the first one beyond it."""
    return jnp.concatenate([boxes[..., :2], boxes[..., 2:] + pixels], -1)


def clip_released(
    boxes: Float[Array, "*n 4"], height: ScalarLike, width: ScalarLike
) -> Float[Array, "*n 4"]:
    """Cuts decoded boxes as the released R-CNNs do, whose boxes end with their last pixel.

    They end up a pixel longer than `clip` makes them, and nowhere shorter than a pixel.
    """
    return move_ends(clip(boxes, height - 1, width - 1), 1)


def flip_horizontal(boxes: Float[Array, "*n 4"], width: ScalarLike) -> Float[Array, "*n 4"]:
    """Mirrors boxes as an image of `width` pixels is mirrored left and right."""
    x0, y0, x1, y1 = _columns(boxes)
    width = jnp.asarray(width, boxes.dtype)
    return jnp.stack([width - x1, y0, width - x0, y1], -1)


def resize(
    boxes: Float[Array, "*n 4"], scale_y: ScalarLike, scale_x: ScalarLike
) -> Float[Array, "*n 4"]:
    """Scales boxes as an image is resized by these factors, new pixels per old pixel."""
    x0, y0, x1, y1 = _columns(boxes)
    scale_y, scale_x = jnp.asarray(scale_y, boxes.dtype), jnp.asarray(scale_x, boxes.dtype)
    return jnp.stack([x0 * scale_x, y0 * scale_y, x1 * scale_x, y1 * scale_y], -1)


def large_enough(boxes: Float[Array, "*n 4"], min_size: ScalarLike) -> Bool[Array, "*n"]:
    """Says whether both sides are at least `min_size` pixels long (False on NaN)."""
    x0, y0, x1, y1 = _columns(boxes)
    return (x1 - x0 >= min_size) & (y1 - y0 >= min_size)


def encode(
    boxes: Float[Array, "*n 4"],
    anchors: Float[Array, "*n 4"],
    weights: tuple[float, float, float, float] = RCNN_WEIGHTS,
) -> Float[Array, "*n 4"]:
    """Computes the deltas that turn anchors into boxes: weighted (tx, ty, tw, th).

    They are a network's regression targets (R-CNN, Girshick 2014, appendix C); `decode` is the
    inverse. SSD's variances v are weights 1 / v. A box without extent (padding) is encoded as if
    one pixel wide: finite, to be masked by the caller.
    """
    x, y, w, h = _centre_and_size(boxes)
    ax, ay, aw, ah = _centre_and_size(anchors)
    w, h, aw, ah = (jnp.where(side > 0, side, 1) for side in (w, h, aw, ah))
    wx, wy, ww, wh = weights
    return jnp.stack(
        [wx * (x - ax) / aw, wy * (y - ay) / ah, ww * jnp.log(w / aw), wh * jnp.log(h / ah)], -1
    )


def decode(
    deltas: Float[Array, "*n 4"],
    anchors: Float[Array, "*n 4"],
    weights: tuple[float, float, float, float] = RCNN_WEIGHTS,
    limit: float = LOG_SIZE_LIMIT,
) -> Float[Array, "*n 4"]:
    """Applies deltas to anchors, the inverse of `encode`; log-sizes above `limit` count as it."""
    ax, ay, aw, ah = _centre_and_size(anchors)
    tx, ty, tw, th = _columns(deltas)
    wx, wy, ww, wh = weights
    x, y = tx / wx * aw + ax, ty / wy * ah + ay
    w = jnp.exp(jnp.minimum(tw / ww, limit)) * aw
    h = jnp.exp(jnp.minimum(th / wh, limit)) * ah
    return jnp.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1)


def decode_yolo(
    raw: Float[Array, "*n 4"],
    cells: Float[Array, "*n 2"],
    priors: Float[Array, "*n 2"],
    stride: float,
) -> Float[Array, "*n 4"]:
    """Computes the boxes of YOLO v2 and v3 from cells' raw outputs (Redmon 2016, fig. 3).

    Args:
      raw: tx, ty, tw, th before the sigmoid.
      cells: column and row of each box's cell.
      priors: width and height of each box's prior, in pixels.
      stride: pixels per cell.
    """
    tx, ty, tw, th = _columns(raw)
    x = (nn.sigmoid(tx) + cells[..., 0]) * stride
    y = (nn.sigmoid(ty) + cells[..., 1]) * stride
    w, h = jnp.exp(tw) * priors[..., 0], jnp.exp(th) * priors[..., 1]
    return jnp.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1)


def encode_yolo(
    boxes: Float[Array, "*n 4"],
    cells: Float[Array, "*n 2"],
    priors: Float[Array, "*n 2"],
    stride: float,
) -> Float[Array, "*n 4"]:
    """Computes the targets of `decode_yolo`: (sigmoid(tx), sigmoid(ty), tw, th).

    The first two, in [0, 1], stay behind the sigmoid because the logit of a box on a cell's edge is
    infinite.
    """
    x, y, w, h = _centre_and_size(boxes)
    w, h = jnp.where(w > 0, w, 1), jnp.where(h > 0, h, 1)
    tx, ty = x / stride - cells[..., 0], y / stride - cells[..., 1]
    tw, th = jnp.log(w / priors[..., 0]), jnp.log(h / priors[..., 1])
    return jnp.stack([tx, ty, tw, th], -1)


def _columns(boxes: Array) -> tuple[Array, Array, Array, Array]:
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _centre_and_size(boxes: Array) -> tuple[Array, Array, Array, Array]:
    x0, y0, x1, y1 = _columns(boxes)
    w, h = x1 - x0, y1 - y0
    return x0 + 0.5 * w, y0 + 0.5 * h, w, h


def _hull(a: Array, b: Array) -> tuple[Array, Array]:
    """Computes width and height of the smallest box around both."""
    ax0, ay0, ax1, ay1 = _columns(a)
    bx0, by0, bx1, by1 = _columns(b)
    width = jnp.maximum(jnp.maximum(ax1, bx1) - jnp.minimum(ax0, bx0), 0)
    height = jnp.maximum(jnp.maximum(ay1, by1) - jnp.minimum(ay0, by0), 0)
    return width, height


def _angle(boxes: Array) -> Array:
    """Computes atan(width / height), in radians."""
    x0, y0, x1, y1 = _columns(boxes)
    height = y1 - y0
    return jnp.arctan((x1 - x0) / jnp.where(height == 0, 1e-7, height))


def _ratio(above: Array, below: Array) -> Array:
    """Divides where `below` is positive, else gives 0, with finite gradients in both cases."""
    positive = below > 0
    return jnp.where(positive, above / jnp.where(positive, below, 1), 0)
