"""The networks of the CNN cascade (Li et al. 2015, figures 3 to 6).

Three detection networks on crops of 12, 24 and 48 pixels, and a calibration network after each. All
are without padding and have ReLU. The paper gives kernels and widths, and no padding; the larger
networks' crops at half size go through the network before, whose features stay as they are: the
paper's "multi-resolution". Inputs are RGB, (pixel - 127.5) / 128.

Initialisation (the paper gives none): that of layers, but He normal over fan-in in the 48-net,
whose own features would else begin far quieter than the 24-net's beside them.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    Dense,
    Images,
    Initializer,
    Layers,
    he_fan_in,
    torch_linear,
)
from vision_jax.ops.calibration import PATTERNS
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import max_pool

STRIDE = 4  # pixels between the windows of the 12-net


class Net12(nn.Module):
    """The 12-net: a window of 12×12 pixels, which slides over an image with stride 4.

    Parameters: `conv1`, `fc`, a 4×4 convolution, and `logits`.

    Fields:
      width: factor of the numbers of channels; 1 is the paper's.
      layers: the precision.
    """

    width: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images) -> dict[str, Array]:
        """Scores all windows: `logits` (b, h', w', 2), no face and face, `features` (b, h', w', k).

        h' = (h - 12) // 4 + 1, and 1 of crops of 12×12.
        """
        settings, count = {"layers": self.layers}, _scaled(16, self.width)
        x = max_pool(nn.relu(Conv(count, 3, **settings, name="conv1")(images)), 3, 2)
        x = nn.relu(Conv(count, 4, 2, **settings, name="fc")(x))
        return {"logits": Conv(2, **settings, name="logits")(x), "features": x}


class Net24(nn.Module):
    """The 24-net: crops of 24×24 pixels, beside the 12-net's features of the same at half size.

    Parameters: `conv1`, `fc`, `logits`. Fields: see `Net12`.
    """

    width: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, crops: Float[Array, "n 24 24 3"], features: Float[Array, "n k"]
    ) -> dict[str, Array]:
        """Scores crops: `logits` (n, 2) and `features` (n, k), without the given ones."""
        settings = {"layers": self.layers}
        x = nn.relu(Conv(_scaled(64, self.width), 5, **settings, name="conv1")(crops))
        x = max_pool(x, 3, 2)
        return _scored(x, features, _scaled(128, self.width), self.layers)


class Net48(nn.Module):
    """The 48-net: crops of 48×48 pixels, beside the 24-net's features of the same at half size.

    Parameters: `conv1`, `conv2`, `fc`, `logits`. Fields: see `Net12`.
    """

    width: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, crops: Float[Array, "n 48 48 3"], features: Float[Array, "n k"]
    ) -> dict[str, Array]:
        """Scores crops: `logits` (n, 2) and `features` (n, k), without the given ones."""
        count = _scaled(64, self.width)
        settings = {"kernel_init": he_fan_in, "layers": self.layers}
        x = nn.relu(Conv(count, 5, **settings, name="conv1")(crops))
        x = local_response_norm(max_pool(x, 3, 2), 9)
        x = nn.relu(Conv(count, 5, **settings, name="conv2")(x))
        x = max_pool(local_response_norm(x, 9), 3, 2)
        return _scored(x, features, _scaled(256, self.width), self.layers, he_fan_in)


class CalibrationNet(nn.Module):
    """A network that tells by which of 45 patterns a window is off its face.

    Parameters: `conv1`, `conv2` of 48 pixels, `fc`, `patterns`.

    Fields:
      side: 12, 24 or 48 pixels of the crops.
      width, layers: see `Net12`.
    """

    side: int
    width: float = 1.0
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, crops: Float[Array, "n s s 3"]) -> Float[Array, "n 45"]:
        """Returns the logits of `ops.calibration.PATTERNS`."""
        kernel, channels, features = {12: (3, 16, 128), 24: (5, 32, 64), 48: (5, 64, 256)}[
            self.side
        ]
        settings, count = {"layers": self.layers}, _scaled(channels, self.width)
        x = nn.relu(Conv(count, kernel, **settings, name="conv1")(crops))
        x = max_pool(x, 3, 2)
        if self.side == 48:
            x = local_response_norm(x, 9)
            x = nn.relu(Conv(count, kernel, **settings, name="conv2")(x))
            x = local_response_norm(x, 9)
        x = Dense(_scaled(features, self.width), **settings, name="fc")(x.reshape(len(x), -1))
        return Dense(len(PATTERNS), **settings, name="patterns")(nn.relu(x))


def _scored(
    x: Array, features: Array, count: int, layers: Layers, kernel_init: Initializer = torch_linear
) -> dict[str, Array]:
    """Makes features of a map, and logits of these and others."""
    x = nn.relu(
        Dense(count, kernel_init=kernel_init, layers=layers, name="fc")(x.reshape(len(x), -1))
    )
    both = jnp.concatenate([x, features.astype(x.dtype)], -1)
    return {"logits": Dense(2, layers=layers, name="logits")(both), "features": x}


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))
