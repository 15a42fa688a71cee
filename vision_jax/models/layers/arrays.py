"""The arrays that layers and networks take, and how their dtype and shape are looked at."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError

Images = Float[Array, "b h w c"]
Keys = Key[Array, "b"] | None  # one random key per example; needed in training by what draws
Endpoints = dict[str, Array | tuple[Array, ...]]  # feature maps by the paper's names


def compute_dtype(dtype: str, parameter: Array) -> jnp.dtype:
    """Returns the dtype to compute in: `dtype`, or float64 where the parameters are float64."""
    return jnp.dtype("float64" if parameter.dtype == jnp.float64 else dtype)


def at_least_float32(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Casts to float32 what is narrower: boxes and losses are no matter for half precision."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def channelwise(vector: Float[Array, "c"]) -> Float[Array, "1 1 1 c"]:
    """Gives a per-channel vector the axes of an NHWC array, to be combined with one."""
    return vector[None, None, None, :]


def last_map(endpoints: Endpoints) -> Images:
    """Returns a backbone's last feature map; dicts keep the order in which it wrote them."""
    return [x for x in endpoints.values() if isinstance(x, jnp.ndarray) and x.ndim == 4][-1]


def check_parameter(module: nn.Module, name: str, shape: tuple[int, ...], channels: int) -> None:
    """Compares a parameter that is given with the shape that the input asks for.

    Raises:
      UserError: they differ; one line where flax would raise a page.
    """
    if not module.has_variable("params", name):
        return
    found = module.get_variable("params", name).shape
    if found != shape:
        path = "/".join(module.path)
        raise UserError(
            f"{path}: an input of {channels} channels needs weights of shape {shape}, not {found}"
        )
