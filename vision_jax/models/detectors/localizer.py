"""Classification + localization: a classifier with a second head that regresses coordinates.

The head reads the last feature map through layers of its own (OverFeat, Sermanet et al. 2013,
section 4.1; VGG, appendix A), or the features that the classifier's last layer reads (DeepPose,
Toshev & Szegedy 2013; R-CNN).
"""

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.config import UserError, suggest
from vision_jax.models.layers import (
    HEAD_LAYER,
    Dense,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    last_map,
)
from vision_jax.ops.pool import adaptive_avg_pool

_FIRST_LAYER = HEAD_LAYER + 500  # number before the head's dropout layers, beyond the classifier's


class LocalizerHead(nn.Module):
    """Regresses `slots` lists of `coordinates` numbers, for each class or for all.

    Fields:
      endpoint: 'map', the backbone's last map; 'features', what the last linear layer of the
        classifier reads; or the name of any endpoint.
      slots: objects or joints per image.
      coordinates: 4 for a box, 2 for a joint.
      classes: 0 for one answer whatever the class (class-agnostic), or one answer per class.
      hidden: widths of layers with ReLU before the regression (OverFeat: 4096 and 1024).
      grid: a map is averaged into grid x grid bins; 0 takes it as it is.
      dropout: probability, of each hidden layer's outputs.
      layers: settings; the head has no norm.
    """

    endpoint: str = "map"
    slots: int = 1
    coordinates: int = 4
    classes: int = 0
    hidden: tuple[int, ...] = ()
    grid: int = 0
    dropout: float = 0.0
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, outputs: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b c s n"]:
        """Regresses numbers around 0, one row per class, or a single one where `classes` is 0.

        Raises:
          UserError: the classifier returns no such `endpoint`.
        """
        x = self._input(outputs)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(Dense(width, layers=self.layers, name=f"fc{i}")(x))
            x = Dropout(self.dropout, layer=_FIRST_LAYER + i)(x, train=train, keys=keys)
        rows = max(1, self.classes)
        out = Dense(rows * self.slots * self.coordinates, layers=self.layers, name="out")
        return out(x).reshape(-1, rows, self.slots, self.coordinates)

    def _input(self, outputs: Endpoints) -> Float[Array, "b d"]:
        maps = {name: x for name, x in outputs.items() if name not in ("logits", "aux_logits")}
        if self.endpoint == "map":
            maps["map"] = last_map(outputs)
        if self.endpoint not in maps:
            known = suggest(self.endpoint, [*maps, "map"])
            raise UserError(
                f"boxes.endpoint={self.endpoint!r}: the classifier has no such output{known}"
            )
        x = maps[self.endpoint]
        if x.ndim == 4 and self.grid:
            x = adaptive_avg_pool(x, self.grid)
        return x.reshape(x.shape[0], -1)


class Localizer(nn.Module):
    """A `Classifier`'s backbone and head, and a head for boxes or joints.

    Returns what the classifier does, and `regression` (b, classes or 1, slots, coordinates). Its
    parameters are `backbone`, `head` and `boxes`, so that a classifier's weights fit.
    """

    backbone: nn.Module
    head: nn.Module
    boxes: nn.Module

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Classifies and localizes; see `Classifier` for the arguments."""
        outputs = self.backbone(images, train=train, keys=keys)
        outputs = {**outputs, **self.head(outputs, train=train, keys=keys)}
        return {**outputs, "regression": self.boxes(outputs, train=train, keys=keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides
