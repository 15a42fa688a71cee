"""Foreign checkpoints turned into variables, and variables into foreign names and layouts."""

from vision_jax.weights.by_name import resolve
from vision_jax.weights.files import read_state
from vision_jax.weights.heads import Heads
from vision_jax.weights.loading import from_reference, listed, load, read, to_reference
from vision_jax.weights.published import Pretrained, pretrained, use_published
from vision_jax.weights.restoring import (
    Restored,
    adapt_input,
    differs_in_input,
    restore,
    whole_layers,
)
from vision_jax.weights.saving import save

__all__ = [
    "Heads",
    "Pretrained",
    "Restored",
    "adapt_input",
    "differs_in_input",
    "from_reference",
    "listed",
    "load",
    "pretrained",
    "read",
    "read_state",
    "resolve",
    "restore",
    "save",
    "to_reference",
    "use_published",
    "whole_layers",
]
