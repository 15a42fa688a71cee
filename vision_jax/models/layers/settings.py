"""The settings that all layers of a network share: how they normalise, and in what precision."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from vision_jax.config import UserError, suggest

KNOWN = {  # the values that a setting can have
    "norm": ("sync", "local", "frozen", "position", "group", "instance", "none"),
    "dtype": ("float32", "bfloat16", "float16", "float64"),
    "norm_form": ("torch", "darknet"),
}


@dataclasses.dataclass(frozen=True)
class Layers:
    """How a network's layers normalise and in what precision they compute: one value for all.

    Backbones, necks and heads have it as their field `layers` and hand it to their layers; a part
    that has no norm reads the dtype alone.

    Attributes:
      norm: 'sync', 'local', 'frozen' (see `BatchNorm`); 'position', as 'sync' with statistics,
        scale and bias for each place of the map by itself, which fixes the image's size; 'group'
        and 'instance' (`GroupNorm`); or 'none'.
      eps: added to the variance.
      momentum: share of the old running statistics that an update keeps.
      dtype: in which layers compute. Parameters and statistics are float32 whatever it is; float64
        parameters are computed with in float64, which is how parity tests run.
      norm_form: 'torch' divides by sqrt(var + eps); 'darknet' by sqrt(var) + eps, with the unbiased
        variance in training too, as the framework Darknet does (eps 1e-6, momentum 0.99).

    Raises:
      UserError: an unknown norm, dtype or form.
    """

    norm: str = "sync"
    eps: float = 1e-5
    momentum: float = 0.9
    dtype: str = "float32"
    norm_form: str = "torch"

    def __post_init__(self):
        for name, known in KNOWN.items():
            value = getattr(self, name)
            if value not in known:
                raise UserError(f"unknown {name} {value!r}{suggest(value, known)}")

    def replace(self, **changes) -> "Layers":
        """Returns the settings with some of them changed."""
        return dataclasses.replace(self, **changes)

    def without_norm(self) -> "Layers":
        """Returns the settings for a part that normalises nothing."""
        return self.replace(norm="none")


NO_NORM = Layers(norm="none")  # networks from before batch normalisation


def layers_of(part: Any) -> Iterator[Layers]:
    """Finds the settings of all layers of a network: its own field, and those of its parts."""
    if isinstance(part, Layers):
        yield part
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from layers_of(value)
    elif isinstance(part, tuple | list):
        for value in part:
            yield from layers_of(value)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            if field.name != "parent":  # what linen binds a module to lies above it
                yield from layers_of(getattr(part, field.name))


def norms(part: Any) -> set[str]:
    """Finds the kinds of normalisation in a network, `Layers.norm` of all its layers."""
    return {layers.norm for layers in layers_of(part)}
