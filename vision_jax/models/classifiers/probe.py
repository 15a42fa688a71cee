"""A linear classifier on any endpoint of a backbone, to use it or to measure what it holds."""

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError, suggest
from vision_jax.models.layers import Dense, Endpoints, Keys, Layers
from vision_jax.ops.pool import adaptive_avg_pool


class ProbeHead(nn.Module):
    """A head that averages one endpoint into grid x grid bins, and one linear layer `fc`.

    Fields:
      endpoint: the backbone's feature map to read.
      num_classes: outputs.
      grid: bins per side; 1 is global average pooling.
      layers: in what precision `fc` computes; the head has no norm.

    Raises:
      UserError: an endpoint that the backbone does not have.
    """

    endpoint: str
    num_classes: int = 1000
    grid: int = 1
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Float[Array, "b _"]]:
        """Classifies `endpoint`."""
        if self.endpoint not in endpoints:
            known = suggest(self.endpoint, endpoints)
            raise UserError(f"head.endpoint={self.endpoint!r}: the backbone has no such map{known}")
        x = adaptive_avg_pool(endpoints[self.endpoint], self.grid)
        features = x.reshape(x.shape[0], -1)
        fc = Dense(self.num_classes, layers=self.layers, name="fc")
        return {"features": features, "logits": fc(features)}
