"""Looks at a network: its layers and their costs, what its pixels see, and what it has learnt."""

from vision_jax.inspect import attribution, receptive_field, synthesis
from vision_jax.inspect.activations import project, strongest_channels
from vision_jax.inspect.attribution import (
    activation_score,
    class_score,
    grad_cam,
    image_gradient,
    occlusion,
    saliency,
)
from vision_jax.inspect.network import Network
from vision_jax.inspect.summary import Layer, Summary, summarize
from vision_jax.inspect.synthesis import class_image, invert_features

__all__ = [
    "Layer",
    "Network",
    "Summary",
    "activation_score",
    "attribution",
    "class_image",
    "class_score",
    "grad_cam",
    "image_gradient",
    "invert_features",
    "occlusion",
    "project",
    "receptive_field",
    "saliency",
    "strongest_channels",
    "summarize",
    "synthesis",
]
