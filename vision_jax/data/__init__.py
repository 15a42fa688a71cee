"""The data room: sources of examples, host transforms, and the pipelines that make batches."""

from vision_jax.data.decode import RecordError
from vision_jax.data.digits import Digits
from vision_jax.data.pipeline import Batches, Eval, Train
from vision_jax.data.sources import TFDS, Source
from vision_jax.data.transforms import (
    CenterCrop,
    MultiCrop,
    PadCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ScaleJitterCrop,
)

__all__ = [
    "TFDS",
    "Batches",
    "CenterCrop",
    "Digits",
    "Eval",
    "MultiCrop",
    "PadCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RecordError",
    "Resize",
    "ScaleJitterCrop",
    "Source",
    "Train",
]
