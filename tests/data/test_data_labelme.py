"""labelme's JSON files."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import Labelme, RecordError
from vision_jax.data.loading import Loader


def encoded(size=(64, 48)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (7, 8, 9)).save(buffer, "PNG")
    return buffer.getvalue()


def shape(points, label="cat", kind="polygon", group=None):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group}


SQUARE = shape([[10, 10], [30, 10], [30, 30], [10, 30]])


@pytest.fixture
def write(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())

    def write(*shapes, **changes):
        document = {"shapes": shapes, "imagePath": "a.png", "imageData": None}
        document |= {"imageHeight": 48, "imageWidth": 64, **changes}
        (tmp_path / "a.json").write_text(json.dumps(document))
        return str(tmp_path)

    return write


def example(source):
    return Loader(source)(0, np.random.default_rng(0))


def test_shapes(write):
    rectangle = shape([[40, 40], [50, 20]], "dog", "rectangle")
    circle = shape([[20, 24], [30, 24]], "sun", "circle")
    without = [shape([[1, 2]], "x", kind) for kind in ("point", "points", "line", "linestrip")]
    source = Labelme(write(SQUARE, rectangle, circle, *without), fields=("objects", "rle"))
    assert source.classes == ("cat", "dog", "sun")
    got = example(source)
    assert got["labels"].tolist() == [0, 1, 2]
    boxes = [[10, 10, 30, 30], [40, 20, 50, 40], [10, 14, 30, 34]]
    np.testing.assert_allclose(got["boxes"], boxes, atol=1e-5)
    areas = got["masks"].sum((1, 2))
    assert areas[:2].tolist() == [400, 200] and abs(areas[2] - np.pi * 100) < 15


def test_shapes_of_one_group_are_one_object(write):
    right = shape([[40, 10], [50, 10], [50, 20], [40, 20]], group=1)
    left = {**SQUARE, "group_id": 1}
    other = shape([[1, 1], [5, 1], [5, 5]], "dog", group=1)
    got = example(Labelme(write(left, other, right), fields=("objects", "rle")))
    assert got["boxes"].tolist() == [[10, 10, 50, 30], [1, 1, 5, 5]]
    assert got["masks"][0].sum() == 500


def test_boxes_are_cut_at_the_border(write):
    source = Labelme(write(shape([[-5, -5], [70, -5], [70, 20]])), fields=("objects", "rle"))
    assert source[0]["boxes"].tolist() == [[0, 0, 64, 20]]


@pytest.mark.parametrize(
    "path", ["..\\photos\\a.png", "C:\\Users\\me\\a.png", "sub/a.png", "a.png"]
)
def test_images_are_found(write, path):
    source = Labelme(write(SQUARE, imagePath=path))
    assert example(source)["image"][0, 0].tolist() == [7, 8, 9]
    assert source.describe(0).endswith("a.png)")


def test_image_data(write, tmp_path):
    text = base64.encodebytes(encoded((32, 20))).decode()  # in lines
    folder = write(SQUARE, imagePath="lost.png", imageData=text, imageHeight=None, imageWidth=None)
    source = Labelme(folder)
    assert example(source)["image"].shape == (20, 32, 3)
    assert source[0]["boxes"].tolist() == [[10, 10, 30, 20]]
    with pytest.raises(UserError, match=r"a.json: imageData is damaged"):
        Labelme(write(SQUARE, imagePath="lost.png", imageData="§§"))
    with pytest.raises(UserError, match=r"a.json: no image lost.png, and no imageData"):
        Labelme(write(SQUARE, imagePath="lost.png"))


def test_sizes_are_compared(write):
    with pytest.raises(RecordError, match="state the size 32×24, the image has 64×48"):
        Labelme(write(SQUARE, imageWidth=32, imageHeight=24))[0]


def test_names_and_hidden_files(write, tmp_path):
    folder = write(SQUARE)
    (tmp_path / "._a.json").write_bytes(b"\0\5\x16\7")
    assert Labelme(folder, names=("dog", "cat"))[0]["labels"].tolist() == [1]
    with pytest.raises(UserError, match="class 'cat' is not among names"):
        Labelme(folder, names=("dog",))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (5, r"shapes\[1\] is 5, not an object"),
        ({**SQUARE, "label": None}, r"shapes\[1\]: label is null, not a text"),
        ({**SQUARE, "label": " "}, r"shapes\[1\]: label is empty"),
        ({**SQUARE, "shape_type": "mask"}, r"shapes\[1\]: shape_type 'mask' - "),
        ({**SQUARE, "shape_type": []}, None),
        ({**SQUARE, "shape_type": [1]}, r"shapes\[1\]: shape_type \[1\]"),
        (shape([[1, 2], [3, 4]]), r"shapes\[1\]: points are 2, too few for a polygon"),
        (shape([[1, 2], [3, None], [5, 6]]), r"points: number\[3\] is null"),
        (shape([[1, 2], [3], [5, 6]]), r"shapes\[1\]: points\[1\] is \[3\], not \[x, y\]"),
        (shape("here"), r"shapes\[1\]: points is 'here', not a list"),
        (shape([[1, 2], [float("nan"), 4], [5, 6]]), r"points: number\[2\] is nan"),
    ],
)
def test_damaged_shapes(write, bad, message):
    folder = write(SQUARE, bad)
    if message is None:  # an empty kind is the oldest files', which had polygons alone
        assert len(Labelme(folder)[0]["boxes"]) == 2
        return
    with pytest.raises(UserError, match=message) as caught:
        Labelme(folder)
    assert "a.json, " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json row 1: Expecting value"),
        ("[]", "no list 'shapes'"),
        ('{"images": []}', "no list 'shapes'; is it labelme's"),
        ("[" * 100_000, "it cannot be read as JSON"),
    ],
)
def test_other_files(write, tmp_path, text, message):
    folder = write(SQUARE)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=message):
        Labelme(folder)
