"""The lectures' figures are made by one command, and their numbers are right."""

import numpy as np
import pytest
from PIL import Image

from vision_jax.report import figures
from vision_jax.report.__main__ import main


def test_one_command_writes_every_figure(tmp_path, capsys):
    assert main(["figures", "--out", str(tmp_path / "made")]) == 0
    written = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert written == [
        "convolution_matrix.png",
        "max_unpooling.png",
        "transposed_f2_s2_p0.png",
        "transposed_f3_s1_p0.png",
        "transposed_f3_s2_p1.png",
        "upsampling.png",
    ]
    assert len(capsys.readouterr().out.split()) == 6
    for path in (tmp_path / "made").iterdir():
        assert len(np.unique(np.asarray(Image.open(path)).reshape(-1, 3), axis=0)) > 10
    again = tmp_path / "again"
    main(["figures", "--out", str(again)])
    for name in written:
        assert (again / name).read_bytes() == (tmp_path / "made" / name).read_bytes()


def _drawn(monkeypatch, figure, *arguments):
    """The arrays that a figure draws, by their titles; those without one by their order."""
    found = {}

    def noted(values, groups=None, title=""):
        found.setdefault(title, (np.asarray(values), groups))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(figures, "grid", noted)
    figure(*arguments)
    return found


def test_max_unpooling_has_the_lectures_numbers(monkeypatch):
    found = _drawn(monkeypatch, figures.max_unpooling)
    np.testing.assert_array_equal(found["max pooling 2×2"][0], [[5, 6], [7, 8]])
    back, groups = found["max unpooling:\nat the positions"]
    expected = [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]
    np.testing.assert_array_equal(back, expected)
    np.testing.assert_array_equal(groups, np.array(expected) - 1)


def test_the_matrix_times_the_image_is_the_convolution(monkeypatch):
    found = _drawn(monkeypatch, figures.convolution_matrix)
    assert found["M_F: a row for each response, a column for each pixel"][0].shape == (4, 16)
    np.testing.assert_array_equal(found["vec(S)"][0].ravel(), found["S"][0].ravel())


@pytest.mark.parametrize("f, s, p, side", figures.GEOMETRIES)
def test_both_ways_of_a_transposed_convolution_agree(monkeypatch, f, s, p, side):
    found = _drawn(monkeypatch, figures.transposed_convolution, f, s, p, side)
    large = (side - 1) * s + f - 2 * p
    np.testing.assert_array_equal(found["the same"][0], found[f"{large}×{large}"][0])
