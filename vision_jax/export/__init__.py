"""Forms of a trained network that run elsewhere, or faster."""

from vision_jax.export.folding import fold_norms

__all__ = ["fold_norms"]
