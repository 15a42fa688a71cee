"""Repeatability, beside a slow greedy matching and curve."""

import numpy as np
import pytest

from vision_jax.evaluation import matched_iou, repeatability
from vision_jax.evaluation.voc import pixel_iou


def boxes(count, seed):
    corners = np.random.default_rng(seed).uniform(0, 60, (count, 2, 2))
    return np.concatenate([corners.min(1), corners.max(1) + 3], 1)


@pytest.mark.parametrize(("n", "m"), [(30, 40), (40, 7), (1, 1), (5, 0), (0, 5)])
def test_beside_greedy_matching(n, m):
    reference, others = boxes(n, 0), boxes(m, 1)
    iou, expected = pixel_iou(reference, others, False), np.zeros(n)
    for _ in range(min(n, m)):
        row, column = np.unravel_index(iou.argmax(), iou.shape)
        expected[row] = max(expected[row], iou[row, column])  # (0, 0) where none is left
        iou[row] = iou[:, column] = 0
    np.testing.assert_allclose(matched_iou(reference, others), expected)


def test_it_is_the_area_under_recall_against_iou():
    reference, others = boxes(50, 2), boxes(50, 3)
    matched = matched_iou(reference, others)
    middles = (np.arange(20000) + 0.5) / 20000
    area = (matched[:, None] >= middles).mean()
    assert repeatability(reference, others) == pytest.approx(area, abs=1e-4)


def test_the_ends_of_the_range():
    some = boxes(20, 4)
    assert repeatability(some, some[::-1]) == pytest.approx(1)
    assert repeatability(some, some + 1000) == 0
    assert repeatability(np.repeat(some[:1], 2, 0), some[:1]) == pytest.approx(0.5)
    assert np.isnan(repeatability(some[:0], some))
