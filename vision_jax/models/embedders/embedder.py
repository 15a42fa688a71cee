"""An embedder is a backbone and a head; here is the pair, and the head that several papers share.

An embedding is a point on the unit sphere; images of one identity should lie near each other.
"""

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.layers import (
    HEAD_LAYER,
    Dense,
    Dropout,
    Endpoints,
    Headed,
    Keys,
    Layers,
    last_map,
    norm,
    torch_linear,
)
from vision_jax.ops.normalize import l2_normalize
from vision_jax.ops.pool import global_avg_pool


class Embedder(Headed):
    """A network of a backbone, which finds feature maps, and a head, which embeds images.

    It returns one dict, the same in training and evaluation: each of the backbone's endpoints
    (b, h, w, c), and what the head returns, such as `EmbeddingHead` or one of a paper's own.
    """


class EmbeddingHead(nn.Module):
    """A head of global average pooling, dropout, one linear layer `fc` and, if wanted, its norm.

    It returns `features` (b, d), before they are normalised, `embedding` (b, d), of length 1, and,
    with `num_classes`, `logits` (b, num_classes) of a linear layer `logits` on the features.

    Fields:
      features: d.
      num_classes: identities that are also classified in training; 0 for none.
      dropout: probability of dropping an average.
      use_bias: of `fc`.
      last_norm: batch normalisation follows it, as in facenet.
      layers: how the head normalises and computes.
    """

    features: int = 128
    num_classes: int = 0
    dropout: float = 0.0
    use_bias: bool = True
    last_norm: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b _"]]:
        """Embeds the backbone's last endpoint."""
        x = global_avg_pool(last_map(endpoints))
        x = Dropout(self.dropout, layer=HEAD_LAYER)(x, train=train, keys=keys)
        x = Dense(self.features, self.use_bias, torch_linear, layers=self.layers, name="fc")(x)
        if self.last_norm:
            x = norm(self.layers, "norm")(x[:, None, None], train=train)[:, 0, 0]
        return embedded(x, self.num_classes, self.layers)


def embedded(
    features: Float[Array, "b d"], num_classes: int, layers: Layers
) -> dict[str, Float[Array, "b _"]]:
    """Returns features, their embedding and, with classes, the logits; within a compact method."""
    outputs = {"features": features, "embedding": l2_normalize(features)}
    if num_classes:
        logits = Dense(num_classes, kernel_init=torch_linear, layers=layers, name="logits")
        outputs["logits"] = logits(features)
    return outputs
