"""CSV files as spreadsheets write them."""

import codecs

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import Csv, RecordError

HEAD = "filename,category,x0,y0,x1,y1\n"


@pytest.fixture
def write(tmp_path):
    for name in ("a.png", "b c.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / name)

    def write(content, encoding="utf-8"):
        data = content if isinstance(content, bytes) else content.encode(encoding)
        (tmp_path / "t.csv").write_bytes(data)
        return str(tmp_path / "t.csv"), str(tmp_path), "xyxy"

    return write


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_delimiters(write, delimiter, ending):
    rows = "a.png,Bär,1.5,2,30,40\nb c.png,cat,5,6,7,8\n\n"
    source = Csv(*write((HEAD + rows).replace(",", delimiter).replace("\n", ending)))
    assert source.classes == ("Bär", "cat")
    assert source[0]["boxes"].tolist() == [[1.5, 2, 30, 40]]
    assert source[1]["boxes"].tolist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas(write, delimiter):
    text = HEAD.replace(",", delimiter) + delimiter.join(["a.png", "a,b", "1,5", "2", "3,25", "4"])
    source = Csv(*write(text))
    assert source.classes == ("a,b",) and source[0]["boxes"].tolist() == [[1.5, 2, 3.25, 4]]


def test_a_header_with_more_columns_and_spaces(write):
    source = Csv(*write("\n id, filename , category,x0,y0,x1,y1,note\n1,a.png, cat ,1,2,3,4,\n"))
    assert source.classes == ("cat",) and source[0]["boxes"].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ((HEAD + "a.png,Bär,1,2,3,4").encode("utf-8-sig"), "utf-8"),
        ((HEAD + "a.png,Bär,1,2,3,4").encode("utf-16"), "utf-8"),
        (codecs.BOM_UTF16_BE + (HEAD + "a.png,Bär,1,2,3,4").encode("utf-16-be"), "utf-8"),
        ((HEAD + "a.png,Bär,1,2,3,4").encode("latin-1"), "latin-1"),
    ],
)
def test_encodings(write, data, encoding):
    assert Csv(*write(data), encoding=encoding).classes == ("Bär",)


def test_other_encodings_are_named(write):
    data = (HEAD + "a.png,Bär,1,2,3,4").encode("latin-1")
    with pytest.raises(UserError, match=r"t.csv: it is not UTF-8 text"):
        Csv(*write(data))
    with pytest.raises(UserError, match=r"t.csv: unknown encoding 'latin-2000'"):
        Csv(*write(data), encoding="latin-2000")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: it is empty"),
        ("\n\n", "t.csv: it is empty"),
        (HEAD + "a.png,cat,1,2,3,4,5\n", "row 2: 7 cells, the header has 6; quote a cell"),
        (HEAD + "a.png,a,cat,1,2,3\n", "row 2: x0 is 'cat', not a number"),
        (HEAD + "a.png,cat,1,2,3,1_0\n", "row 2: y1 is '1_0', not a number"),
        (HEAD.replace("y1", "x1") + "a.png,cat,1,2,3,4\n", "row 1: two columns 'x1'"),
        (HEAD + '"' + "x" * 200_000, "field larger than field limit"),
        (HEAD + "\0.png,cat,1,2,3,4\n", "t.csv row 2: "),
    ],
)
def test_mistakes(write, text, message):
    with pytest.raises(UserError, match=message) as caught:
        Csv(*write(text))
    assert "\n" not in str(caught.value)


def test_columns_are_six(write):
    with pytest.raises(UserError, match="name six, for file, category and box"):
        Csv(*write(HEAD), columns=("a", "b"))


def test_shares_of_a_broken_image(write, tmp_path):
    source = Csv(*write(HEAD + "a.png,cat,0.5,0.5,1,1\nb c.png,,,,,\n"), relative=True)
    assert source[0]["boxes"].tolist() == [[32, 24, 64, 48]]
    assert source[1]["boxes"].shape == (0, 4) and source[1]["boxes"].dtype == np.float32
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(RecordError, match=r"a.png\): the image has no readable header"):
        source[0]


def test_absurd_numbers_become_degenerate_boxes(write):
    (box,) = Csv(*write(HEAD + "a.png,cat,1,2,1e300,4\n"))[0]["boxes"]
    assert np.isposinf(box[2]) and box[[0, 1, 3]].tolist() == [1, 2, 4]
