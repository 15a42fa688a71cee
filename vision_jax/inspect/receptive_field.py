"""Receptive fields of a feature map's pixels: by theory, exactly, and in effect.

* `theoretical`: from the traced program, along each axis the interval of image rows that can reach
  a pixel, whatever the weights.
* `exact`: the support of a vector-Jacobian product: the pixels that did have an influence.
* `effective`: the mean magnitude of that gradient (Luo et al. 2016, arXiv:1701.04128).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.ops.reach import Field, receptive_fields


def theoretical(model: nn.Module, shape: tuple[int, int, int]) -> dict[str, Field]:
    """Finds the receptive field of every endpoint (b, h, w, c), by name.

    Args:
      model: a backbone or a classifier.
      shape: height, width and channels of the image to trace with; the fields do not depend on it
        as long as the maps have more than one pixel.
    """
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    return receptive_fields(model.apply, variables, image)


def exact(
    model: nn.Module,
    variables: dict[str, Any],
    shape: tuple[int, int, int],
    endpoint: str,
    pixel: tuple[int, int] | None = None,
    key: Key[Array, ""] | None = None,
    draws: int = 16,
) -> Bool[Array, "h w"]:
    """Finds the pixels of the image that have an influence on a pixel of an endpoint.

    One image shows too few: a ReLU that is off and a maximum elsewhere let nothing through. So the
    supports for several random images and random channel weights are united; with more draws the
    set can only grow, up to the theoretical field.

    Args:
      model, variables: evaluated as they are.
      shape: height, width and channels of the image.
      endpoint: a map (b, h, w, c).
      pixel: row and column of it; None is the middle.
      key: of the draws; None is key 0.
      draws: number of images, normally distributed.
    """
    gradients = pixel_gradients(model, variables, shape, endpoint, pixel, key, draws)
    return jnp.any(gradients != 0, axis=(0, 3))


def effective(
    model: nn.Module,
    variables: dict[str, Any],
    shape: tuple[int, int, int],
    endpoint: str,
    pixel: tuple[int, int] | None = None,
    key: Key[Array, ""] | None = None,
    draws: int = 16,
) -> Float[Array, "h w"]:
    """Measures how strongly each pixel of the image acts on a pixel of an endpoint, in 0..1.

    It is the mean over random images and channels of the gradient's magnitude, divided by its
    maximum. For the arguments see `exact`.
    """
    gradients = pixel_gradients(model, variables, shape, endpoint, pixel, key, draws)
    strength = jnp.abs(gradients).mean((0, 3))
    return strength / jnp.maximum(strength.max(), jnp.finfo(strength.dtype).tiny)


def effective_size(strength: Float[Array | np.ndarray, "h w"], share: float = 0.0455) -> float:
    """Computes the side of the square with as many pixels as reach `share` of the maximum.

    The default is what a Gaussian has left two standard deviations out (Luo et al., section 3).
    """
    return float(np.sqrt((np.asarray(strength) >= share * np.asarray(strength).max()).sum()))


def picture(
    strength: Float[Array | np.ndarray, "h w"] | Bool[Array | np.ndarray, "h w"],
    field: Field | None = None,
) -> np.ndarray:
    """Draws the result of `exact` or `effective` as an RGB picture, (h, w, 3) uint8.

    Args:
      strength: in 0..1, or which pixels are seen; shown as the square root, since the effective
        field falls off like a Gaussian.
      field: of the endpoint; its outline is drawn around the middle pixel in orange.
    """
    gray = np.sqrt(np.clip(np.asarray(strength, np.float64), 0, 1))
    shown = np.repeat((255 * gray).round().astype(np.uint8)[..., None], 3, axis=2)
    if field is not None:
        h, w = gray.shape
        sides = [s if size is None else size for s, size in zip((h, w), field.size, strict=True)]
        top, left = ((s - side) // 2 for s, side in zip((h, w), sides, strict=True))
        rows = np.clip([top, top + sides[0] - 1], 0, h - 1)
        columns = np.clip([left, left + sides[1] - 1], 0, w - 1)
        shown[rows, columns[0] : columns[1] + 1] = shown[rows[0] : rows[1] + 1, columns] = (
            255,
            140,
            0,
        )
    return shown


def pixel_gradients(
    model: nn.Module,
    variables: dict[str, Any],
    shape: tuple[int, int, int],
    endpoint: str,
    pixel: tuple[int, int] | None,
    key: Key[Array, ""] | None,
    draws: int,
) -> Float[Array, "n h w c"]:
    """Computes gradients of a random mixture of a pixel's channels, for random images.

    Args:
      model, variables, shape, endpoint, pixel, key, draws: see `exact`.

    Raises:
      UserError: an endpoint that is not there or is no map, or a pixel outside of it.
    """

    def endpoint_map(image: Float[Array, "1 h w c"]) -> Float[Array, "i j d"]:
        outputs = model.apply(variables, image)
        maps = {k: x for k, x in outputs.items() if isinstance(x, jax.Array) and x.ndim == 4}
        if endpoint not in maps:
            raise UserError(f"endpoint {endpoint!r} is no map{suggest(endpoint, maps)}")
        return maps[endpoint][0]

    key = jax.random.key(0) if key is None else key
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    h, w, channels = jax.eval_shape(endpoint_map, image).shape
    i, j = (h // 2, w // 2) if pixel is None else pixel
    if not (0 <= i < h and 0 <= j < w):
        raise UserError(f"pixel ({i}, {j}) is outside of {endpoint}, which has {h}x{w} pixels")

    def gradient(key: Key[Array, ""]) -> Float[Array, "h w c"]:
        image_key, channel_key = jax.random.split(key)
        weights = jax.random.normal(channel_key, (channels,))
        image = jax.random.normal(image_key, (1, *shape))

        def mixture(image: Float[Array, "1 h w c"]) -> Float[Array, ""]:
            return (endpoint_map(image)[i, j].astype(jnp.float32) * weights).sum()

        return jax.grad(mixture)(image)[0]

    # One image at a time: a batch of gradients of a large network would not fit.
    one_by_one = jax.jit(lambda keys: jax.lax.map(gradient, keys))
    return one_by_one(jax.random.split(key, draws))
