"""The data room: sources of examples, host transforms, and the pipelines that make batches."""

from vision_jax.data.coco_json import KEYPOINT_MIRROR
from vision_jax.data.coco_voc import CocoAsVoc
from vision_jax.data.concat import Concat
from vision_jax.data.decode import RecordError
from vision_jax.data.digits import Digits
from vision_jax.data.folders import CocoFolder, VocFolder
from vision_jax.data.pipeline import Batches, Eval, Train
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
from vision_jax.data.transforms_color import PhotometricDistortion
from vision_jax.data.transforms_mixing import BoxMixUp, Mosaic, PerBatch
from vision_jax.data.transforms_objects import (
    Expand,
    IoUCrop,
    Letterbox,
    Pad,
    RandomCrop,
    RandomScale,
    ResizeSides,
    Stretch,
)
from vision_jax.data.transforms_semantic import ObjectCrop, OriginalLabels

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
    "Eval",
    "Expand",
    "IoUCrop",
    "Letterbox",
    "Mosaic",
    "MultiCrop",
    "ObjectCrop",
    "OriginalLabels",
    "Pad",
    "PadCrop",
    "PerBatch",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomScale",
    "RecordError",
    "Resize",
    "ResizeSides",
    "ScaleJitterCrop",
    "Shuffled",
    "Source",
    "Stretch",
    "Train",
    "VocFolder",
]
