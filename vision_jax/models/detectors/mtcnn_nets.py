"""The three networks of MTCNN's cascade (Zhang et al. 2016, arXiv:1604.02878, figure 2).

All are without padding, and their poolings keep a last window that reaches over the border. Maps
are flattened column by column, as the original's Matlab arrays lie. Inputs are RGB, (pixel - 127.5)
/ 128. Parameters: `conv1`, `prelu1`, …, `dense4`, …; the heads are the last layers, `_1` the
scores, `_2` the box and `_3` the landmarks.
"""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.layers import NO_NORM, Conv, Dense, Images, Layers, PReLU
from vision_jax.ops import initializers
from vision_jax.ops.pool import max_pool

LANDMARKS = 5  # left eye, right eye, nose, left and right corner of the mouth, as the viewer sees
XAVIER = initializers.xavier


class PNet(nn.Module):
    """The proposal network: a window of 12×12 pixels slides over the image with stride 2."""

    layers: Layers = NO_NORM

    @nn.compact
    def __call__(
        self, images: Images, content: Int[Array, "b 2"] | None = None
    ) -> dict[str, Array]:
        """Scores all windows.

        Args:
          images: (b, h, w, 3).
          content: rows and columns of each image that are not padding, for the last window of the
            pooling; None: all.

        Returns:
          `logits` (b, h', w', 2), no face and face, and `deltas` (b, h', w', 4), h' = ceil((h - 2)
          / 2) - 4; see `ops.cascade.refine_boxes`.
        """
        x = _conv(self, 1, 10, 3)(images)
        if content is not None:
            rows, columns = (content[:, axis, None, None, None] - 2 for axis in (0, 1))
            inside = jnp.arange(x.shape[1])[None, :, None, None] < rows
            inside &= jnp.arange(x.shape[2])[None, None, :, None] < columns
            x = jnp.where(inside, x, -jnp.inf)
        x = max_pool(x, 2, ceil_mode=True)
        x = jnp.where(jnp.isfinite(x), x, 0) if content is not None else x
        x = _conv(self, 3, 32, 3)(_conv(self, 2, 16, 3)(x))
        settings = {"kernel_init": XAVIER, "layers": self.layers}
        return {
            "logits": Conv(2, **settings, name="conv4_1")(x),
            "deltas": Conv(4, **settings, name="conv4_2")(x),
        }


class RNet(nn.Module):
    """The refinement network, on crops of 24×24 pixels."""

    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, crops: Float[Array, "n 24 24 3"]) -> dict[str, Array]:
        """Scores crops: `logits` (n, 2), no face and face, and `deltas` (n, 4)."""
        x = max_pool(_conv(self, 1, 28, 3)(crops), 3, 2, ceil_mode=True)
        x = max_pool(_conv(self, 2, 48, 3)(x), 3, 2, ceil_mode=True)
        x = _dense(self, 4, 128, _conv(self, 3, 64, 2)(x))
        return _heads(self, "dense5", {"logits": 2, "deltas": 4}, x)


class ONet(nn.Module):
    """The output network, on crops of 48×48 pixels; it places landmarks too."""

    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, crops: Float[Array, "n 48 48 3"]) -> dict[str, Array]:
        """Scores crops: `logits` (n, 2), `deltas` (n, 4) and `landmarks` (n, 10).

        Landmarks are five x, then five y, in sides of the crop's box.
        """
        x = max_pool(_conv(self, 1, 32, 3)(crops), 3, 2, ceil_mode=True)
        x = max_pool(_conv(self, 2, 64, 3)(x), 3, 2, ceil_mode=True)
        x = max_pool(_conv(self, 3, 64, 3)(x), 2, 2, ceil_mode=True)
        x = _dense(self, 5, 256, _conv(self, 4, 128, 2)(x))
        return _heads(self, "dense6", {"logits": 2, "deltas": 4, "landmarks": 2 * LANDMARKS}, x)


def _conv(net, number, features, kernel):
    """Makes a convolution with its PReLU, two parts of `net`."""
    settings = {"kernel_init": XAVIER, "layers": net.layers}
    conv = Conv(features, kernel, **settings, name=f"conv{number}", parent=net)
    act = PReLU(layers=net.layers, name=f"prelu{number}", parent=net)
    return lambda x: act(conv(x))


def _dense(net, number, features, x):
    """Flattens a map column by column, and applies a fully connected layer with its PReLU."""
    x = x.swapaxes(1, 2).reshape(len(x), -1)
    settings = {"kernel_init": XAVIER, "layers": net.layers, "parent": net}
    x = Dense(features, **settings, name=f"dense{number}")(x)
    return PReLU(layers=net.layers, name=f"prelu{number}", parent=net)(x)


def _heads(net, name, outputs, x):
    """Applies the heads `name`_1, `name`_2, …, in the order of `outputs`: names and features."""
    settings = {"kernel_init": XAVIER, "layers": net.layers, "parent": net}
    return {
        output: Dense(features, **settings, name=f"{name}_{i}")(x)
        for i, (output, features) in enumerate(outputs.items(), start=1)
    }
