"""Classification + localization: a classifier with a second head that regresses coordinates.

The head reads the last feature map through layers of its own (OverFeat, Sermanet et al. 2013,
section 4.1; VGG, appendix A), or the features that the classifier's last layer reads (DeepPose,
Toshev & Szegedy 2013; R-CNN).
"""

from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError, suggest
from vision_jax.models.classifiers.classifier import HEAD_LAYER, last_map
from vision_jax.models.layers.blocks import Dense, Dropout, torch_linear
from vision_jax.ops.pool import adaptive_avg_pool

_OWN_LAYERS = 500  # dropout layers of this head are numbered from HEAD_LAYER + this


class BoxHead(nn.Module):
    """Regresses `slots` lists of `coordinates` numbers, for each class or for all.

    Fields:
      reads: 'map', the backbone's last map; 'features', what the last linear layer of the classifier
        reads; or the name of any endpoint.
      slots: objects or joints per image.
      coordinates: 4 for a box, 2 for a joint.
      classes: 0 for one answer whatever the class (class-agnostic), or one answer per class.
      hidden: widths of layers with ReLU before the regression (OverFeat: 4096 and 1024).
      grid: a map is averaged into grid x grid bins; 0 takes it as it is.
      dropout: probability, of each hidden layer's outputs.
      dtype: compute dtype.
    """

    reads: str = "map"
    slots: int = 1
    coordinates: int = 4
    classes: int = 0
    hidden: tuple[int, ...] = ()
    grid: int = 0
    dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        outputs: dict[str, Array | tuple[Array, ...]],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b c s n"]:
        """Numbers around 0, one row per class, or a single one where `classes` is 0.

        Raises:
          UserError: `reads` names nothing that the classifier returns.
        """
        x = self._input(outputs)
        for i, width in enumerate(self.hidden, start=1):
            x = nn.relu(Dense(width, dtype=self.dtype, kernel_init=torch_linear, name=f"fc{i}")(x))
            x = Dropout(self.dropout, layer=HEAD_LAYER + _OWN_LAYERS + i)(x, train, keys)
        rows = max(1, self.classes)
        out = Dense(
            rows * self.slots * self.coordinates,
            dtype=self.dtype,
            kernel_init=torch_linear,
            name="out",
        )(x)
        return out.reshape(-1, rows, self.slots, self.coordinates)

    def _input(self, outputs: dict[str, Array | tuple[Array, ...]]) -> Float[Array, "b d"]:
        maps = {name: x for name, x in outputs.items() if name not in ("logits", "aux_logits")}
        if self.reads == "map":
            maps["map"] = last_map(outputs)
        if self.reads not in maps:
            found = suggest(self.reads, [*maps, "map"])
            raise UserError(f"boxes.reads={self.reads!r}: the classifier has no such output{found}")
        x = maps[self.reads]
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

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """See the class, and `Classifier` for the arguments."""
        outputs = self.backbone(image, train, keys)
        outputs = {**outputs, **self.head(outputs, train, keys)}
        return {**outputs, "regression": self.boxes(outputs, train, keys)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides
