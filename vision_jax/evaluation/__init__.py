"""Metrics: what a network's outputs are worth on a whole data set.

A metric is a frozen dataclass of one of two kinds, told apart by its class attribute `gathers`.

* `gathers = False`: sums suffice. `empty()` is a pytree of zeros (float64 and int64, on the host),
  `update(outputs, batch)` a pytree of increments of the same structure (jit-able, float32 and
  int32, rows with `batch.valid` False left out); the caller sums increments over devices and adds
  them on the host.
* `gathers = True`: every row is needed. `empty()` is a list and `collect(state, outputs, batch)`
  returns it with this batch's valid rows added; it runs on the host over numpy arrays. Only the
  outputs that its attribute `outputs` names are sent there.

Both end in `result(state) -> {name: value}`: a float is logged as `eval/<name>`, an array goes to
the report. So a result does not depend on the batch size, the padding or the number of devices.
"""

from vision_jax.evaluation.boundary import BoundaryF
from vision_jax.evaluation.classification import Confusion, Loss, MultiLabel, TopK
from vision_jax.evaluation.coco import COCO
from vision_jax.evaluation.errors import Errors
from vision_jax.evaluation.localization import Joints, LocalizationError, Overlap
from vision_jax.evaluation.proposals import ProposalRecall
from vision_jax.evaluation.records import Objects, Record, annotated, records
from vision_jax.evaluation.segmentation import Segmentation
from vision_jax.evaluation.voc import VOC

__all__ = [
    "COCO",
    "VOC",
    "BoundaryF",
    "Confusion",
    "Errors",
    "Joints",
    "LocalizationError",
    "Loss",
    "MultiLabel",
    "Objects",
    "Overlap",
    "ProposalRecall",
    "Record",
    "Segmentation",
    "TopK",
    "annotated",
    "records",
]
