"""Mining of triplets (anchor, positive, negative) within a batch of embeddings.

Distances are squared and Euclidean; embeddings are normalised by the caller (`l2_normalize`), so
that they lie in [0, 4]. All b³ triplets are looked at, as masks of fixed shape: meant for batches
of at most a few hundred.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Rule = Literal["all", "semihard", "hard"]


class Triplets(NamedTuple):
    """One triplet per anchor and positive, or per anchor; the others are not `valid`."""

    positive: Array  # int32, index of the positive
    negative: Array  # int32
    valid: Array  # bool


def squared_distances(
    x: Float[Array, "n d"], y: Float[Array, "m d"] | None = None
) -> Float[Array, "n m"]:
    """Computes |x_i - y_j|²; of x with itself without y."""
    y = x if y is None else y
    return jnp.sum((x[:, None] - y[None]) ** 2, -1)


def pairs(
    labels: Int[Array, "b"], valid: Bool[Array, "b"] | None = None
) -> tuple[Bool[Array, "b b"], Bool[Array, "b b"]]:
    """Says which two examples are of one identity (none with itself), and which are of two."""
    valid = jnp.ones(labels.shape, bool) if valid is None else valid
    both = valid[:, None] & valid[None]
    same = labels[:, None] == labels[None]
    return both & same & ~jnp.eye(labels.shape[0], dtype=bool), both & ~same


def mined_triplets(
    squared: Float[Array, "b b"],
    labels: Int[Array, "b"],
    margin: float = 0.2,
    rule: Rule = "semihard",
    valid: Bool[Array, "b"] | None = None,
) -> Bool[Array, "b b b"]:
    """Chooses triplets [anchor, positive, negative] by how far their negative is.

    With d = |a - n|² - |a - p|²: 'all' that violate the margin, d ≤ margin; 'semihard', whose
    negative is farther than the positive, 0 < d ≤ margin (Schroff 2015, eq. 4); 'hard', d ≤ 0.

    Args:
      squared: `squared_distances` of the batch.
      labels: identities.
      margin: of the triplet loss.
      rule: see above.
      valid: False on examples that only fill the batch.
    """
    positive, negative = pairs(labels, valid)
    gap = squared[:, None] - squared[:, :, None]
    chosen = gap <= (0 if rule == "hard" else margin)
    if rule == "semihard":
        chosen &= gap > 0
    return chosen & positive[:, :, None] & negative[:, None]


def semi_hard_negatives(
    squared: Float[Array, "b b"], labels: Int[Array, "b"], valid: Bool[Array, "b"] | None = None
) -> Triplets:
    """Finds each anchor-positive pair's nearest negative that is farther than the positive.

    Where there is none, the farthest negative (TensorFlow's rule for Schroff 2015, section 3.2).

    Returns:
      (b, b) per anchor and positive; valid pairs have a negative.
    """
    positive, negative = pairs(labels, valid)
    farther = negative[:, None] & (squared[:, None] > squared[:, :, None])
    nearest = jnp.argmin(jnp.where(farther, squared[:, None], jnp.inf), 2)
    farthest = jnp.argmax(jnp.where(negative, squared, -jnp.inf), 1)
    index = jnp.where(farther.any(2), nearest, farthest[:, None]).astype(jnp.int32)
    number = jnp.broadcast_to(jnp.arange(len(labels), dtype=jnp.int32)[None], index.shape)
    return Triplets(number, index, positive & negative.any(1, keepdims=True))


def hardest_triplets(
    squared: Float[Array, "b b"], labels: Int[Array, "b"], valid: Bool[Array, "b"] | None = None
) -> Triplets:
    """Finds each anchor's farthest positive and nearest negative (Hermans 2017, eq. 5).

    Returns:
      (b,) per anchor; valid anchors have both.
    """
    positive, negative = pairs(labels, valid)
    far = jnp.argmax(jnp.where(positive, squared, -jnp.inf), 1).astype(jnp.int32)
    near = jnp.argmin(jnp.where(negative, squared, jnp.inf), 1).astype(jnp.int32)
    return Triplets(far, near, positive.any(1) & negative.any(1))
