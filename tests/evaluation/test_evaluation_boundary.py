"""Boundary F by hand and against a loop; void and padding change nothing."""

import itertools

import numpy as np
import pytest

from vision_jax.evaluation import BoundaryF
from vision_jax.evaluation.boundary import boundary_f
from vision_jax.structs import Batch, Targets


def halves(column, size=10):
    labels = np.zeros((size, size), int)
    labels[:, column:] = 1
    return labels


def batch_of(truth, valid):
    count = len(truth)
    return Batch(
        image=np.zeros((count, 0, 0, 3), np.uint8),
        valid=np.array(valid),
        index=np.arange(count),
        targets=Targets(segmentation=truth),
    )


def test_a_border_that_is_moved_counts_within_the_tolerance():
    diagonal = np.hypot(10, 10)
    for moved, allowed, right in ((0, 0, 1), (2, 2, 1), (2, 1.9, 0), (3, 2, 0)):
        got = boundary_f(halves(5 + moved), halves(5), 2, allowed / diagonal)
        np.testing.assert_array_equal(got, [right, right])


def test_precision_and_recall_by_hand():
    truth, found = halves(5), halves(5)
    found[:, 9] = 0  # a second border, which is not there: half of both classes' pixels
    got = boundary_f(found, truth, 3, 0.0)
    np.testing.assert_allclose(got[:2], [2 * 0.5 / 1.5, 2 * 0.5 / 1.5])
    assert np.isnan(got[2])
    assert boundary_f(np.zeros((10, 10), int), truth, 2, 0.1).tolist() == [0, 0]
    assert np.isnan(boundary_f(np.zeros((9, 9), int), np.zeros((9, 9), int), 2, 0.1)).all()


def loop(found, truth, label, reach):
    """F by comparing every pair of boundary pixels."""

    def edge(labels):
        pixels = []
        for i, j in itertools.product(*map(range, labels.shape)):
            window = labels[max(0, i - 1) : i + 2, j], labels[i, max(0, j - 1) : j + 2]
            if labels[i, j] == label and (np.concatenate(window) != label).any():
                pixels.append((i, j))
        return pixels

    def share(some, others):
        near = [any(np.hypot(a - c, b - d) <= reach for c, d in others) for a, b in some]
        return np.mean(near) if near and others else 0.0

    mine, right = edge(found), edge(truth)
    if not mine and not right:
        return np.nan
    precision, recall = share(mine, right), share(right, mine)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_the_score_equals_a_loop():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 3, (2, 3, 4))
    found, truth = (np.kron(b, np.ones((4, 3), int)) for b in blocks)
    found[rng.random(found.shape) < 0.1] = 1
    reach = 1.5
    got = boundary_f(found, truth, 3, reach / np.hypot(*truth.shape))
    wanted = [loop(found, truth, label, reach) for label in range(3)]
    np.testing.assert_allclose(got, wanted)


def test_void_and_padding_change_nothing():
    rng = np.random.default_rng(1)
    truth, found = halves(5), halves(6)
    truth[:, 4:6] = 255
    altered = np.where(truth == 255, rng.integers(0, 3, truth.shape), found)
    plain = boundary_f(found, truth, 3, 0.05)
    np.testing.assert_array_equal(plain, boundary_f(altered, truth, 3, 0.05))
    padded = np.full((14, 13), 255)
    padded[:10, :10] = truth
    guess = rng.integers(0, 3, (14, 13))
    guess[:10, :10] = found
    np.testing.assert_array_equal(plain, boundary_f(guess, padded, 3, 0.05))
    assert np.isnan(boundary_f(found, np.full((10, 10), 255), 3, 0.05)).all()


def test_images_are_averaged_and_padding_rows_left_out():
    metric = BoundaryF(num_classes=3, tolerance=0.0)
    truth = np.stack([halves(5), halves(5), halves(5)])
    found = np.stack([halves(5), halves(7), halves(2)])
    state = metric.empty()
    for rows, valid in (([0], [True]), ([1, 2], [True, False])):
        state = metric.collect(state, {"segmentation": found[rows]}, batch_of(truth[rows], valid))
    got = metric.result(state)
    assert got["boundary_f"] == pytest.approx(0.5)
    np.testing.assert_array_equal(got["per_class_boundary_f"], [0.5, 0.5, np.nan])
    assert "boundary_f" not in metric.result(metric.empty())


def test_wrong_shapes_are_refused():
    metric = BoundaryF(num_classes=3)
    with pytest.raises(ValueError, match="got labels"):
        metric.collect([], {"segmentation": np.zeros((1, 4, 4))}, batch_of(halves(5)[None], [True]))
    with pytest.raises(ValueError, match=r"needs targets\.segmentation"):
        metric.collect([], {}, batch_of(halves(5)[None], [True]).replace(targets=Targets()))
