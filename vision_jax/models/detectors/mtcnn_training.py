"""Training of MTCNN's networks on crops around and beside faces (Zhang et al. 2016, section 2.3).

The paper trains the three networks one after the other, on crops that are cut beforehand. Here each
step cuts new ones in the program, the same for all three networks: squares that are shifted and
scaled a little from a face, squares that are far off one, and squares anywhere.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vision_jax.ops import boxes as box_ops
from vision_jax.ops import cascade, losses
from vision_jax.structs import Targets

POSITIVE, PART, NEGATIVE = 0.65, 0.4, 0.3  # IoU above, above and below which a crop is one
NEAR, OFF = 0.15, 0.6  # shifts of the centre, in sides
SMALLEST = 12  # pixels


class Crops(NamedTuple):
    """The squares that are trained on, n per image, and what they should be told."""

    squares: Array  # (b, n, 4) float32 xyxy, pixels
    labels: Array  # (b, n) int32: 1 face, 0 none, -1 neither
    boxed: Array  # (b, n) bool: the box counts
    deltas: Array  # (b, n, 4), see `ops.cascade.encode_corners`
    marked: Array  # (b, n) bool: the landmarks count
    landmarks: Array  # (b, n, 2 k): all x, then all y, in sides of the square


def draw_crops(key: Key[Array, ""], targets: Targets, size: Float[Array, "2"], count: int) -> Crops:
    """Draws an image's crops: half near a face, a quarter off one, a quarter anywhere.

    Args:
      key: of the image.
      targets: of the image, without the batch's axis; faces with five visible keypoints have
        landmarks.
      size: height and width of the image's content.
      count: number of crops.
    """
    which, shift, scale, place, side = jax.random.split(key, 5)
    weight = targets.valid.astype(jnp.float32)
    has_faces = targets.valid.any()
    face = jax.random.choice(
        which,
        len(weight),
        (count,),
        p=jnp.where(has_faces, weight, 1) / jnp.maximum(weight.sum(), 1),
    )
    faces = cascade.square_boxes(targets.boxes[face])
    sides = faces[:, 2] - faces[:, 0]
    number = jnp.arange(count)
    near, off = number < count // 2, number < count - count // 4
    spread = jnp.where(near, NEAR, OFF)[:, None] * sides[:, None]
    centre = (faces[:, :2] + faces[:, 2:]) / 2
    centre += spread * jax.random.uniform(shift, (count, 2), minval=-1, maxval=1)
    ratio = jnp.where(near, 1.25, 1.6)
    sides *= ratio ** jax.random.uniform(scale, (count,), minval=-1, maxval=1)
    anywhere = jax.random.uniform(place, (count, 2)) * size[None, ::-1]
    largest = jnp.maximum(size.min() / 2 / SMALLEST, 1)
    any_side = SMALLEST * largest ** jax.random.uniform(side, (count,))
    at_face = (off & has_faces)[:, None]
    centre = jnp.where(at_face, centre, anywhere)
    half = jnp.maximum(jnp.where(at_face[:, 0], sides, any_side), SMALLEST)[:, None] / 2
    return _labelled(jnp.concatenate([centre - half, centre + half], -1), targets, size)


def _labelled(squares, targets, size) -> Crops:
    """Compares squares with the faces of their image."""
    overlap = box_ops.pairwise(box_ops.iou, squares, targets.boxes)
    overlap = jnp.where(targets.valid[None], overlap, 0)
    best, face = overlap.max(1), overlap.argmax(1)
    low, high = jnp.maximum(squares[:, :2], 0), jnp.minimum(squares[:, 2:], size[None, ::-1])
    inside = (high - low >= 2).all(-1)  # something of the image is in it
    labels = jnp.where(best > POSITIVE, 1, jnp.where(best < NEGATIVE, 0, -1))
    positive = inside & (labels == 1)
    marked, landmarks = jnp.zeros_like(positive), jnp.zeros((len(squares), 0))
    if targets.keypoints is not None:
        points = targets.keypoints[face]
        sides = squares[:, None, 2:] - squares[:, None, :2] + 1
        shares = (points[..., :2] - squares[:, None, :2] + 1) / sides
        landmarks = shares.swapaxes(1, 2).reshape(len(squares), -1)
        marked = positive & (points[..., 2] > 0).all(-1)
    return Crops(
        squares=squares,
        labels=jnp.where(inside, labels, -1),
        boxed=inside & (best > PART),
        deltas=cascade.encode_corners(targets.boxes[face], squares),
        marked=marked,
        landmarks=landmarks,
    )


def crop_losses(outputs: dict[str, Array], crops: Crops, share: float) -> dict[str, tuple]:
    """Computes a network's losses on the crops of all images, {name: (sum, count)}.

    `face`: cross-entropy of the hardest `share` of faces and others; `box` and `landmark`: half the
    squared distance, of faces and parts of them, and of faces that have landmarks.

    Args:
      outputs: `logits` (b, n, 2), `deltas` (b, n, 4), and `landmarks` (b, n, 10) of O-Net.
      crops: what they should be.
      share: of `ops.cascade.hard_examples`.
    """
    labels = crops.labels.reshape(-1)
    loss = losses.cross_entropy(outputs["logits"].reshape(-1, 2), labels)
    terms = {"face": (loss, cascade.hard_examples(loss, labels >= 0, share))}
    terms["box"] = (_squared(outputs["deltas"], crops.deltas), crops.boxed.reshape(-1))
    if "landmarks" in outputs and crops.landmarks.shape[-1]:
        terms["landmark"] = (
            _squared(outputs["landmarks"], crops.landmarks),
            crops.marked.reshape(-1),
        )
    return {
        name: (jnp.where(counted, loss, 0).sum(), counted.sum().astype(jnp.float32))
        for name, (loss, counted) in terms.items()
    }


def _squared(x: Array, y: Array) -> Array:
    return 0.5 * jnp.square(x - y).sum(-1).reshape(-1)
