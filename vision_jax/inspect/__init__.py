"""Looks at a network: its layers and their costs, and what its pixels see."""

from vision_jax.inspect import receptive_field
from vision_jax.inspect.summary import Layer, Summary, summarize

__all__ = ["Layer", "Summary", "receptive_field", "summarize"]
