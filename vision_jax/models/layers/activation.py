"""Activations with parameters."""

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers.arrays import compute_dtype
from vision_jax.models.layers.settings import Layers
from vision_jax.ops import initializers
from vision_jax.ops.activation import prelu


class PReLU(nn.Module):
    """A ReLU with a learned slope below 0 per channel (He et al. 2015), which starts at 0.25.

    Parameter: `slope` (channels,).
    """

    layers: Layers = Layers()

    @nn.compact
    def __call__(self, x: Float[Array, "*d c"]) -> Float[Array, "*d c"]:
        slope = self.param("slope", initializers.constant(0.25), (x.shape[-1],))
        return prelu(x, slope.astype(compute_dtype(self.layers.dtype, slope)))
