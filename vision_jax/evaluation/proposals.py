"""Recall of objects by proposals (Hosang et al. 2016; Ren et al. 2015, section 4.1)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vision_jax.config import UserError
from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.evaluation.voc import pixel_iou
from vision_jax.structs import Batch

# COCO's IoUs, over which recall is averaged.
THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class ProposalRecall(GatheredMetric):
    """The recall of objects of any class by `proposals` (b, p, 4) with `proposal_valid` (b, p).

    An object is found at an IoU if one of an image's first n proposals, which come best first,
    has at least that with it; several objects may share a proposal. Objects marked difficult or
    crowd are left out.

    Result, for each n of `counts`: `recall50_n`, at IoU 0.5, and `ar_n`, averaged over IoUs 0.5,
    0.55 ... 0.95; and curves for the report, against n at IoU 0.5 and 0.7, and against IoU at the
    largest n.

    Attributes:
      counts: numbers of proposals, rising.

    Raises:
      UserError: counts that do not rise from 1 or more.
    """

    counts: tuple[int, ...] = (10, 100, 300, 1000, 2000)
    outputs: ClassVar[tuple[str, ...]] = ("proposals", "proposal_valid")

    def __post_init__(self):
        if not self.counts or list(self.counts) != sorted({max(1, n) for n in self.counts}):
            raise UserError(f"counts={self.counts} must rise from 1 or more")

    def names(self) -> tuple[str, ...]:
        return tuple(f"{name}_{n}" for n in self.counts for name in ("recall50", "ar"))

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        """Adds each valid image's best overlaps, (len(counts), objects)."""
        targets = batch.targets
        if targets.boxes is None or targets.valid is None:
            raise ValueError("ProposalRecall needs targets.boxes and targets.valid")
        counted = np.asarray(targets.valid, bool)
        for flag in (targets.difficult, targets.crowd):
            counted = counted if flag is None else counted & ~np.asarray(flag, bool)
        new = []
        for row in np.flatnonzero(batch.valid):
            proposals = outputs["proposals"][row][outputs["proposal_valid"][row]]
            new.append(self._best(proposals, np.asarray(targets.boxes[row][counted[row]])))
        return [*state, *new]

    def result(self, state: list) -> Results:
        best = np.concatenate([np.zeros((len(self.counts), 0)), *state], axis=1)
        if not best.shape[1]:
            return {}
        # A threshold such as 0.7 is met by an IoU that is 0.7 but for rounding.
        reached = best[:, :, None] >= THRESHOLDS - 1e-9
        recall = reached.mean(1)  # by number and IoU
        results: Results = {}
        for n, row in zip(self.counts, recall, strict=True):
            results[f"recall50_{n}"] = float(row[0])
            results[f"ar_{n}"] = float(row.mean())
        for iou in (0.5, 0.7):
            column = recall[:, round((iou - 0.5) / 0.05)]
            results[f"curve/recall/number of proposals/IoU {iou}"] = np.array([self.counts, column])
        last = f"curve/recall of objects/IoU/{self.counts[-1]} proposals"
        results[last] = np.array([THRESHOLDS, recall[-1]])
        return results

    def _best(self, proposals: np.ndarray, gt_boxes: np.ndarray) -> np.ndarray:
        """Returns each object's greatest IoU with the first proposals, for each count."""
        iou = pixel_iou(np.asarray(proposals, np.float64), gt_boxes.astype(np.float64), False)
        so_far = np.maximum.accumulate(np.vstack([np.zeros(len(gt_boxes)), iou]), axis=0)
        return so_far[np.minimum(self.counts, len(proposals))]
