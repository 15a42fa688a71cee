"""Clusters of embeddings, and Joint Bayesian beside the densities that it stands for."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from vision_jax.config import UserError
from vision_jax.evaluation import Clustering, JointBayesian, joint_bayesian
from vision_jax.structs import Batch, Targets

RNG = np.random.default_rng(8)
SIZE = 4


def batches(embedding, labels, size=7):
    """Yields batches with padding, out of order."""
    order = RNG.permutation(len(labels))
    for start in range(0, len(labels), size):
        rows = order[start : start + size]
        padded = np.concatenate([rows, np.zeros(size - len(rows), int)])
        batch = Batch(
            image=None,
            valid=np.arange(size) < len(rows),
            index=np.arange(size),
            id=padded,
            targets=Targets(label=labels[padded]),
        )
        yield {"embedding": embedding[padded].astype(np.float32)}, batch


def measured(metric, embedding, labels):
    state = metric.empty()
    for outputs, batch in batches(embedding, labels):
        state = metric.collect(state, outputs, batch)
    return metric.result(state)


def people(count, images, spread):
    labels = np.repeat(np.arange(count), images)
    return RNG.normal(0, 1, (count, SIZE))[labels] + RNG.normal(
        0, spread, (len(labels), SIZE)
    ), labels


def test_clusters_that_are_the_identities_and_some_that_are_chance():
    embedding, labels = people(6, 5, 0.01)
    result = measured(Clustering(), embedding, labels)
    assert result == {"clustering_nmi": pytest.approx(1), "clustering_ari": pytest.approx(1)}
    chance = measured(Clustering(), RNG.normal(0, 1, (300, SIZE)), np.arange(300) % 6)
    assert abs(chance["clustering_ari"]) < 0.1
    part = measured(Clustering(labels=(0, 2), most=8), embedding, labels)
    assert part["clustering_ari"] == pytest.approx(1)
    assert measured(Clustering(), embedding[:5], labels[:5]) == {}  # of one identity
    assert Clustering().result([]) == {}
    with pytest.raises(UserError, match="most"):
        Clustering(most=1)


def covariances():
    one, two = RNG.normal(0, 1, (2, SIZE, SIZE))
    return one @ one.T, 0.3 * two @ two.T + 0.1 * np.eye(SIZE)


def test_the_log_ratio_is_that_of_the_densities():
    s_mu, s_eps = covariances()
    model = joint_bayesian.Model(np.zeros(SIZE), *joint_bayesian.matrices(s_mu, s_eps))
    x, y = RNG.normal(0, 1.5, (2, 40, SIZE))
    both = s_mu + s_eps
    joint = multivariate_normal(np.zeros(2 * SIZE), np.block([[both, s_mu], [s_mu, both]]))
    alone = multivariate_normal(np.zeros(SIZE), both)
    ratio = joint.logpdf(np.hstack([x, y])) - alone.logpdf(x) - alone.logpdf(y)
    found = joint_bayesian.log_ratio(model, x, y)
    np.testing.assert_allclose(found - found[0], 2 * (ratio - ratio[0]), atol=1e-9)


def test_the_fit_finds_the_covariances_back():
    s_mu, s_eps = covariances()
    counts = RNG.integers(1, 7, 3000)
    labels = np.repeat(np.arange(3000), counts)
    who = RNG.multivariate_normal(np.zeros(SIZE), s_mu, 3000)
    x = 3 + who[labels] + RNG.multivariate_normal(np.zeros(SIZE), s_eps, len(labels))
    model = joint_bayesian.fit(x, labels, 20)
    np.testing.assert_allclose(model.mean, 3, atol=0.2)
    expected = joint_bayesian.matrices(s_mu, s_eps)
    for ours, theirs in zip((model.a, model.g), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.1 * np.abs(theirs).max())


def test_it_knows_which_direction_tells_people_apart():
    """One direction is noise that is louder than all that tells people apart."""
    embedding, labels = people(80, 6, 0.3)
    embedding[:, 0] = RNG.normal(0, 4, len(labels))
    result = measured(JointBayesian(fitted=(0, 40), labels=(40, 80), count=800), embedding, labels)
    assert result["bayes_verification"] > 0.9 and result["bayes_auc"] > 0.95
    few = JointBayesian(fitted=(0, 40), labels=(40, 80), count=800, components=1)
    assert measured(few, embedding, labels)["bayes_verification"] < 0.65  # the noise alone
    with pytest.raises(UserError, match="overlap"):
        JointBayesian(fitted=(0, 40), labels=(39, 80))
    with pytest.raises(UserError, match="two identities are needed"):
        joint_bayesian.fit(embedding[:1], labels[:1], 1)
