"""The types of arrays that layers and networks take, and checks of their dtypes and shapes."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError

Images = Float[Array, "b h w c"]
Keys = Key[Array, "b"] | None  # one random key per example; needed in training by what draws
# A network's outputs: feature maps by the paper's names, `logits`, …
Endpoints = dict[str, Array | tuple[Array, ...]]


def compute_dtype(dtype: str, parameter: Array) -> jnp.dtype:
    """Returns the dtype to compute in: `dtype`, or float64 where the parameters are float64."""
    return jnp.dtype("float64" if parameter.dtype == jnp.float64 else dtype)


def channelwise(vector: Float[Array, "c"]) -> Float[Array, "1 1 1 c"]:
    """Gives a per-channel vector the axes of an NHWC array, to be combined with one."""
    return vector[None, None, None, :]


def last_map(endpoints: Endpoints) -> Images:
    """Returns a backbone's last feature map; dicts keep the order in which it wrote them."""
    return [x for x in endpoints.values() if isinstance(x, jnp.ndarray) and x.ndim == 4][-1]


def check_parameter(module: nn.Module, name: str, shape: tuple[int, ...], channels: int) -> None:
    """Compares a parameter's shape, if it exists already, with the one that an input asks for.

    Args:
      module: the layer that owns the parameter.
      name: the parameter's.
      shape: that the input asks for.
      channels: of the input, for the message.

    Raises:
      UserError: the shapes differ; one line where flax would raise a page.
    """
    if not module.has_variable("params", name):
        return
    actual = module.get_variable("params", name).shape
    if actual != shape:
        path = "/".join(module.path)
        raise UserError(
            f"{path}: an input of {channels} channels needs weights of shape {shape}, not {actual}"
        )
