"""Solved heads against slow or foreign solutions of the same problem."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from vision_jax.config import UserError
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import LogisticHead, Predictor, RidgeHead, SvmHead

D, CLASSES = 5, 3


@dataclasses.dataclass(frozen=True)
class Linear(Predictor):
    """Features are the pixels, as vector and as map."""

    shown = ("logits",)

    def predict(self, variables, batch):
        x = batch.image.astype("float32")
        fc = variables["params"]["head"]["fc"]
        features = x.mean((1, 2))
        logits = features @ fc["kernel"] + fc["bias"][None]
        return {"map": x, "features": features, "logits": logits}


def variables():
    return {
        "params": {
            "head": {
                "fc": {
                    "kernel": np.ones((D, CLASSES), np.float32),
                    "bias": np.zeros(CLASSES, np.float32),
                }
            },
            "backbone": {"w": np.ones(2, np.float32)},
        }
    }


def rows(n=40, seed=0, multilabel=False):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, n).astype(np.int32)
    centres = rng.normal(0, 1.2, (CLASSES, D))
    x = rng.normal(0, 1, (n, D)) * np.array([1, 30, 0.1, 1, 1]) + centres[label] + 2
    if multilabel:
        label = (rng.random((n, CLASSES)) < 0.4).astype(np.float32)
    return x.astype(np.float32), label


def batches(x, y, size=16):
    """As the pipeline has it: the last batch is filled with rows that must not count."""
    for start in range(0, len(x), size):
        a, b = x[start : start + size], y[start : start + size]
        missing = size - len(a)
        a = np.concatenate([a, np.full((missing, D), 1e6, np.float32)])
        b = np.concatenate([b, np.zeros((missing, *b.shape[1:]), b.dtype)])
        yield Batch(
            image=np.broadcast_to(a[:, None, None], (size, 2, 2, D)),
            valid=np.arange(size) < size - missing,
            index=np.arange(size, dtype=np.int32),
            targets=Targets(label=b),
        )


def solved(part, x, y):
    given = variables()
    found = part.solve(Linear(), given, batches(x, y), steps=3)
    jax.tree.map(np.testing.assert_array_equal, given, variables())
    np.testing.assert_array_equal(
        found["params"]["backbone"]["w"], given["params"]["backbone"]["w"]
    )
    fc = found["params"]["head"]["fc"]
    assert fc["kernel"].dtype == fc["bias"].dtype == np.float32
    return np.concatenate([fc["kernel"], fc["bias"][None]]).astype(np.float64)


@pytest.mark.parametrize("features", ["features", "map"])
def test_ridge_solves_its_equations(features):
    x, y = rows()
    found = solved(RidgeHead(features, penalty=3.0), x, y)
    # The same least squares by augmented rows: sqrt(penalty) I for the weights, none for the bias.
    system = np.concatenate([np.c_[x, np.ones(len(x))], np.sqrt(3) * np.eye(D + 1)[:D]])
    right = np.concatenate([np.eye(CLASSES)[y], np.zeros((D, CLASSES))])
    expected = np.linalg.lstsq(system.astype(np.float64), right, rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_logistic_regression_is_scikit_learns():
    x, y = rows(seed=1)
    found = solved(LogisticHead(penalty=0.05), x, y)
    theirs = LogisticRegression(C=1 / (len(x) * 0.05), tol=1e-10, max_iter=10_000)
    theirs.fit(x.astype(np.float64), y)
    # Softmax scores are free up to a common vector; the penalty makes the weights sum to zero.
    bias = found[-1] - found[-1].mean()
    np.testing.assert_allclose(found[:-1], theirs.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bias, theirs.intercept_ - theirs.intercept_.mean(), atol=1e-3)


def loop_of_hinges(flat, x, y, penalty):
    w = flat.reshape(D + 1, CLASSES)
    total = 0.0
    for row, label in zip(x, y, strict=True):
        for k in range(CLASSES):
            sign = 1 if k == label else -1
            total += max(0.0, 1 - sign * (row @ w[:-1, k] + w[-1, k])) ** 2
    return total / len(x) + penalty / 2 * (w[:-1] ** 2).sum()


def loop_of_sigmoids(flat, x, y, penalty):
    w = flat.reshape(D + 1, CLASSES)
    total = 0.0
    for row, labels in zip(x, y, strict=True):
        for k in range(CLASSES):
            p = 1 / (1 + np.exp(-(row @ w[:-1, k] + w[-1, k])))
            total -= labels[k] * np.log(p) + (1 - labels[k]) * np.log(1 - p)
    return total / len(x) + penalty / 2 * (w[:-1] ** 2).sum()


@pytest.mark.parametrize(
    "part, loop, multilabel",
    [(SvmHead, loop_of_hinges, False), (LogisticHead, loop_of_sigmoids, True)],
)
def test_no_direction_from_the_solution_is_downhill(part, loop, multilabel):
    """The objective is convex: a zero slope of the objective, written as a loop, is the minimum."""
    x, y = rows(seed=2, multilabel=multilabel)
    found = solved(part(penalty=0.1), x, y).ravel()
    slope = optimize.approx_fprime(found, loop, 1e-6, x.astype(np.float64), y, 0.1)
    at_zero = optimize.approx_fprime(found * 0, loop, 1e-6, x.astype(np.float64), y, 0.1)
    assert np.abs(slope).max() < 1e-3 * np.abs(at_zero).max()


def test_steps_end_an_endless_stream():
    x, y = rows(n=48)
    once = RidgeHead().solve(Linear(), variables(), batches(x, y), steps=3)
    endless = itertools.cycle(list(batches(x, y)))
    jax.tree.map(
        np.testing.assert_array_equal, once, RidgeHead().solve(Linear(), variables(), endless, 3)
    )


@pytest.mark.parametrize(
    "part, message",
    [
        (RidgeHead(layer="head/fd"), "did you mean fc?"),
        (RidgeHead(layer="backbone/w"), "is no linear layer"),
        (RidgeHead(features="feature"), "no such output - did you mean features?"),
        (SvmHead(features="logits"), "reads 5 numbers, but the features have 3"),
    ],
)
def test_a_mistake_is_one_line(part, message):
    x, y = rows()
    with pytest.raises(UserError, match=".*".join(message.split("?")[0].split("("))):
        part.solve(Linear(), variables(), batches(x, y), 3)
