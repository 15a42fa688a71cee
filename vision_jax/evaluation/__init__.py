"""Metrics: measures of a network's outputs on a whole data set.

A metric is a frozen dataclass derived from `SummedMetric` or `GatheredMetric`, and its `result` is
a dict: a float is logged as `eval/<name>`, an array goes to the report. A result does not depend on
the batch size, the padding or the number of devices.
"""

from vision_jax.evaluation.averages import Averages
from vision_jax.evaluation.boundary import BoundaryF
from vision_jax.evaluation.captions import Captions, Perplexity
from vision_jax.evaluation.cascade import CascadeStages
from vision_jax.evaluation.classification import Confusion, Loss, MultiLabel, TopK
from vision_jax.evaluation.clustering import Clustering
from vision_jax.evaluation.coco import COCO
from vision_jax.evaluation.errors import Errors
from vision_jax.evaluation.joint_bayesian import JointBayesian
from vision_jax.evaluation.localization import BoxIoU, Joints, LocalizationError
from vision_jax.evaluation.metric import (
    GatheredMetric,
    Metric,
    Prefixed,
    RatioMetric,
    SummedMetric,
)
from vision_jax.evaluation.proposals import ProposalRecall
from vision_jax.evaluation.records import Objects, Record, annotated, records
from vision_jax.evaluation.repeatability import matched_iou, repeatability
from vision_jax.evaluation.retrieval import Retrieval
from vision_jax.evaluation.segmentation import Segmentation
from vision_jax.evaluation.verification import Verification
from vision_jax.evaluation.voc import VOC

__all__ = [
    "COCO",
    "VOC",
    "Averages",
    "BoundaryF",
    "BoxIoU",
    "Captions",
    "CascadeStages",
    "Clustering",
    "Confusion",
    "Errors",
    "GatheredMetric",
    "JointBayesian",
    "Joints",
    "LocalizationError",
    "Loss",
    "Metric",
    "MultiLabel",
    "Objects",
    "Perplexity",
    "Prefixed",
    "ProposalRecall",
    "RatioMetric",
    "Record",
    "Retrieval",
    "Segmentation",
    "SummedMetric",
    "TopK",
    "Verification",
    "annotated",
    "matched_iou",
    "records",
    "repeatability",
]
