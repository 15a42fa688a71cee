"""A classifier is a trunk and a head; a pretrained trunk is `params['trunk']`, whoever uses it."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.blocks import Dense, Dropout, torch_linear
from vision_jax.ops.pool import adaptive_avg_pool, global_avg_pool

# Heads number their dropout layers from here, trunks theirs from 0.
HEAD_LAYER = 1000
# The initialisation of networks before batch normalisation, N(0, 0.01).
SMALL_NORMAL = nn.initializers.normal(0.01)


class Classifier(nn.Module):
    """`trunk` finds feature maps, `head` turns the last of them into class scores.

    Returns one dict, the same in training and evaluation:
      each of the trunk's endpoints (b, h, w, c);
      `features` (b, d), what the last linear layer reads;
      `logits` (b, num_classes);
      `aux_logits`, a tuple of (b, num_classes), where the paper has auxiliary heads.
    """

    trunk: nn.Module
    head: nn.Module

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """See the class.

        Args:
          image: normalised RGB.
          train: batch statistics, dropout and stochastic depth.
          keys: one random key per example; needed in training by networks that draw.
        """
        outputs = self.trunk(image, train, keys)
        return {**outputs, **self.head(outputs, train, keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.trunk.strides


class PoolHead(nn.Module):
    """Global average pooling, dropout, one linear layer `fc`.

    Reads the trunk's last endpoint. `num_classes = 0` leaves the linear layer out; `zero_init`
    starts it at zero.
    """

    num_classes: int = 1000
    dropout: float = 0.0
    zero_init: bool = False
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        features = global_avg_pool(last_map(endpoints))
        if not self.num_classes:
            return {"features": features}
        x = Dropout(self.dropout, layer=HEAD_LAYER)(features, train, keys)
        start = nn.initializers.zeros if self.zero_init else torch_linear
        logits = Dense(self.num_classes, dtype=self.dtype, kernel_init=start, name="fc")(x)
        return {"features": features, "logits": logits}


class FcHead(nn.Module):
    """The fully connected layers fc6, fc7, … of AlexNet, ZFNet and VGG, each with ReLU and dropout.

    Fields:
      num_classes: outputs of the last layer, fc8 where `hidden` has two entries.
      hidden: widths of the layers before it.
      grid: the trunk's last map is averaged into grid x grid bins, which changes nothing at the
        paper's image size; 0 takes the map as it is.
      dropout: probability, of each hidden layer's outputs.
      dropout_first: of the hidden layers' inputs instead (torchvision's AlexNet).
      bias: initial bias of the hidden layers (AlexNet: 1).
      std: of the initial weights.
      dtype: compute dtype.
    """

    num_classes: int = 1000
    hidden: tuple[int, ...] = (4096, 4096)
    grid: int = 7
    dropout: float = 0.5
    dropout_first: bool = False
    bias: float = 0.0
    std: float = 0.01
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        normal = nn.initializers.normal(self.std)
        x = last_map(endpoints)
        if self.grid:
            x = adaptive_avg_pool(x, self.grid)
        x = features = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            drop = Dropout(self.dropout, layer=HEAD_LAYER + i)
            if self.dropout_first:
                x = drop(x, train, keys)
            bias = nn.initializers.constant(self.bias)
            fc = Dense(width, True, self.dtype, normal, bias, name=f"fc{i + 6}")
            features = nn.relu(fc(x))
            x = features if self.dropout_first else drop(features, train, keys)
        last = f"fc{len(self.hidden) + 6}"
        logits = Dense(self.num_classes, True, self.dtype, normal, name=last)(x)
        return {"features": features, "logits": logits}


def last_map(endpoints: dict[str, Array | tuple[Array, ...]]) -> Float[Array, "b h w c"]:
    """A trunk's last feature map; dicts keep the order in which the trunk wrote them."""
    return [x for x in endpoints.values() if isinstance(x, jnp.ndarray) and x.ndim == 4][-1]
