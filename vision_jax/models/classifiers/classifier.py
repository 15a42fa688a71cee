"""A classifier is a backbone and a head; here is the pair, and the heads that several papers share.

A pretrained backbone is `params['backbone']`, whoever uses it.
"""

from flax import linen as nn
from jaxtyping import Array

from vision_jax.models.layers import (
    HEAD_LAYER,
    Dense,
    Dropout,
    Endpoints,
    Headed,
    Keys,
    Layers,
    last_map,
    torch_linear,
)
from vision_jax.ops import initializers
from vision_jax.ops.pool import adaptive_avg_pool, global_avg_pool


class Classifier(Headed):
    """A network of a backbone, which finds feature maps, and a head, which scores classes.

    It returns one dict, the same in training and evaluation:
      each of the backbone's endpoints (b, h, w, c);
      `features` (b, d), the input of the last linear layer;
      `logits` (b, num_classes);
      `aux_logits`, a tuple of (b, num_classes), where the paper has auxiliary heads and the maps
        are large enough for them.
    """


class PoolHead(nn.Module):
    """A head of global average pooling, dropout and one linear layer `fc`.

    Fields:
      num_classes: number of outputs; 0 leaves the linear layer out.
      dropout: probability of dropping an average.
      zero_init: start the linear layer at zero.
      layers: settings; the head has no norm.
    """

    num_classes: int = 1000
    dropout: float = 0.0
    zero_init: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Classifies the backbone's last endpoint."""
        features = global_avg_pool(last_map(endpoints))
        if not self.num_classes:
            return {"features": features}
        x = Dropout(self.dropout, layer=HEAD_LAYER)(features, train=train, keys=keys)
        start = initializers.zeros if self.zero_init else torch_linear
        fc = Dense(self.num_classes, kernel_init=start, layers=self.layers, name="fc")
        return {"features": features, "logits": fc(x)}


class FcHead(nn.Module):
    """AlexNet's, ZFNet's and VGG's head: fully connected layers fc6, fc7, … with ReLU and dropout.

    Fields:
      num_classes: number of outputs of the last layer, fc8 where `hidden` has two entries; 0
        leaves it out.
      hidden: widths of the layers before it.
      grid: the backbone's last map is averaged into grid x grid bins, which changes nothing at the
        paper's image size; 0 takes the map as it is.
      dropout: probability of dropping a hidden layer's output.
      dropout_first: drop the hidden layers' inputs instead (torchvision's AlexNet).
      bias: initial bias of the hidden layers (AlexNet: 1).
      std: standard deviation of the initial weights.
      layers: settings; the head has no norm.
    """

    num_classes: int = 1000
    hidden: tuple[int, ...] = (4096, 4096)
    grid: int = 7
    dropout: float = 0.5
    dropout_first: bool = False
    bias: float = 0.0
    std: float = 0.01
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Classifies the backbone's last endpoint."""
        normal = initializers.normal(self.std)
        x = last_map(endpoints)
        if self.grid:
            x = adaptive_avg_pool(x, self.grid)
        x = features = x.reshape(x.shape[0], -1)
        for i, width in enumerate(self.hidden):
            drop = Dropout(self.dropout, layer=HEAD_LAYER + i)
            if self.dropout_first:
                x = drop(x, train=train, keys=keys)
            bias = initializers.constant(self.bias)
            fc = Dense(width, True, normal, bias, self.layers, name=f"fc{i + 6}")
            features = nn.relu(fc(x))
            x = features if self.dropout_first else drop(features, train=train, keys=keys)
        if not self.num_classes:
            return {"features": features}
        last = f"fc{len(self.hidden) + 6}"
        fc = Dense(self.num_classes, True, normal, layers=self.layers, name=last)
        return {"features": features, "logits": fc(x)}
