"""The parts that captioners share: an image's features, words as vectors, and what a step returns.

A captioner is a backbone and a recurrent decoder. `begin` turns features into the decoder's state,
`step` writes one token more, and `teach` goes through given captions at once.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vision_jax.models.layers import Images, Keys, Layers, last_map
from vision_jax.models.layers.recurrent import GRU, LSTM
from vision_jax.ops import initializers

State = dict[str, Any]  # arrays with the images in front
CELLS = {"lstm": LSTM, "gru": GRU}


class Captioner(nn.Module):
    """The base of captioners: it finds features, and is fed captions or writes them.

    Fields:
      backbone: a network `images → dict`; a pretrained one is `params['backbone']`.
      num_classes: tokens of the vocabulary, the special ones included; None is as many as the data
        have.
      feature: the name of the backbone's output that is read; '' is its last map.
      embed: e, length of a word's vector.
      hidden: n, length of the decoder's output.
      cell: 'lstm' or 'gru'.
      dropout: probability of dropping a number of words' vectors, and of what the words are
        predicted from.
      layers: how layers compute.
    """

    backbone: nn.Module
    num_classes: int | None = None
    feature: str = ""
    embed: int = 512
    hidden: int = 512
    cell: str = "lstm"
    dropout: float = 0.5
    layers: Layers = Layers()

    attends: ClassVar[bool] = False  # whether there is `attention`

    def __call__(
        self,
        images: Images,
        tokens: Int[Array, "b t"],
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> dict[str, Array]:
        """Predicts each token of given captions from the image and the tokens before it.

        Args:
          images: normalised RGB.
          tokens: captions, see `structs.Targets.tokens`.
          train: use batch statistics and dropout.
          keys: one random key per example, for dropout.

        Returns:
          `logits` (b, t - 1, k) of the tokens after the first, and `attention` (b, t - 1, l) over
          the places of the map, where a captioner looks at them one after the other.
        """
        features = self.find(images, train=train, keys=keys)
        return self.teach(self.begin(features), tokens, train=train, keys=keys)

    def find(self, images: Images, *, train: bool = False, keys: Keys = None) -> Array:
        """Returns the features of images: a map (b, h, w, c), or vectors (b, c)."""
        outputs = self.backbone(images, train=train, keys=keys)
        return outputs[self.feature] if self.feature else last_map(outputs)

    def begin(self, features: Array) -> State:
        """Returns the decoder's state before the first token, the features included."""
        raise NotImplementedError

    def step(self, state: State, tokens: Int[Array, "b"]) -> tuple[State, Float[Array, "b k"]]:
        """Reads one token of each caption; returns the new state and the next token's logits."""
        raise NotImplementedError

    def teach(
        self, state: State, tokens: Int[Array, "b t"], *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Reads whole captions; see `__call__`."""
        raise NotImplementedError

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each of the backbone's endpoints."""
        return self.backbone.strides


def pooled(features: Float[Array, "b ..."]) -> Float[Array, "b c"]:
    """Returns vectors as they are, and of maps the mean over their places."""
    return features.mean(tuple(range(1, features.ndim - 1)))


def places(features: Float[Array, "b ..."]) -> Float[Array, "b l c"]:
    """Returns a map's places as a list, row after row.

    Raises:
      ValueError: vectors, which have no places.
    """
    if features.ndim != 4:
        raise ValueError(f"attention needs a feature map, not features of shape {features.shape}")
    return features.reshape(features.shape[0], -1, features.shape[-1])


class Words(nn.Module):
    """Vectors of tokens (Vinyals et al. 2015, eq. 11), `embedding` (k, e).

    Fields:
      count: k.
      features: e.
    """

    count: int
    features: int

    @nn.compact
    def __call__(self, tokens: Int[Array, "*b"]) -> Float[Array, "*b e"]:
        table = self.param("embedding", initializers.normal(0.05), (self.count, self.features))
        return jnp.take(table, tokens, axis=0)
