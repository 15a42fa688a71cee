"""A linear classifier on any endpoint of a backbone, to use it or to measure what it holds."""

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.models.layers.blocks import Dense, torch_linear
from vision_jax.ops.pool import adaptive_avg_pool


class ProbeHead(nn.Module):
    """Averages one endpoint into grid x grid bins and classifies them by one linear layer `fc`.

    Fields:
      endpoint: the backbone's feature map to read.
      num_classes: outputs.
      grid: bins per side; 1 is global average pooling.
      dtype: compute dtype.

    Raises:
      UserError: an endpoint that the backbone does not have.
    """

    endpoint: str
    num_classes: int = 1000
    grid: int = 1
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        endpoints: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Float[Array, "b _"]]:
        if self.endpoint not in endpoints:
            known = suggest(self.endpoint, endpoints)
            raise UserError(f"head.endpoint={self.endpoint!r}: the backbone has no such map{known}")
        x = adaptive_avg_pool(endpoints[self.endpoint], self.grid)
        features = x.reshape(x.shape[0], -1)
        fc = Dense(self.num_classes, dtype=self.dtype, kernel_init=torch_linear, name="fc")
        return {"features": features, "logits": fc(features)}
