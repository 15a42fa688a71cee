"""Calibration of windows by classified patterns (Li et al. 2015, section 3.2).

A window that only partly covers a face is moved and scaled by one of 45 patterns, or by the mean of
those that a network holds likely. Boxes are xyxy in pixels.
"""

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SCALES = (0.83, 0.91, 1.0, 1.10, 1.21)
SHIFTS = (-0.17, 0.0, 0.17)  # of the top left corner, in sides
# (45, 3): scale, shift of x, shift of y.
PATTERNS = np.array([*itertools.product(SCALES, SHIFTS, SHIFTS)], np.float32)


def disturb_boxes(
    boxes: Float[Array, "*n 4"], patterns: Float[Array, "*n 3"]
) -> Float[Array, "*n 4"]:
    """Moves and scales boxes, so that `calibrate_boxes` with the same patterns brings them back."""
    sides = boxes[..., 2:] - boxes[..., :2]
    low = boxes[..., :2] + patterns[..., 1:] * sides
    return jnp.concatenate([low, low + patterns[..., :1] * sides], -1)


def calibrate_boxes(
    boxes: Float[Array, "*n 4"], patterns: Float[Array, "*n 3"]
) -> Float[Array, "*n 4"]:
    """Applies patterns (s, x, y): sides w become w / s, corners move by -x w / s (eq. 1)."""
    sides = (boxes[..., 2:] - boxes[..., :2]) / patterns[..., :1]
    low = boxes[..., :2] - patterns[..., 1:] * sides
    return jnp.concatenate([low, low + sides], -1)


def mean_patterns(logits: Float[Array, "*n 45"], threshold: float) -> Float[Array, "*n 3"]:
    """Averages the patterns with at least this probability (eq. 2); without any, no change.

    Args:
      logits: of `PATTERNS`.
      threshold: of the softmax.
    """
    odds = jnp.exp(logits - logits.max(-1, keepdims=True))
    chosen = odds >= threshold * odds.sum(-1, keepdims=True)
    count = chosen.sum(-1, keepdims=True)
    patterns = jnp.asarray(PATTERNS, logits.dtype)
    mean = chosen.astype(logits.dtype) @ patterns / jnp.maximum(count, 1).astype(logits.dtype)
    none = jnp.broadcast_to(jnp.array([1, 0, 0], logits.dtype), mean.shape)
    return jnp.where(count > 0, mean, none)
