"""Forms of a trained network that run elsewhere, or faster.

    python -m vision_jax.export RUN --out model.stablehlo
    python -m vision_jax.export run model.stablehlo photos

Who only runs an exported program imports no network: the parts are loaded when they are asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision_jax.export.artifact import Artifact, load
    from vision_jax.export.folding import fold_norms
    from vision_jax.export.program import export

__all__ = ["Artifact", "export", "fold_norms", "load"]

_PLACES = {"Artifact": "artifact", "load": "artifact", "fold_norms": "folding", "export": "program"}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
