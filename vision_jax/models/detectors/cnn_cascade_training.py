"""The crops that the CNN cascade is trained on (Li et al. 2015, section 4).

Faces are jittered as far as the calibration networks can bring them back. Others are mined: of the
windows that all networks before let through, those that cover no face. Drawn anew in each step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.ops import boxes as box_ops
from vision_jax.ops.assign import BACKGROUND, IGNORED
from vision_jax.ops.calibration import PATTERNS, SCALES, SHIFTS, disturb_boxes
from vision_jax.ops.cascade import square_boxes
from vision_jax.ops.sampling import sample_balanced
from vision_jax.structs import Targets

POSITIVE, NEGATIVE = 0.5, 0.3  # IoU from which, and below which, a window is a face, is none
MINED_FACES = 0.25  # share of the windows that are drawn from those let through, at most


class Crops(NamedTuple):
    """An image's crops for a detection network, and for a calibration network."""

    boxes: Array  # (n, 4) float32 xyxy, pixels
    labels: Array  # (n,) int32: 1 face, 0 none, -1 neither
    mined: Array  # (n,) bool: came through the networks before
    disturbed: Array  # (m, 4), faces that a pattern has moved
    patterns: Array  # (m,) int32: its number; -1 on padding


def draw_crops(
    key: Key[Array, ""],
    targets: Targets,
    windows: Float[Array, "w 4"],
    there: Bool[Array, "w"],
    positives: int,
    negatives: int,
) -> Crops:
    """Draws an image's crops.

    Args:
      key: of the image.
      targets: of the image, without the batch's axis.
      windows: what the network would see of the image in evaluation.
      there: which of them are.
      positives: jittered faces, and as many for calibration.
      negatives: windows that are drawn, most of them without a face.
    """
    which, shift, scale, pattern, mine = jax.random.split(key, 5)
    faces, has_faces = _drawn(which, targets, positives)
    jitter = jnp.concatenate(
        [
            jnp.exp(jax.random.uniform(scale, (positives, 1), minval=-1) * jnp.log(SCALES[-1])),
            SHIFTS[-1] * jax.random.uniform(shift, (positives, 2), minval=-1),
        ],
        1,
    )
    number = jax.random.randint(pattern, (positives,), 0, len(PATTERNS))
    drawn = sample_balanced(mine, _matched(windows, there, targets), negatives, MINED_FACES)
    labels = jnp.where(drawn.valid, drawn.positive.astype(jnp.int32), -1)
    return Crops(
        boxes=jnp.concatenate([disturb_boxes(faces, jitter), windows[drawn.index]]),
        labels=jnp.concatenate([jnp.where(has_faces, jnp.ones(positives, jnp.int32), -1), labels]),
        mined=jnp.concatenate([jnp.zeros(positives, bool), drawn.valid]),
        disturbed=disturb_boxes(faces, jnp.asarray(PATTERNS)[number]),
        patterns=jnp.where(has_faces, number, -1),
    )


def _drawn(
    key: Key[Array, ""], targets: Targets, count: int
) -> tuple[Float[Array, "{count} 4"], Bool[Array, ""]]:
    """Draws faces of an image, made square, and tells whether there are any."""
    weight = targets.valid.astype(jnp.float32)
    has_faces = targets.valid.any()
    odds = jnp.where(has_faces, weight, 1)
    face = jax.random.choice(key, len(weight), (count,), p=odds / odds.sum())
    return square_boxes(targets.boxes[face]), has_faces


def _matched(
    windows: Float[Array, "w 4"], there: Bool[Array, "w"], targets: Targets
) -> Int[Array, "w"]:
    """Returns the face that a window covers, as of `ops.assign`."""
    overlap = box_ops.pairwise(box_ops.iou, windows, square_boxes(targets.boxes))
    overlap = jnp.where(targets.valid[None], overlap, 0)
    best, face = overlap.max(1), overlap.argmax(1).astype(jnp.int32)
    labels = jnp.where(best < NEGATIVE, BACKGROUND, IGNORED)
    return jnp.where(there, jnp.where(best >= POSITIVE, face, labels), IGNORED)
