"""Pictures: shapes, colours and what is where in them."""

import subprocess
import sys

import numpy as np
import pytest

from vision_jax import visualize
from vision_jax.visualize import colors
from vision_jax.visualize.curves import written_out


def has_color(image, color):
    return bool((image == np.array(color, np.uint8)).all(axis=-1).any())


def gray(value, height=4, width=4):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3)])
def test_to_rgb_takes_every_image(shape):
    values = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    got = visualize.to_rgb(values)
    assert got.shape == (2, 3, 3) and got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.broadcast_to(values.reshape(2, 3, -1), (2, 3, 3)))


def test_to_rgb_reads_floats_as_0_to_1():
    got = visualize.to_rgb(np.array([[0.0, 0.5, 1.0, -3.0, 7.0, np.nan]]))
    assert got[0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]


@pytest.mark.parametrize("shape", [(2,), (2, 3, 2), (2, 3, 4), (1, 2, 3, 3)])
def test_to_rgb_refuses_what_is_no_image(shape):
    with pytest.raises(ValueError, match="an image is"):
        visualize.to_rgb(np.zeros(shape))


def test_enlarge_repeats_pixels():
    image = np.arange(6).reshape(2, 3, 1)
    np.testing.assert_array_equal(visualize.enlarge(image, 7)[::2, ::2], image)
    assert visualize.enlarge(image, 7).shape == (4, 6, 1)
    assert visualize.enlarge(image, 2).shape == image.shape


def test_text_marks_ink_and_cuts_what_is_too_long():
    short, long = visualize.text(["ab", ""], 60), visualize.text(["ab" * 40, ""], 60)
    assert short.shape == long.shape == (34, 60, 3)
    assert short[:17].min() < 128 and short[17:].min() == 255
    assert long[:17, 40:].min() < 128


def test_text_draws_letters_beyond_ascii_differently():
    assert (visualize.text(["ö"], 20) != visualize.text(["ß"], 20)).any()


def test_panel_lays_images_out_in_rows():
    images = [gray(10), gray(20, 2, 4), gray(30, 40, 20)]
    got = visualize.panel(images, ["a", "b", "c"], columns=2, side=8)
    assert got.shape == (2 * (8 + 4 + 17 + 10) + 10, 2 * 18 + 10, 3)
    np.testing.assert_array_equal(got[10:18, 10:18], gray(10, 8, 8))
    np.testing.assert_array_equal(got[12:16, 28:36], gray(20, 4, 8))  # 2 × 4, centred
    np.testing.assert_array_equal(got[49:57, 12:16], gray(30, 8, 4))  # shrunk
    assert got[49:, 28:].min() == 255  # no fourth image


def test_panel_needs_a_caption_per_image():
    with pytest.raises(ValueError, match="1 images with 2 captions"):
        visualize.panel([gray(0)], ["a", "b"])
    with pytest.raises(ValueError, match="0 images"):
        visualize.panel([], [])


@pytest.mark.parametrize(
    ("truth", "guess", "expected"),
    [(1, 1, colors.RIGHT), (0, 1, colors.WRONG), (-1, 1, colors.INK)],
)
def test_predictions_are_colored_by_being_right(truth, guess, expected):
    got = visualize.predictions([gray(0)], [truth], [guess], [0.5], ["HHH", "MMM"])
    for color in (colors.RIGHT, colors.WRONG, colors.INK):
        assert has_color(got, color) == (color == expected)


def test_boxes_are_outlined_at_their_pixels():
    boxes = np.array([[10, 30, 50, 60], [60, 60, 90, 90]], np.float32)
    got = visualize.draw_boxes(gray(0, 100, 100), boxes, [2, -1], ["a", "b", "c"], [0.5, 0.5])
    color = np.array(colors.of_class(2))
    assert (got[30, 10:50] == color).all() and (got[59, 10:50] == color).all()
    assert (got[30:60, 10] == color).all() and (got[30:60, 49] == color).all()
    assert got[31:59, 11:49].max() == 0
    assert got[60:].max() == 0 and got[30:, 50:].max() == 0  # the padding too is not drawn
    assert has_color(got[:30], color)  # the caption


def test_curves_draw_each_series_and_skip_what_is_not_finite():
    series = {"a": ([0, 1, 2], [1.0, np.nan, 3.0]), "b": ([0, 2], [2.0, np.inf])}
    got = visualize.curves(series, "loss", target=(2.5, "paper"), size=(3, 2))
    assert got.shape == (220, 330, 3) and got.dtype == np.uint8
    for number in range(2):
        assert has_color(got, colors.of_class(number))
    empty = visualize.curves({"a": ([0, 1], [np.nan, np.nan])}, "loss", log_y=True)
    assert not has_color(empty, colors.of_class(0)[::-1])


@pytest.mark.parametrize("c", [2, 12, 40])
def test_confusion_shades_the_diagonal(c):
    right = visualize.confusion(np.eye(c, dtype=int) * 5, [f"name {i}" for i in range(c)])
    wrong = visualize.confusion(np.eye(c, dtype=int)[::-1] * 5, [f"name {i}" for i in range(c)])
    dark = [(picture[..., 0] < 60) & (picture[..., 2] > 90) for picture in (right, wrong)]
    # Darkest blue lies on the falling diagonal, or on the rising one.
    for mask, sign in zip(dark, (1, -1), strict=True):
        rows, columns = np.nonzero(mask)
        assert sign * np.corrcoef(rows, columns)[0, 1] > 0.5


def test_confusion_without_images_is_drawn():
    assert visualize.confusion(np.zeros((3, 3), int)).ndim == 3


def test_bars_draw_a_whisker_where_the_spread_is_known():
    known = visualize.bars(["x", "y"], [0.5, 0.6], [0.05, 0.05], "top1")
    unknown = visualize.bars(["x", "y"], [0.5, 0.6], [np.nan, np.nan], "top1")
    ink = [(image == np.array(colors.SERIES[0])).all(axis=-1).sum() for image in (known, unknown)]
    assert ink[0] > ink[1] > 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.5"), (20, "20"), (1000, "1,000"), (500_000, "500,000"), (2e6, "2 M"), (5e9, "5 G")],
)
def test_numbers_of_an_axis_are_written_out(value, expected):
    assert written_out(value) == expected


def test_import_is_cheap():
    program = "import sys, vision_jax.visualize; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
