"""The data room: sources of examples, host transforms, and the pipelines that make batches."""

from vision_jax.data.batches import Batches
from vision_jax.data.coco_json import KEYPOINT_MIRROR
from vision_jax.data.coco_voc import CocoAsVoc
from vision_jax.data.concat import Concat
from vision_jax.data.decode import RecordError
from vision_jax.data.digits import Digits
from vision_jax.data.folders import CocoFolder, VocFolder
from vision_jax.data.one_class import OneClass
from vision_jax.data.pipeline import Eval, Train
from vision_jax.data.proposals import JitteredTruth, WithProposals
from vision_jax.data.shuffled import Shuffled
from vision_jax.data.sources import TFDS, Source
from vision_jax.data.tables import Csv
from vision_jax.data.transforms import (
    CenterCrop,
    MultiCrop,
    PadCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ScaleJitterCrop,
)
from vision_jax.data.transforms_color import HsvJitter, PhotometricDistortion
from vision_jax.data.transforms_mixing import BoxMixUp, Mosaic, PerBatch, Until
from vision_jax.data.transforms_objects import (
    EdgeJitter,
    Expand,
    IoUCrop,
    Letterbox,
    Pad,
    RandomCrop,
    RandomScale,
    ResizeSides,
    Stretch,
)
from vision_jax.data.transforms_semantic import ObjectCrop, OriginalLabels, RandomTurn
from vision_jax.data.transforms_warp import RandomAffine, RandomLens

__all__ = [
    "KEYPOINT_MIRROR",
    "TFDS",
    "Batches",
    "BoxMixUp",
    "CenterCrop",
    "CocoAsVoc",
    "CocoFolder",
    "Concat",
    "Csv",
    "Digits",
    "EdgeJitter",
    "Eval",
    "Expand",
    "HsvJitter",
    "IoUCrop",
    "JitteredTruth",
    "Letterbox",
    "Mosaic",
    "MultiCrop",
    "ObjectCrop",
    "OneClass",
    "OriginalLabels",
    "Pad",
    "PadCrop",
    "PerBatch",
    "PhotometricDistortion",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "RandomLens",
    "RandomResizedCrop",
    "RandomScale",
    "RandomTurn",
    "RecordError",
    "Resize",
    "ResizeSides",
    "ScaleJitterCrop",
    "Shuffled",
    "Source",
    "Stretch",
    "Train",
    "Until",
    "VocFolder",
    "WithProposals",
]
