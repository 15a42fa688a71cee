"""Maps as heat, signals around gray, filters side by side."""

import numpy as np

from vision_jax.visualize import heat


def test_heat_grows_lighter():
    drawn = heat.heat(np.linspace(0, 1, 9)[None])
    assert drawn.dtype == np.uint8 and drawn.shape == (1, 9, 3)
    assert (np.diff(drawn.sum(-1).astype(int)) > 0).all()
    np.testing.assert_array_equal(heat.heat(np.array([[-5.0, 7.0]])), drawn[:, [0, -1]])
    np.testing.assert_array_equal(heat.heat(np.array([[-9.0, 9.0]]), 0, 1), drawn[:, [0, -1]])


def test_what_is_flat_or_not_finite_is_drawn():
    assert (heat.heat(np.full((2, 3), 4.0)) == heat.heat(np.zeros((1, 1)))[0, 0]).all()
    odd = heat.heat(np.array([[np.nan, 0.0, 1.0, np.inf]]))
    np.testing.assert_array_equal(odd[0, 0], odd[0, 1])
    assert heat.heat(np.full((2, 2), np.nan)).shape == (2, 2, 3)


def test_an_overlay_is_hot_where_the_map_is():
    image = np.full((8, 8, 3), 0.5)
    values = np.zeros((2, 2))
    values[0, 1] = 1
    drawn = heat.overlay(image, values).astype(int)
    assert drawn.shape == (8, 8, 3)
    assert drawn[0, 7, 0] > drawn[7, 0, 0] + 50
    assert heat.overlay(np.zeros((4, 6, 1), np.uint8), np.zeros((3, 3))).shape == (4, 6, 3)


def test_zero_is_gray_and_signs_go_both_ways():
    drawn = heat.signed(np.array([[[-2.0], [0.0], [2.0]]]), 1.0)
    assert drawn[0, :, 0].tolist() == [0, 128, 255]
    assert (heat.signed(np.zeros((2, 2, 3))) == 128).all()
    lonely = np.zeros((50, 50, 1))
    lonely[3, 4] = 1  # rarer than the share that is drawn as it is
    assert heat.signed(lonely)[3, 4, 0] == 255


def test_filters_are_tiled_with_lines_between():
    kernel = np.zeros((3, 3, 3, 5), np.float32)
    kernel[0, 0, 0, 1] = 7
    drawn = heat.filters(kernel, side=6)
    assert drawn.shape == (2 * 8 + 2, 4 * 8 + 2, 3)
    assert (drawn[:2] == 255).all() and (drawn[2, 2] == 128).all()
    assert drawn[2, 10].tolist() == [255, 128, 128]
    gray = heat.filters(np.zeros((5, 5, 2, 3), np.float32), side=5)
    assert gray.shape == (2 * 7 + 2, 4 * 7 + 2, 3)
    assert len(heat.filters(np.zeros((3, 3, 3, 64), np.float32), most=2)) == 48 + 4
