"""Joint Bayesian verification (Chen et al. 2012, "Bayesian Face Revisited"), as DeepID2 uses it.

A feature is x = μ + ε: who it is, N(0, S_mu), and how the image differs, N(0, S_eps). Two features
are compared by the log ratio of their densities if μ is one and if it is two.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vision_jax.config import UserError, within
from vision_jax.evaluation.gathered_rows import rows_of, with_batch
from vision_jax.evaluation.metric import GatheredMetric, Results
from vision_jax.evaluation.verification import draw_pairs, rates, roc
from vision_jax.structs import Batch

_LEAST = 1e-6  # variance that is added to every direction, as a share of the mean one


class Model(NamedTuple):
    """The two matrices of the log ratio, after the mean is subtracted."""

    mean: np.ndarray  # (d,)
    a: np.ndarray  # (d, d)
    g: np.ndarray  # (d, d)


def fit(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], rounds: int) -> Model:
    """Fits the covariances by expectation and maximisation, from those within and between classes.

    Args:
      features: of images.
      labels: identities.
      rounds: of the algorithm.

    Raises:
      UserError: no identity has two images, or there is only one.
    """
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(found) < 2 or counts.max() < 2:
        raise UserError(
            f"JointBayesian: {len(labels)} images of {len(found)} identities: two identities are "
            "needed, one of them with two images"
        )
    mean = features.mean(0)
    x = features - mean
    sums = np.zeros((len(found), x.shape[1]))
    np.add.at(sums, inverse, x)
    means = sums / counts[:, None]
    least = _LEAST * np.square(x).mean() * np.eye(x.shape[1])
    s_mu, s_eps = np.cov(means.T, bias=True) + least, np.cov((x - means[inverse]).T, bias=True)
    s_eps = s_eps + least
    for _ in range(rounds):
        mu = np.empty_like(sums)
        spread_mu, spread_eps = np.zeros_like(s_mu), np.zeros_like(s_mu)
        for m in np.unique(counts):
            rows = counts == m
            # E[μ | x_1 … x_m] = S_mu (m S_mu + S_eps)^-1 Σ x, and the covariance of what is left.
            gain = s_mu @ np.linalg.inv(m * s_mu + s_eps)
            mu[rows] = sums[rows] @ gain.T
            left = s_mu - m * gain @ s_mu
            spread_mu += rows.sum() * left
            spread_eps += m * rows.sum() * left
        rest = x - mu[inverse]
        s_mu = (mu.T @ mu + spread_mu) / len(found) + least
        s_eps = (rest.T @ rest + spread_eps) / len(x) + least
    return Model(mean, *matrices(s_mu, s_eps))


def matrices(
    s_mu: Float[np.ndarray, "d d"], s_eps: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """Computes A and G of the log ratio from the covariances (Chen et al. 2012, eq. 5 and 6)."""
    inverse = np.linalg.inv(s_eps)
    g = -np.linalg.inv(2 * s_mu + s_eps) @ s_mu @ inverse
    a = np.linalg.inv(s_mu + s_eps) - (inverse + g)
    return (a + a.T) / 2, (g + g.T) / 2


def log_ratio(
    model: Model, one: Float[np.ndarray, "n d"], two: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n"]:
    """Computes x1ᵀ A x1 + x2ᵀ A x2 - 2 x1ᵀ G x2, twice the log ratio but for a constant."""
    one, two = one - model.mean, two - model.mean
    own = (one @ model.a * one).sum(1) + (two @ model.a * two).sum(1)
    return own - 2 * (one @ model.g * two).sum(1)


@dataclass(frozen=True)
class JointBayesian(GatheredMetric):
    """The accuracy of verification by Joint Bayesian, over ten folds of drawn pairs.

    The model is fitted to images of some identities of the evaluation set, and judged on others,
    as DeepID2's is on people that neither trained the network. Result: `bayes_verification`, its
    deviation `bayes_verification_std` over folds, and `bayes_auc`.

    Attributes:
      fitted: (first, end) of the identities that it is fitted to.
      labels: (first, end) of those that pairs are drawn from; the two must not overlap.
      embedding: name of the output (b, d).
      components: principal components of the features, on the fitted images; 0 keeps all. The
        paper has 180.
      rounds: of the fit.
      count, folds, seed: see `Verification`.

    Raises:
      UserError: identities that are in both, or numbers that none of these can be.
    """

    fitted: tuple[int, int]
    labels: tuple[int, int]
    embedding: str = "embedding"
    components: int = 0
    rounds: int = 10
    count: int = 6000
    folds: int = 10
    seed: int = 0

    def __post_init__(self):
        within(self, "[0, inf)", "components", "rounds")
        within(self, "[2, inf)", "folds")
        within(self, "[1, inf)", "count")
        if any(len(pair) != 2 for pair in (self.fitted, self.labels)):
            raise UserError("JointBayesian: fitted and labels are (first, end) each")
        if max(self.fitted[0], self.labels[0]) < min(self.fitted[1], self.labels[1]):
            raise UserError(
                f"JointBayesian: fitted={self.fitted} and labels={self.labels} overlap: it would be"
                " judged on what it was fitted to"
            )

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.embedding,)

    def names(self) -> tuple[str, ...]:
        return ("bayes_verification", "bayes_verification_std", "bayes_auc")

    def collect(self, state: list, outputs: dict, batch: Batch) -> list:
        return with_batch(state, outputs[self.embedding], batch)

    def result(self, state: list) -> Results:
        if not state:
            return {}
        features, labels, _ = rows_of(state)
        known, unseen = (
            (labels >= first) & (labels < end) for first, end in (self.fitted, self.labels)
        )
        project = _components(features[known], self.components)
        model = fit(features[known] @ project, labels[known], self.rounds)
        features, labels = features[unseen] @ project, labels[unseen]
        first, second, same = draw_pairs(labels, self.count, self.folds, self.seed)
        distances = -log_ratio(model, features[first], features[second])
        accuracy = [
            _accuracy(distances, same, test)
            for test in np.array_split(np.arange(len(same)), self.folds)
        ]
        return {
            "bayes_verification": float(np.mean(accuracy)),
            "bayes_verification_std": float(np.std(accuracy)),
            "bayes_auc": roc(distances, same)["auc"],
        }


def _components(features: np.ndarray, count: int) -> np.ndarray:
    """Returns the matrix (d, k) of the principal components, or of no change."""
    if not count or count >= features.shape[1]:
        return np.eye(features.shape[1])
    centred = features - features.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors[:, ::-1][:, :count]


def _accuracy(distances: np.ndarray, same: np.ndarray, test: np.ndarray) -> float:
    """Judges a fold by the threshold that is best on the others, the first of equals."""
    train = np.setdiff1d(np.arange(len(same)), test)
    thresholds = np.unique(distances[train])
    learned = rates(distances[train], same[train], thresholds).accuracy
    at = thresholds[[int(np.argmax(learned))]]
    return float(rates(distances[test], same[test], at).accuracy[0])
