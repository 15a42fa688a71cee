"""What the units of a map respond to: their strongest answers, and those brought back to pixels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.inspect.attribution import Backward, image_gradient
from vision_jax.inspect.network import Network
from vision_jax.inspect.programs import Outputs

Window = tuple[int, int, int, int]  # top, left, bottom, right


class Projection(NamedTuple):
    """The strongest response of a channel, brought back to the image.

    Fields:
      endpoint, channel: of the map.
      activation: the response.
      signal: (h, w, c), what comes back at the image's pixels.
      window: top, left, bottom, right of the pixels that it comes back to; all of the image where
        nothing does.
    """

    endpoint: str
    channel: int
    activation: float
    signal: np.ndarray
    window: Window


def strongest_channels(
    x: Float[Array | np.ndarray, "b i j d"], count: int
) -> Int[np.ndarray, "b n"]:
    """Returns each image's channels with the largest responses, at most `count`, largest first."""
    peaks = np.asarray(x, np.float32).max((1, 2))
    return np.argsort(-peaks, axis=1, kind="stable")[:, :count]


def project(
    network: Network,
    images: Float[Array, "1 h w c"],
    channels: dict[str, list[int]],
    backward: Backward = "deconvnet",
) -> list[Projection]:
    """Brings the strongest response of channels back to the pixels of an image.

    Zeiler & Fergus 2013 (arXiv:1311.2901), section 2.1: of a map all responses but one are set to
    zero, and what is left is unpooled at the switches, rectified and filtered by the transposed
    kernels, layer by layer.

    Args:
      network: maps to look at.
      images: one image.
      channels: which channels of which endpoints.
      backward: see `image_gradient`; 'guided' is Springenberg et al.'s (2014) form.

    Raises:
      UserError: a network without ReLU.
    """
    names = tuple(channels)

    def responses(outputs: Outputs, channel: Int[Array, ""]) -> Float[Array, "n"]:
        return jnp.stack([outputs[n][0, :, :, channel].max() for n in names])

    @jax.jit
    def brought_back(which: Int[Array, ""], channel: Int[Array, ""]) -> tuple[Array, Array]:
        def score(x: Array) -> Array:
            # Half the square has the response itself as its derivative.
            chosen = jnp.arange(len(names)) == which
            return jnp.where(chosen, lax.square(responses(network(x), channel)), 0).sum()[None] / 2

        signal = image_gradient(score, images, backward)
        return signal[0], responses(network(images), channel)[which]

    found = []
    for which, name in enumerate(names):
        for channel in channels[name]:
            signal, response = brought_back(jnp.int32(which), jnp.int32(channel))
            signal = np.asarray(signal)
            found.append(Projection(name, channel, float(response), signal, window_of(signal)))
    return found


def window_of(signal: Float[np.ndarray, "h w c"], share: float = 0.02) -> Window:
    """Finds the pixels that a signal lies on: top, left, bottom, right.

    Args:
      signal: values of any sign.
      share: pixels below so much of the largest magnitude do not count.
    """
    size = np.abs(signal).max(-1)
    if not size.any():
        return (0, 0, *signal.shape[:2])
    inside = size > share * size.max()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
