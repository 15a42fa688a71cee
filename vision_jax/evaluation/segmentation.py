"""Accuracy and intersection over union of semantic segmentation, from one confusion matrix."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vision_jax.evaluation.metric import Results, SummedMetric
from vision_jax.structs import Batch


@dataclass(frozen=True)
class Segmentation(SummedMetric):
    """Shares of pixels by true and predicted class (Long 2015, section 5), void left out.

    Reads `outputs["logits"]` (b, h, w, c) and `batch.targets.segmentation` (b, h, w), whose values
    outside 0..c-1 (255) are void.

    Result: `miou`, `pixel_accuracy`, `mean_accuracy` (of classes), `frequency_weighted_iou`, and
    arrays `per_class_iou`, `per_class_accuracy` (c,), NaN for a class that is neither there nor
    predicted (nor counted in the means), and `confusion` (c, c), true class by row. As the
    references do, the means leave out classes without a pixel in either.

    Attributes:
      num_classes: c.
    """

    num_classes: int

    def names(self) -> tuple[str, ...]:
        return ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")

    def empty(self) -> np.ndarray:
        return np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, outputs: dict, batch: Batch) -> Array:
        truth, logits = batch.targets.segmentation, outputs["logits"]
        if truth is None:
            raise ValueError("Segmentation needs targets.segmentation")
        if logits.shape != (*truth.shape, self.num_classes):
            raise ValueError(
                f"Segmentation(num_classes={self.num_classes}) got logits {logits.shape} for"
                f" targets {truth.shape}"
            )
        return confusion(logits, jnp.where(batch.valid[:, None, None], truth, -1))

    def result(self, state: np.ndarray) -> Results:
        return scores(state)


def confusion(logits: Float[Array, "b h w c"], truth: Int[Array, "b h w"]) -> Int[Array, "c c"]:
    """Counts pixels by true class (row) and greatest logit (column); other labels do not count."""
    classes = logits.shape[-1]
    predicted = jnp.argmax(logits, -1).astype(jnp.int32)
    known = (truth >= 0) & (truth < classes)
    cell = jnp.where(known, truth.astype(jnp.int32) * classes + predicted, classes**2)
    counts = jnp.zeros(classes**2 + 1, jnp.int32).at[cell.reshape(-1)].add(1)
    return counts[:-1].reshape(classes, classes)


def scores(matrix: np.ndarray) -> Results:
    """Computes the results of `Segmentation` from its confusion matrix."""
    matrix = np.asarray(matrix, np.int64)
    right, true, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    union = true + predicted - right
    iou = np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)
    accuracy = np.divide(right, true, out=np.full(len(right), np.nan), where=true > 0)
    results: Results = {"per_class_iou": iou, "per_class_accuracy": accuracy, "confusion": matrix}
    total = int(matrix.sum())
    if total:
        results["miou"] = float(np.nanmean(iou))
        results["pixel_accuracy"] = float(right.sum() / total)
        results["mean_accuracy"] = float(np.nanmean(accuracy))
        results["frequency_weighted_iou"] = float(np.nansum(true * np.nan_to_num(iou)) / total)
    return results
