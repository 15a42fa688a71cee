"""Tasks: what a model is trained towards (init / loss / predict)."""

from vision_jax.tasks import augment
from vision_jax.tasks.classification import Classification
from vision_jax.tasks.detection import Detection
from vision_jax.tasks.ensemble import Ensemble
from vision_jax.tasks.fits import Fit, LogisticHead, RidgeHead, SvmHead
from vision_jax.tasks.localization import Localization
from vision_jax.tasks.multi_scale import MultiScale
from vision_jax.tasks.proposals import WriteProposals
from vision_jax.tasks.segmentation import (
    CAFFE_MEAN,
    CAFFE_STD,
    Segmentation,
    median_frequency,
)

__all__ = [
    "CAFFE_MEAN",
    "CAFFE_STD",
    "Classification",
    "Detection",
    "Ensemble",
    "Fit",
    "Localization",
    "LogisticHead",
    "MultiScale",
    "RidgeHead",
    "Segmentation",
    "SvmHead",
    "WriteProposals",
    "augment",
    "median_frequency",
]
