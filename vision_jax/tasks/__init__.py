"""Tasks: what a model is trained towards (init / loss / predict)."""

from vision_jax.tasks import augment
from vision_jax.tasks.classification import Classification
from vision_jax.tasks.detection import Detection
from vision_jax.tasks.ensemble import Ensemble
from vision_jax.tasks.fits import Fit, LogisticHead, RidgeHead, SvmHead
from vision_jax.tasks.localization import Localization

__all__ = [
    "Classification",
    "Detection",
    "Ensemble",
    "Fit",
    "Localization",
    "LogisticHead",
    "RidgeHead",
    "SvmHead",
    "augment",
]
