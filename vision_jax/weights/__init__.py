"""Foreign checkpoints turned into variables, and variables into foreign names and layouts."""

from vision_jax.weights.files import read_state
from vision_jax.weights.heads import Heads
from vision_jax.weights.loading import from_reference, listed, load, read, to_reference
from vision_jax.weights.restoring import (
    Restored,
    adapt_input,
    differs_in_input,
    restore,
    whole_layers,
)

__all__ = [
    "Heads",
    "Restored",
    "adapt_input",
    "differs_in_input",
    "from_reference",
    "listed",
    "load",
    "read",
    "read_state",
    "restore",
    "to_reference",
    "whole_layers",
]
