"""Metrics of classified images: top-k accuracy, mean loss, confusion matrix, average precision.

Each reads `outputs["logits"]` (b, c) and `batch.targets.label`. Views of one image (10 crops,
several scales) are averaged by the task before; a metric sees one row of logits per image.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vision_jax.config import UserError
from vision_jax.evaluation.metric import GatheredMetric, RatioMetric, Results, SummedMetric
from vision_jax.structs import Batch


@dataclass(frozen=True)
class TopK(RatioMetric):
    """The share of images whose class is among the k highest logits: `top1`, `top5`.

    Among equal logits the lower class number ranks first, as in `lax.top_k`. A row that holds a
    NaN is wrong, and so is a label outside 0..c-1. A k that is no smaller than the number of
    classes says nothing and is left out of the result.

    Attributes:
      ks: the values of k.
    """

    ks: tuple[int, ...] = (1, 5)

    def names(self) -> tuple[str, ...]:
        return tuple(f"top{k}" for k in self.ks)

    def update(self, outputs: dict, batch: Batch) -> dict[str, tuple]:
        logits, label = outputs["logits"], _class_labels(batch, "TopK")
        ranks = rank_of_label(logits, label)
        counts = {}
        for k in self.ks:
            counted = batch.valid & (k < logits.shape[1])
            right = counted & (ranks < k)
            counts[f"top{k}"] = (right.sum(dtype=jnp.float32), counted.sum(dtype=jnp.int32))
        return counts


@dataclass(frozen=True)
class Loss(RatioMetric):
    """The mean cross entropy in nats (natural logarithm), without label smoothing: `loss`.

    A row that holds a NaN makes it NaN, a label outside 0..c-1 likewise.
    """

    def names(self) -> tuple[str, ...]:
        return ("loss",)

    def update(self, outputs: dict, batch: Batch) -> dict[str, tuple]:
        label = _class_labels(batch, "Loss")
        losses = _cross_entropy(outputs["logits"], label)
        total = jnp.where(batch.valid, losses, 0).sum(dtype=jnp.float32)
        return {"loss": (total, batch.valid.sum(dtype=jnp.int32))}


@dataclass(frozen=True)
class Confusion(SummedMetric):
    """The confusion matrix, and each class's accuracy.

    `confusion` (c, c) int64 counts images by true class (row) and predicted class (column);
    `per_class_accuracy` (c,) float64 is NaN for a class without images, and
    `mean_class_accuracy` is its mean over the others. A row that holds a NaN has no predicted
    class: it is in no column, and counts as wrong.

    Attributes:
      num_classes: c.
    """

    num_classes: int

    def names(self) -> tuple[str, ...]:
        return ("mean_class_accuracy",)

    def empty(self) -> dict[str, np.ndarray]:
        c = self.num_classes
        return {"matrix": np.zeros((c, c), np.int64), "support": np.zeros((c,), np.int64)}

    def update(self, outputs: dict, batch: Batch) -> dict[str, jax.Array]:
        logits, label = outputs["logits"], _class_labels(batch, "Confusion")
        c = self.num_classes
        if logits.shape[1] != c:
            raise ValueError(f"Confusion(num_classes={c}) got logits of {logits.shape[1]} classes")
        known = batch.valid & (label >= 0) & (label < c)
        # c is out of bounds: mode="drop" leaves the row out.
        row = jnp.where(known, label, c)
        predicted = jnp.where(jnp.isnan(logits).any(axis=1), c, jnp.argmax(logits, axis=1))
        return {
            "matrix": jnp.zeros((c, c), jnp.int32).at[row, predicted].add(1, mode="drop"),
            "support": jnp.zeros((c,), jnp.int32).at[row].add(1, mode="drop"),
        }

    def result(self, state: dict[str, np.ndarray]) -> Results:
        matrix, support = state["matrix"], state["support"]
        present = support > 0
        accuracy = np.full(self.num_classes, np.nan)
        accuracy[present] = np.diag(matrix)[present] / support[present]
        results: Results = {"confusion": matrix, "per_class_accuracy": accuracy}
        if present.any():
            results["mean_class_accuracy"] = float(accuracy[present].mean())
        return results


@dataclass(frozen=True)
class MultiLabel(GatheredMetric):
    """The mean sigmoid loss and average precisions, for any number of classes per image.

    Labels are (b, c) in [0, 1]; above one half is a positive. `loss` is the mean over images of
    the sum over classes, in nats. `ap` (c,) float64 is NaN for a class without positives, which
    `map`, the mean, leaves out. NaN logits rank last.

    Attributes:
      num_classes: c.
      interpolation: 'none' sums precision over steps of recall, equal logits being one step;
        '11-point' is the mean over recalls 0, 0.1 … 1 of the best precision at or above that recall
        (Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, section 4.2).
    """

    num_classes: int
    interpolation: str = "none"
    outputs: ClassVar[tuple[str, ...]] = ("logits",)

    def __post_init__(self):
        if self.interpolation not in ("none", "11-point"):
            raise UserError(f"interpolation {self.interpolation!r}: use 'none' or '11-point'")

    def names(self) -> tuple[str, ...]:
        return ("loss", "map")

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        logits, label = np.asarray(outputs["logits"]), np.asarray(batch.targets.label)
        if logits.shape[1] != self.num_classes or label.shape != logits.shape:
            raise ValueError(
                f"MultiLabel(num_classes={self.num_classes}) got logits {logits.shape}"
                f" and labels {label.shape}; both must be (b, {self.num_classes})"
            )
        valid = np.asarray(batch.valid)
        return [*state, (logits[valid].astype(np.float64), label[valid].astype(np.float64))]

    def result(self, state: list) -> Results:
        if not state:
            return {}
        logits, label = (np.concatenate(parts) for parts in zip(*state, strict=True))
        if not len(logits):
            return {}
        with np.errstate(invalid="ignore"):  # NaN logits make a NaN loss, which says enough
            losses = np.logaddexp(0, logits) - logits * label  # log(1 + e^x) - x y
        pairs = zip(logits.T, label.T > 0.5, strict=True)
        ap = np.array([average_precision(x, y, self.interpolation) for x, y in pairs])
        results: Results = {"loss": float(losses.sum(axis=1).mean()), "ap": ap}
        if not np.isnan(ap).all():
            results["map"] = float(np.nanmean(ap))
        return results


def rank_of_label(logits: Float[Array, "b c"], label: Int[Array, "b"]) -> Int[Array, "b"]:
    """Counts the classes ranked before the true one, 0..c-1; c where there is a NaN or no label.

    Equal logits are ranked by class number, the lower first, as in `lax.top_k` (which, though,
    puts 0 before -0; here they are equal).
    """
    c = logits.shape[1]
    known = (label >= 0) & (label < c) & ~jnp.isnan(logits).any(axis=1)
    true_logit = jnp.take_along_axis(logits, jnp.clip(label, 0, c - 1)[:, None], axis=1)
    before = jnp.arange(c)[None, :] < label[:, None]
    rank = ((logits > true_logit) | ((logits == true_logit) & before)).sum(axis=1, dtype=jnp.int32)
    return jnp.where(known, rank, c)


def average_precision(
    scores: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"], interpolation: str = "none"
) -> float:
    """Computes the average precision of a ranking by score, highest first; NaN without positives.

    Args:
      scores: any order; NaN ranks last. Equal scores are taken together, so that the order of the
        examples does not matter.
      positive: which examples are relevant.
      interpolation: see `MultiLabel`.
    """
    total = int(positive.sum())
    if not total:
        return float("nan")
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_ties = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(positive[order])[last_of_ties]
    precision = hits / (np.flatnonzero(last_of_ties) + 1)
    if interpolation == "11-point":
        # Counts, not recalls: hits / total >= 0.1 i would round.
        best = [precision[10 * hits >= i * total].max(initial=0.0) for i in range(11)]
        return float(np.mean(best))
    return float(np.sum(np.diff(hits, prepend=0) * precision) / total)


def _cross_entropy(logits: Float[Array, "b c"], label: Int[Array, "b"]) -> Float[Array, "b"]:
    """Computes each row's cross entropy in nats; NaN for a label outside 0..c-1."""
    c = logits.shape[1]
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    true_logit = jnp.take_along_axis(logits, jnp.clip(label, 0, c - 1)[:, None], axis=1)[:, 0]
    losses = jax.nn.logsumexp(logits, axis=1) - true_logit
    return jnp.where((label >= 0) & (label < c), losses, jnp.nan)


def _class_labels(batch: Batch, metric: str) -> Int[Array, "b"]:
    """Returns the images' labels; raises ValueError where there is not one class per image."""
    label = batch.targets.label
    if label is None or label.ndim != 1:
        shape = None if label is None else label.shape
        raise ValueError(f"{metric} needs one class per image, (b,), not {shape}; see MultiLabel")
    return jnp.asarray(label)
