"""Grids of numbers: sizes, colours, and how numbers read."""

import numpy as np
import pytest

from vision_jax.visualize import colors
from vision_jax.visualize.grids import CELL, below, beside, grid, number


def test_squares_have_their_groups_colours():
    got = grid(np.array([[1, 2, 3]]), np.array([[0, 1, -1]]))
    assert got.shape == (CELL + 1, 3 * CELL + 1, 3)
    corners = [tuple(got[4, column * CELL + 4].tolist()) for column in range(3)]
    assert corners[2] == colors.PAPER
    assert len(set(corners)) == 3
    with pytest.raises(ValueError, match="groups"):
        grid(np.zeros((2, 2)), np.zeros((2, 3), int))


def test_a_title_lies_below_and_never_cuts_the_squares():
    plain, titled = grid(np.ones((2, 1))), grid(np.ones((2, 1)), title="long words\nbelow")
    assert titled.shape[0] > plain.shape[0] + 20 and titled.shape[1] > plain.shape[1]
    left = (titled.shape[1] - plain.shape[1]) // 2
    kept = titled[: len(plain), left : left + plain.shape[1]]
    np.testing.assert_array_equal(kept, plain)


def test_rows_and_columns_of_pictures():
    one, two = grid(np.ones((1, 1))), grid(np.ones((3, 2)))
    row = beside([one, two], ["="], "title")
    assert row.shape[0] > two.shape[0] and row.shape[1] > one.shape[1] + two.shape[1]
    assert below([one, two]).shape == (one.shape[0] + two.shape[0], two.shape[1], 3)


@pytest.mark.parametrize(
    "value, text", [(3, "3"), (0.5, "0.5"), (-1.25, "-1.25"), (-0.001, "0"), (10, "10"), (0, "0")]
)
def test_numbers(value, text):
    assert number(value) == text
