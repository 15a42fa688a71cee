"""The data room: sources of examples, host transforms, and the pipelines that make batches."""

from vision_jax.data.batches import Batches
from vision_jax.data.by_name import ByName
from vision_jax.data.by_text import source_from_text
from vision_jax.data.caption_folder import CaptionFolder, captions_of
from vision_jax.data.coco_folder import CocoFolder
from vision_jax.data.coco_json import KEYPOINT_MIRROR
from vision_jax.data.coco_voc import CocoAsVoc
from vision_jax.data.concat import Concat
from vision_jax.data.decode import RecordError
from vision_jax.data.digits import Digits
from vision_jax.data.held_out import HeldOut
from vision_jax.data.image_folder import ImageFolder
from vision_jax.data.individuals import Individuals
from vision_jax.data.labelme import Labelme
from vision_jax.data.lfw_pairs import LfwPairs
from vision_jax.data.loading import Context, ContextTransform, Transform
from vision_jax.data.mask_folder import MaskFolder
from vision_jax.data.one_class import AnyClass, OneClass
from vision_jax.data.photographs import Picture, PictureFolder, place
from vision_jax.data.pipeline import Eval, Pipeline, Train
from vision_jax.data.proposals import JitteredTruth, Propose, WithProposals
from vision_jax.data.semantic_objects import ObjectsAsSemantic
from vision_jax.data.shuffled import Shuffled
from vision_jax.data.sources import BaseSource, Source, Wrapped
from vision_jax.data.tables import Csv
from vision_jax.data.tfds import TFDS
from vision_jax.data.tiles import Tiles
from vision_jax.data.transforms import (
    CenterCrop,
    MultiCrop,
    RandomFlip,
    RandomResizedCrop,
    Resize,
    ScaleJitterCrop,
)
from vision_jax.data.transforms_color import HsvJitter, PhotometricDistortion
from vision_jax.data.transforms_degrade import Degrade
from vision_jax.data.transforms_mixing import BoxMixUp, Mosaic, PerBatch, Until
from vision_jax.data.transforms_objects import (
    Canvas,
    EdgeJitter,
    Expand,
    IoUCrop,
    Letterbox,
    Pad,
    RandomCrop,
    RandomScale,
    RandomWindow,
    ResizeShortestEdge,
    StretchTo,
)
from vision_jax.data.transforms_patches import MaskPatches
from vision_jax.data.transforms_semantic import ObjectCrop, OriginalLabels, RandomRotation
from vision_jax.data.transforms_warp import LensDistortion, RandomAffine
from vision_jax.data.voc_folder import VocFolder
from vision_jax.data.vocabulary import EncodeCaption, Vocabulary, read_vocabulary, vocabulary_of
from vision_jax.data.with_vocabulary import WithVocabulary, with_words
from vision_jax.data.yolo_folder import Yolo

__all__ = [
    "KEYPOINT_MIRROR",
    "TFDS",
    "AnyClass",
    "BaseSource",
    "Batches",
    "BoxMixUp",
    "ByName",
    "Canvas",
    "CaptionFolder",
    "CenterCrop",
    "CocoAsVoc",
    "CocoFolder",
    "Concat",
    "Context",
    "ContextTransform",
    "Csv",
    "Degrade",
    "Digits",
    "EdgeJitter",
    "EncodeCaption",
    "Eval",
    "Expand",
    "HeldOut",
    "HsvJitter",
    "ImageFolder",
    "Individuals",
    "IoUCrop",
    "JitteredTruth",
    "Labelme",
    "LensDistortion",
    "Letterbox",
    "LfwPairs",
    "MaskFolder",
    "MaskPatches",
    "Mosaic",
    "MultiCrop",
    "ObjectCrop",
    "ObjectsAsSemantic",
    "OneClass",
    "OriginalLabels",
    "Pad",
    "PerBatch",
    "PhotometricDistortion",
    "Picture",
    "PictureFolder",
    "Pipeline",
    "Propose",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomScale",
    "RandomWindow",
    "RecordError",
    "Resize",
    "ResizeShortestEdge",
    "ScaleJitterCrop",
    "Shuffled",
    "Source",
    "StretchTo",
    "Tiles",
    "Train",
    "Transform",
    "Until",
    "VocFolder",
    "Vocabulary",
    "WithProposals",
    "WithVocabulary",
    "Wrapped",
    "Yolo",
    "captions_of",
    "place",
    "read_vocabulary",
    "source_from_text",
    "vocabulary_of",
    "with_words",
]
