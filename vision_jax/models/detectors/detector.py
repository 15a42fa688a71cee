"""The defaults of a detector's optional methods; see `structs.Detector` for the protocol."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vision_jax.structs import Targets, Terms


class DetectorModule(nn.Module):
    """A detector that logs no metrics and has no anchors to show, unless it says otherwise."""

    def metrics(self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]) -> Terms:
        """Returns what is logged in training, {name: (sum, count)}: nothing."""
        return {}

    def anchors(self, height: int, width: int) -> Float[Array, "a 4"] | None:
        """Returns the boxes that outputs refine, xyxy in pixels: none."""
        return None

    def matches(self, targets: Targets, height: int, width: int) -> Int[Array, "b a"] | None:
        """Returns each anchor's object: none."""
        return None
