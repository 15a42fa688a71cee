"""Verification: are two images of one identity? The protocol of Labeled Faces in the Wild.

The rules are those of facenet's lfw.py and scikit-learn: ten folds, of which nine choose the
threshold of the distance that the tenth is judged by; a pair is "the same" below it.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from vision_jax.config import UserError, one_of, within
from vision_jax.evaluation.gathered_rows import rows_of, with_batch
from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.structs import Batch

Distance = Literal["euclidean", "cosine"]
Embeddings = Float[np.ndarray, "n d"]

_COARSE = np.arange(0, 4, 0.01)  # thresholds of the accuracy
_FINE = np.arange(0, 4, 0.001)  # thresholds of the validation rate


def pair_distances(
    one: Embeddings, two: Embeddings, distance: Distance = "euclidean"
) -> Float[np.ndarray, "n"]:
    """Computes the distance of each pair: squared and Euclidean, or the angle over pi."""
    if distance == "euclidean":
        return np.square(one - two).sum(1)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    similarity = (one * two).sum(1) / np.maximum(norms, np.finfo(norms.dtype).tiny)
    return np.arccos(np.clip(similarity, -1, 1)) / math.pi


@dataclass(frozen=True)
class Rates:
    """The outcome of pairs at each of some thresholds t, each (t,)."""

    true_positive: np.ndarray  # share of the same pairs that are held to be the same
    false_positive: np.ndarray  # share of the different pairs that are
    accuracy: np.ndarray


def rates(
    distances: Float[np.ndarray, "n"], same: Bool[np.ndarray, "n"], thresholds: np.ndarray
) -> Rates:
    """Counts what is held to be the same, distance < threshold; 0 where there are no such pairs."""
    yes, no = (np.sort(distances[chosen]) for chosen in (same, ~same))
    hits, alarms = (np.searchsorted(side, thresholds, side="left") for side in (yes, no))
    return Rates(
        true_positive=hits / max(len(yes), 1),
        false_positive=alarms / max(len(no), 1),
        accuracy=(hits + len(no) - alarms) / max(len(distances), 1),
    )


def ten_folds(
    one: Embeddings,
    two: Embeddings,
    same: Bool[np.ndarray, "n"],
    far: float = 1e-3,
    distance: Distance = "euclidean",
    subtract_mean: bool = False,
    folds: int = 10,
) -> dict[str, Any]:
    """Runs the protocol over contiguous folds.

    Args:
      one, two: the embeddings of each pair's images.
      same: which pairs are of one identity.
      far: the false accept rate that the validation rate is given at.
      distance: see `pair_distances`.
      subtract_mean: subtract the mean of the other folds' embeddings first.
      folds: number of folds.

    Returns:
      `accuracy` (folds,), at the other folds' best threshold, the first of equals; `tpr` and `fpr`
      (400,), means over folds at thresholds 0, 0.01, …; `val` and `far` (folds,), the shares that
      are accepted at the largest threshold (of 0, 0.001, …) whose false accept rate on the other
      folds is at most the one asked for; and that `threshold` (folds,).
    """
    names = ("tpr", "fpr", "accuracy", "val", "far", "threshold")
    results: dict[str, list] = {name: [] for name in names}
    for test in np.array_split(np.arange(len(same)), folds):
        train = np.setdiff1d(np.arange(len(same)), test)
        mean = np.zeros(1, one.dtype)
        if subtract_mean:
            mean = np.concatenate([one[train], two[train]]).mean(0)
        distances = pair_distances(one - mean, two - mean, distance)
        learned = rates(distances[train], same[train], _COARSE).accuracy
        coarse, fine = (rates(distances[test], same[test], t) for t in (_COARSE, _FINE))
        accepted = rates(distances[train], same[train], _FINE).false_positive
        at = int(np.flatnonzero(accepted <= far)[-1])
        values = (
            coarse.true_positive,
            coarse.false_positive,
            coarse.accuracy[np.argmax(learned)],
            fine.true_positive[at],
            fine.false_positive[at],
            _FINE[at],
        )
        for name, value in zip(names, values, strict=True):
            results[name].append(value)
    stacked = {name: np.stack(value) for name, value in results.items()}
    return {**stacked, "tpr": stacked["tpr"].mean(0), "fpr": stacked["fpr"].mean(0)}


def roc(distances: Float[np.ndarray, "n"], same: Bool[np.ndarray, "n"]) -> dict[str, Any]:
    """Computes the ROC over all thresholds: `fpr`, `tpr`, `auc`, and the equal error rate `eer`.

    The equal error rate is where 1 - x = tpr(x) on the curve, linear between its points.
    """
    from scipy.optimize import brentq
    from sklearn.metrics import auc, roc_curve

    fpr, tpr, _ = roc_curve(same, -distances)
    eer = brentq(lambda x: 1 - x - np.interp(x, fpr, tpr), 0, 1)
    return {"fpr": fpr, "tpr": tpr, "auc": float(auc(fpr, tpr)), "eer": float(eer)}


def draw_pairs(
    labels: Int[np.ndarray, "n"], count: int, folds: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws pairs of images, in each fold half of one identity and half of two.

    Args:
      labels: identities.
      count: number of pairs, about: twice `folds` must divide it, so it may become less.
      folds: see above.
      seed: of the draw.

    Returns:
      Indices of the pairs' images, and whether they are of one identity.

    Raises:
      UserError: no identity has two images, or there is but one identity.
    """
    rng = np.random.Generator(np.random.PCG64([seed, len(labels)]))
    order = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    several = np.flatnonzero(sizes > 1)
    if not len(several) or len(sizes) < 2:
        raise UserError(
            f"Verification: {len(labels)} images of {len(sizes)} identities make no pairs: two "
            "identities are needed, one of them with two images"
        )
    half = max(count // (2 * folds), 1)
    ones, twos, same = [], [], []
    for _ in range(folds):
        identity = rng.choice(several, half)
        first = (rng.random(half) * sizes[identity]).astype(int)
        second = first + 1 + (rng.random(half) * (sizes[identity] - 1)).astype(int)
        second %= sizes[identity]
        ones.append(order[starts[identity] + first])
        twos.append(order[starts[identity] + second])
        identity = rng.integers(len(sizes), size=half)
        other = (identity + 1 + rng.integers(len(sizes) - 1, size=half)) % len(sizes)
        for chosen, of in ((ones, identity), (twos, other)):
            chosen.append(order[starts[of] + (rng.random(half) * sizes[of]).astype(int)])
        same.append(np.repeat([True, False], half))
    return np.concatenate(ones), np.concatenate(twos), np.concatenate(same)


@dataclass(frozen=True)
class Verification(GatheredMetric):
    """The accuracy of verification, over ten folds of pairs (Huang et al. 2007).

    Result: `verification`, the folds' mean accuracy, and `verification_std`; `auc`, `eer`; `val`,
    the validation rate at the false accept rate `far`, and `val_far`, the rate measured there; and
    the ROC as a curve.

    Attributes:
      embedding: name of the output (b, d) that is compared.
      labels: (first, end) of the identities that count, where pairs are drawn; () is all.
      pairs: 'drawn', from the images' labels; 'listed', where the images come two by two, as
        `data.LfwPairs` gives them, and label 1 says that they are of one identity.
      count: number of pairs that are drawn.
      folds: number of folds.
      far: see above.
      distance: 'euclidean' or 'cosine'.
      subtract_mean: see `ten_folds`.
      seed: of the draw.

    Raises:
      UserError: another kind of pairs, or of distance; numbers that none of these can be.
    """

    embedding: str = "embedding"
    labels: tuple[int, ...] = ()
    pairs: str = "drawn"
    count: int = 6000
    folds: int = 10
    far: float = 1e-3
    distance: str = "euclidean"
    subtract_mean: bool = False
    seed: int = 0

    def __post_init__(self):
        one_of(self, pairs=("drawn", "listed"), distance=("euclidean", "cosine"))
        within(self, "[2, inf)", "folds")
        within(self, "[1, inf)", "count")
        within(self, "[0, 1]", "far")
        if len(self.labels) not in (0, 2):
            raise UserError(f"Verification: labels={self.labels}: use (first, end), or () for all")

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.embedding,)

    def names(self) -> tuple[str, ...]:
        return ("verification", "verification_std", "val", "val_far", "auc", "eer")

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        return with_batch(state, outputs[self.embedding], batch)

    def result(self, state: list) -> Results:
        if not state:
            return {}
        embedding, labels, ids = rows_of(state, self.labels)
        if self.pairs == "listed":
            one, two, same = _listed(embedding, labels, ids)
        else:
            first, second, same = draw_pairs(labels, self.count, self.folds, self.seed)
            one, two = embedding[first], embedding[second]
        settings = self.far, self.distance, self.subtract_mean, self.folds
        found = ten_folds(one, two, same, *settings)
        curve = roc(pair_distances(one, two, self.distance), same)
        numbers = {
            "verification": found["accuracy"].mean(),
            "verification_std": found["accuracy"].std(),
            "val": found["val"].mean(),
            "val_far": found["far"].mean(),
            "auc": curve["auc"],
            "eer": curve["eer"],
        }
        line = np.stack([curve["fpr"], curve["tpr"]])
        return {
            **{name: float(value) for name, value in numbers.items()},
            f"curve/ROC/false accept rate/{self.embedding}": line,
        }


def _listed(embedding: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> tuple:
    """Returns the pairs of images 2 k and 2 k + 1, those of which both were read."""
    first = np.flatnonzero((ids[:-1] % 2 == 0) & (ids[1:] == ids[:-1] + 1))
    if not len(first):
        raise UserError("Verification: pairs='listed' needs a source of pairs, data.LfwPairs")
    return embedding[first], embedding[first + 1], labels[first] == 1
