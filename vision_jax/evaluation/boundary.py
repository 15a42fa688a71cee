"""Measures how well a semantic segmentation meets the borders between classes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.structs import Batch


@dataclass(frozen=True)
class BoundaryF(GatheredMetric):
    """The F1 of each class's boundary (Csurka et al. 2013, section 2).

    The paper is "What is a good evaluation measure for semantic segmentation?". A class's boundary
    are its pixels beside one of another class. In an image, precision is the
    share of the predicted boundary that has true boundary within the tolerance, recall the share
    of the true one that has predicted boundary there. F is 0 where only one of them exists; images
    without either do not count for the class. F is averaged over images, then over classes.

    Void pixels, true and predicted, take the label of the nearest pixel that is not void: what a
    network says of void changes nothing, and borders drawn as void run along its middle. Rows and
    columns at the sides that are all void, such as padding, are left out.

    Reads `outputs["segmentation"]` (b, h, w) and `batch.targets.segmentation` (b, h, w), whose
    values outside 0..num_classes-1 (255) are void.

    Result: `boundary_f` in 0..1, and `per_class_boundary_f` (c,), NaN for a class without boundary.

    Attributes:
      num_classes: c, background included.
      tolerance: a share of the diagonal of the part that is not void; the paper's is 0.0075.
    """

    num_classes: int
    tolerance: float = 0.0075
    outputs: ClassVar[tuple[str, ...]] = ("segmentation",)

    def names(self) -> tuple[str, ...]:
        return ("boundary_f",)

    def collect(
        self, state: list[np.ndarray], outputs: dict[str, Any], batch: Batch
    ) -> list[np.ndarray]:
        """Adds a row (c,) of F per valid image, NaN where a class has no boundary."""
        if batch.targets.segmentation is None:
            raise ValueError("BoundaryF needs targets.segmentation")
        truth = np.asarray(batch.targets.segmentation)
        predicted = np.asarray(outputs["segmentation"])
        if truth.shape != predicted.shape:
            raise ValueError(f"BoundaryF got labels {predicted.shape} for targets {truth.shape}")
        rows = np.flatnonzero(batch.valid)
        return state + [
            boundary_f(predicted[i], truth[i], self.num_classes, self.tolerance) for i in rows
        ]

    def result(self, state: list[np.ndarray]) -> Results:
        values = np.reshape(state, (-1, self.num_classes)).astype(np.float64)
        measured = ~np.isnan(values)
        counts, total = measured.sum(0), np.where(measured, values, 0).sum(0)
        per_class = np.divide(total, counts, out=np.full(len(total), np.nan), where=counts > 0)
        results: Results = {"per_class_boundary_f": per_class}
        if counts.any():
            results["boundary_f"] = float(np.nanmean(per_class))
        return results


def boundary_f(
    predicted: np.ndarray, truth: np.ndarray, num_classes: int, tolerance: float
) -> np.ndarray:
    """Computes F (c,) of each class's boundary in one image, NaN where a class has none.

    Args:
      predicted, truth: (h, w) integers.
      num_classes, tolerance: see `BoundaryF`.
    """
    scores = np.full(num_classes, np.nan)
    known = (truth >= 0) & (truth < num_classes)
    if not known.any():
        return scores
    part = ndimage.find_objects(known.astype(int))[0]
    known = known[part]
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    predicted, truth = predicted[part][tuple(nearest)], truth[part][tuple(nearest)]
    reach = tolerance * np.hypot(*known.shape)
    for label in np.union1d(predicted, truth):
        if not 0 <= label < num_classes:
            continue
        drawn, true = _boundary(predicted == label), _boundary(truth == label)
        if not (drawn.any() or true.any()):
            continue
        precision, recall = _near(drawn, true, reach), _near(true, drawn, reach)
        total = precision + recall
        scores[label] = 2 * precision * recall / total if total else 0.0
    return scores


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Returns the mask's pixels with a neighbour outside it; the image's border makes none."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _near(some: np.ndarray, others: np.ndarray, reach: float) -> float:
    """Returns the share of `some` with one of `others` in `reach` pixels; 0 if either is empty."""
    if not (some.any() and others.any()):
        return 0.0
    return float((ndimage.distance_transform_edt(~others)[some] <= reach).mean())
