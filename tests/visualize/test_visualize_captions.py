"""A class may be called anything: every picture is drawn, and says who is who."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vision_jax import visualize
from vision_jax.visualize import colors
from vision_jax.visualize.captions import (
    LINE_HEIGHT,
    class_caption,
    cut,
    draw_caption,
    drawable,
    font_for_labels,
    named,
)

# How names are drawn as class 7; `None` as they are.
NAMES = {
    "traffic\nlight": "traffic light",
    "a\t\tb\r\n": "a b",
    "\x1b[31mred\x00": "□[31mred□",
    "$x_1$ \\frac{": None,
    "_hidden": None,
    "<b>&\"'": None,
    "😀 cat": None,
    "猫": "7 □",
    "猫 cat": "□ cat",
    "שלום": None,
    "مرحبا": None,
    "e\u0301": "é",
    "x" * 300: "x" * 79 + "…",
    "": "7",
    " \u00a0\u3000": "7",
    "\u200b\u2060": "7",
    "\u202etac\u202c": "tac",
    "👩\u200d🚀": "7 □□",
    "\ud83d half": "□ half",
    "\ue000": "7 □",
    "\U0001fae8": "7 □",
    "a" + "\u0336" * 2: None,
    "%s {0} \\n": None,
}


@pytest.mark.parametrize(("name", "expected"), NAMES.items(), ids=range(len(NAMES)))
def test_a_name_is_one_line_that_the_font_has(name, expected):
    assert class_caption(7, [*["other"] * 7, name]) == (name if expected is None else expected)


def test_a_class_without_a_name_has_its_number():
    assert named(2, ["a", "b"]) == "2" and named(-1, ["a"]) == "-1" and named(0, ["a\n"]) == "a\n"
    assert class_caption(1, ()) == "1"


def test_what_is_said_in_many_letters_is_read_in_few():
    assert drawable("  a  " * 10_000, 8) == "a a a a…"
    assert len(drawable("\u0301" * 10**6)) <= 80


@pytest.mark.parametrize("count", [1, len(NAMES)])
def test_every_picture_draws_every_name(count):
    names = list(NAMES)[:count]
    n = len(names)
    gray = np.full((200, 200, 3), 90, np.uint8)
    boxes = np.tile([[5.0, 30, 90, 60]], (n, 1))
    values = np.linspace(0.1, 0.9, n)
    series = {name: ([0, 1], [value, value]) for name, value in zip(names, values, strict=True)}
    pictures = [
        visualize.draw_boxes(gray, boxes, range(n), names, values),
        visualize.predictions([gray] * n, range(n), range(n)[::-1], values, names),
        visualize.draw_matches(gray, boxes, np.arange(n), boxes, labels=range(n), names=names),
        visualize.legend([(colors.INK, name) for name in names], 120),
        visualize.text(names, 60),
        visualize.curves(series, "".join(names), names[0], (0.5, names[0]), fractions=True),
        visualize.bars(names, values, values, names[0]),
        visualize.bubbles(names, values, values, values, ("$a$", "b$", names[-1])),
        visualize.confusion(np.eye(n), names),
    ]
    for picture in pictures:
        assert picture.dtype == np.uint8 and picture.shape[-1] == 3


def test_dollars_are_no_formula():
    formula, plain = ({f"{sign}x^2{sign}": ([0, 1], [0, 1])} for sign in ("$", "#"))
    target = (0.5, "t")
    drawn = [visualize.curves(s, "t", target=target)[..., 0] for s in (formula, plain)]
    # A formula would be drawn without its dollars, in italics and narrower.
    ink = [np.flatnonzero((d < 128).any(0)) for d in drawn]
    assert abs(int(ink[0].max()) - int(ink[1].max())) <= 2


def test_a_name_that_begins_with_a_line_is_in_the_legend():
    lines = {"_a": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}
    both = visualize.curves(lines, "t")
    one = visualize.curves({"": ([0, 1], [0, 1]), "b": ([0, 1], [1, 0])}, "t")
    assert (both != one).any()


def test_fractions_have_an_axis_from_0_to_1():
    """The line at 1 lies close below the upper end, and that at 0 at the lower one."""
    for value, share in ((1.0, 1.0), (0.5, 0.5), (0.0, 0.0)):
        got = visualize.curves({"a": ([0, 1], [value, value])}, "t", fractions=True)
        rows = np.flatnonzero((got == colors.SERIES[0]).all(-1).any(1))
        top, bottom = axis(got)
        height = bottom - top
        expected = bottom - height * share / 1.02
        assert abs(rows.mean() - expected) <= 4


def test_values_that_never_change_are_seen_beside_0():
    got = visualize.curves({"a": ([0, 1], [0.1, 0.1])}, "t")
    rows = np.flatnonzero((got == colors.SERIES[0]).all(-1).any(1))
    top, bottom = axis(got)
    assert abs(rows.mean() - (bottom - (bottom - top) / 1.5)) <= 4


def axis(picture):
    """Returns the upper and lower end of the left axis: the longest dark column."""
    dark = (picture < 60).all(-1)
    column = int(dark.sum(0).argmax())
    rows = np.flatnonzero(dark[:, column])
    return int(rows.min()), int(rows.max())


def test_a_caption_stays_within_the_picture():
    for left, bottom in ((5, 60), (180, 60), (-40, 3), (500, 500)):
        canvas = Image.new("RGB", (200, 100))
        draw_caption(ImageDraw.Draw(canvas), left, bottom, "a caption", (0, 200, 0))
        columns = np.flatnonzero((np.asarray(canvas)[..., 1] > 0).any(0))
        width = font_for_labels().getlength("a caption") + 4
        assert len(columns) == 0 if bottom == 500 else abs(len(columns) - width) <= 2
    canvas = Image.new("RGB", (40, 100))
    draw_caption(ImageDraw.Draw(canvas), 30, 60, "far too long a caption", (0, 200, 0))
    assert (np.asarray(canvas)[60 - LINE_HEIGHT, :, 1] == 200).sum() >= 20


def test_cutting_leaves_what_fits():
    font = font_for_labels()
    assert cut("abc", 1000, font) == "abc"
    shorter = cut("a" * 100, 60, font)
    assert shorter.endswith("a…") and font.getlength(shorter) <= 60


def test_a_legend_wraps_and_shows_its_colours():
    entries = [((200, 0, 0), "first"), ((0, 200, 0), "second"), ((0, 0, 200), "third")]
    wide, narrow = visualize.legend(entries, 600), visualize.legend(entries, 80)
    assert wide.shape == (LINE_HEIGHT, 600, 3) and narrow.shape == (3 * LINE_HEIGHT, 80, 3)
    for number, (color, _) in enumerate(entries):
        rows = np.flatnonzero((narrow == color).all(-1).any(1))
        assert rows.min() // LINE_HEIGHT == rows.max() // LINE_HEIGHT == number
    assert visualize.legend([], 100).shape == (0, 100, 3)
