"""The distributions that initial weights are drawn from."""

from collections.abc import Callable

import jax
from flax import linen as nn

Initializer = Callable[..., jax.Array]

he_fan_in = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# torch's default for linear layers, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
torch_linear = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# N(0, 0.01), of networks before batch normalisation.
small_normal = nn.initializers.normal(0.01)
