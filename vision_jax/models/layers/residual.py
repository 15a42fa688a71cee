"""Sums of a shortcut and a branch, kept in memory.

Each block of a stage reads the sum of the block before it. XLA:CPU would compute the stage's sums
again from its first block on wherever one is read; see `kernels.materialize`.
"""

from jaxtyping import Array, Float

from vision_jax.kernels.materialize import materialize, materialize_relu


def residual_add(x: Float[Array, "*d"], branch: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """Computes x + branch in the branch's dtype, stored."""
    return materialize(x.astype(branch.dtype) + branch)


def residual_relu(x: Float[Array, "*d"], branch: Float[Array, "*d"]) -> Float[Array, "*d"]:
    """Computes max(x + branch, 0) in the branch's dtype, stored."""
    return materialize_relu(x.astype(branch.dtype) + branch)
