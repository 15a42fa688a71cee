"""Semantic segmentation: how well the borders between classes are met."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import ndimage

from vision_jax.structs import Batch


@dataclass(frozen=True)
class BoundaryF:
    """F1 of each class's boundary (Csurka et al. 2013, "What is a good evaluation measure for
    semantic segmentation?", section 2).

    A class's boundary are its pixels beside one of another class. In an image, precision is the
    share of the predicted boundary that has true boundary within the tolerance, recall the share
    of the true one that has predicted boundary there. F is 0 where only one of them exists; images
    without either do not count for the class. F is averaged over images, then over classes.

    Void pixels, true and predicted, take the label of the nearest pixel that is not void: what a
    network says of void changes nothing, and borders drawn as void run along its middle. Rows and
    columns at the sides that are all void, such as padding, are left out.

    Reads `outputs["segmentation"]` (b, h, w) and `batch.targets.segmentation` (b, h, w), whose
    values outside 0..num_classes-1 (255) are void.

    Result: `boundary_f` in 0..1, and `per_class_boundary_f` (c,), NaN for a class without boundary.

    Fields:
      num_classes: c, background included.
      tolerance: as a share of the diagonal of what is not void; the paper's is 0.0075.
    """

    num_classes: int
    tolerance: float = 0.0075
    gathers: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("segmentation",)

    def empty(self) -> list[np.ndarray]:
        return []

    def collect(
        self, state: list[np.ndarray], outputs: dict[str, Any], batch: Batch
    ) -> list[np.ndarray]:
        """Adds a row (c,) of F per valid image, NaN where a class has no boundary."""
        if batch.targets.segmentation is None:
            raise ValueError("BoundaryF needs targets.segmentation")
        truth, found = np.asarray(batch.targets.segmentation), np.asarray(outputs["segmentation"])
        if truth.shape != found.shape:
            raise ValueError(f"BoundaryF got labels {found.shape} for targets {truth.shape}")
        rows = np.flatnonzero(batch.valid)
        return state + [
            boundary_f(found[i], truth[i], self.num_classes, self.tolerance) for i in rows
        ]

    def result(self, state: list[np.ndarray]) -> dict[str, float | np.ndarray]:
        values = np.reshape(state, (-1, self.num_classes)).astype(np.float64)
        there = ~np.isnan(values)
        counts, total = there.sum(0), np.where(there, values, 0).sum(0)
        per_class = np.divide(total, counts, out=np.full(len(total), np.nan), where=counts > 0)
        results: dict[str, float | np.ndarray] = {"per_class_boundary_f": per_class}
        if counts.any():
            results["boundary_f"] = float(np.nanmean(per_class))
        return results


def boundary_f(
    found: np.ndarray, truth: np.ndarray, num_classes: int, tolerance: float
) -> np.ndarray:
    """(c,) F of each class's boundary in one image, NaN where there is none; see `BoundaryF`.

    Args:
      found, truth: (h, w) integers.
      num_classes, tolerance: of `BoundaryF`.
    """
    scores = np.full(num_classes, np.nan)
    known = (truth >= 0) & (truth < num_classes)
    if not known.any():
        return scores
    part = ndimage.find_objects(known.astype(int))[0]
    known = known[part]
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    found, truth = found[part][tuple(nearest)], truth[part][tuple(nearest)]
    reach = tolerance * np.hypot(*known.shape)
    for label in np.union1d(found, truth):
        if not 0 <= label < num_classes:
            continue
        mine, right = _boundary(found == label), _boundary(truth == label)
        if not (mine.any() or right.any()):
            continue
        precision, recall = _near(mine, right, reach), _near(right, mine, reach)
        both = precision + recall
        scores[label] = 2 * precision * recall / both if both else 0.0
    return scores


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels of the mask with one beside, above or below them that is not; the image's border
    alone makes no boundary."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def _near(some: np.ndarray, others: np.ndarray, reach: float) -> float:
    """Share of `some` with one of `others` within `reach` pixels; 0 where either is empty."""
    if not (some.any() and others.any()):
        return 0.0
    return float((ndimage.distance_transform_edt(~others)[some] <= reach).mean())
