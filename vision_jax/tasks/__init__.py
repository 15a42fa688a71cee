"""Tasks: what a model is trained towards (init / loss / predict)."""

from vision_jax.tasks import augment
from vision_jax.tasks.classification import Classification

__all__ = ["Classification", "augment"]
