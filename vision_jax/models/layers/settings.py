"""The settings that all layers of a network share: how they normalise, and in what precision."""

import dataclasses
from typing import Literal, get_args

from vision_jax.config import UserError, suggest

NormKind = Literal["sync", "local", "frozen", "position", "group", "none"]
NORM_KINDS: tuple[str, ...] = get_args(NormKind)
DTYPES = ("float32", "bfloat16", "float16", "float64")


@dataclasses.dataclass(frozen=True)
class Layers:
    """How a network's layers normalise and in what precision they compute: one value for all.

    Backbones, necks and heads have it as their field `layers` and hand it to their layers; a part
    that has no norm reads the dtype alone.

    Attributes:
      norm: 'sync', 'local', 'frozen' (see `BatchNorm`); 'position', as 'sync' with statistics,
        scale and bias for each place of the map by itself, which fixes the image's size; 'group'
        (`GroupNorm`); or 'none'.
      eps: added to the variance.
      momentum: share of the old running statistics that an update keeps.
      dtype: in which layers compute. Parameters and statistics are float32 whatever it is; float64
        parameters are computed with in float64, which is how parity tests run.
      norm_form: 'torch' divides by sqrt(var + eps); 'darknet' by sqrt(var) + eps, with the unbiased
        variance in training too, as the framework Darknet does (eps 1e-6, momentum 0.99).

    Raises:
      UserError: an unknown norm or dtype.
    """

    norm: NormKind = "sync"
    eps: float = 1e-5
    momentum: float = 0.9
    dtype: str = "float32"
    norm_form: Literal["torch", "darknet"] = "torch"

    def __post_init__(self):
        for name, value, known in (("norm", self.norm, NORM_KINDS), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise UserError(f"unknown {name} {value!r}{suggest(value, known)}")

    def replace(self, **changes) -> "Layers":
        """Returns the settings with some of them changed."""
        return dataclasses.replace(self, **changes)

    def without_norm(self) -> "Layers":
        """Returns the settings for a part that normalises nothing."""
        return self.replace(norm="none")
