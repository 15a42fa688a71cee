"""What LSDA adds: the change from classifier to detector, lent to classes without boxes.

Hoffman et al. 2014, arXiv:1407.5035, section 3.2. The paper writes of weights; biases are treated
alike here.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.ops.normalize import l2_normalize


def nearest_classes(
    weights: Float[Array, "c d"], boxed: Sequence[int], count: int
) -> Int[Array, "u {count}"]:
    """Finds the classes with boxes that are nearest to each class without, the nearest first.

    Args:
      weights: of the classifier's last layer, a row per class; distances are Euclidean between rows
        of unit length.
      boxed: numbers of the classes that have boxes.
      count: k, at most as many as `boxed`.

    Returns:
      Numbers of classes, for those without boxes in rising order.

    Raises:
      ValueError: more are asked for than there are.
    """
    if not 0 < count <= len(boxed):
        raise ValueError(f"count={count}: 1 to {len(boxed)} of the classes with boxes")
    unit = l2_normalize(weights)
    theirs = jnp.asarray(boxed, jnp.int32)
    away = unit[_others(len(weights), boxed)][:, None] - unit[theirs][None]
    _, nearest = lax.top_k(-jnp.square(away).sum(-1), count)
    return theirs[nearest]


def lend_changes(
    changes: Float[Array, "c e"],
    weights: Float[Array, "c d"],
    boxed: Sequence[int],
    count: int,
) -> Float[Array, "c e"]:
    """Gives classes without boxes the mean change of their nearest classes with boxes.

    Args:
      changes: detector's minus classifier's weights of the classes in `boxed`; other rows are not
        read. Further columns may hold more than `weights` have, such as biases.
      weights: of the classifier, see `nearest_classes`.
      boxed: numbers of the classes that have boxes.
      count: k; 0 lends nothing.

    Returns:
      Every class's change; zeros for those without boxes where `count` is 0.
    """
    theirs = jnp.asarray(boxed, jnp.int32)
    lent = jnp.zeros_like(changes).at[theirs].set(changes[theirs])
    others = _others(len(changes), boxed)
    if count and others.size:
        nearest = nearest_classes(weights, boxed, count)
        lent = lent.at[others].set(changes[nearest].mean(1))
    return lent


def _others(classes: int, boxed: Sequence[int]) -> Int[Array, "u"]:
    return jnp.asarray([c for c in range(classes) if c not in {*boxed}], jnp.int32)
