"""Tasks: the goals that networks are trained towards (init / loss / predict)."""

from vision_jax.tasks import augment
from vision_jax.tasks.captioning import Captioning
from vision_jax.tasks.classification import Classification
from vision_jax.tasks.detection import Detection
from vision_jax.tasks.embedding import Embedding
from vision_jax.tasks.ensemble import Ensemble
from vision_jax.tasks.given_proposals import GivenProposals, Untrained
from vision_jax.tasks.linear_svm import LinearSvm
from vision_jax.tasks.localization import Localization
from vision_jax.tasks.multi_scale import MultiScale
from vision_jax.tasks.perceptual import MakesImages, Perceptual
from vision_jax.tasks.proposals import WriteProposals
from vision_jax.tasks.region_features import WriteRegionFeatures
from vision_jax.tasks.region_solvers import RegressBoxes, TrainSvms
from vision_jax.tasks.segmentation import (
    CAFFE_MEAN,
    CAFFE_STD,
    Segmentation,
    median_frequency,
)
from vision_jax.tasks.solvers import LogisticHead, RidgeHead, Solver, SvmHead
from vision_jax.tasks.style import Completed, Style, StyledPicture
from vision_jax.tasks.super_resolution import SuperResolution
from vision_jax.tasks.task import IMAGENET_MEAN, IMAGENET_STD, ImageTask, Predictor, Task
from vision_jax.tasks.thresholds import SetThreshold

__all__ = [
    "CAFFE_MEAN",
    "CAFFE_STD",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Captioning",
    "Classification",
    "Completed",
    "Detection",
    "Embedding",
    "Ensemble",
    "GivenProposals",
    "ImageTask",
    "LinearSvm",
    "Localization",
    "LogisticHead",
    "MakesImages",
    "MultiScale",
    "Perceptual",
    "Predictor",
    "RegressBoxes",
    "RidgeHead",
    "Segmentation",
    "SetThreshold",
    "Solver",
    "Style",
    "StyledPicture",
    "SuperResolution",
    "SvmHead",
    "Task",
    "TrainSvms",
    "Untrained",
    "WriteProposals",
    "WriteRegionFeatures",
    "augment",
    "median_frequency",
]
