"""What YOLO's tools read: data.yaml, and a row of numbers for each object."""

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import RecordError, Yolo
from vision_jax.data.loading import Loader

YAML = "path: .\ntrain: images/train\nval: [images/val]\nnames:\n  0: cat\n  1: no\n"
BOX = "1 0.5 0.25 0.5 0.5"  # of 64×48: 16..48, 0..24
POLYGON = "0 0.25 0.25 0.5 0.25 0.5 0.5 0.25 0.5"  # 16..32, 12..24


@pytest.fixture
def write(tmp_path):
    def write(text=YAML, labels=(BOX,), folder="data"):
        base = tmp_path / folder
        for split in ("train", "val"):
            for kind in ("images", "labels"):
                (base / kind / split).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48)).save(base / f"images/{split}/a.png")
            Image.new("RGB", (64, 48)).save(base / f"images/{split}/b.png")
            (base / f"labels/{split}/a.txt").write_text("\n".join(labels) + "\n\n")
        (base / "data.yaml").write_text(text.replace("ROOT", str(base)))
        return str(base / "data.yaml")

    return write


def example(source, i=0):
    return Loader(source)(i, np.random.default_rng(0))


def test_boxes_polygons_and_an_image_without_a_file(write):
    source = Yolo(write(labels=(BOX, POLYGON)), fields=("objects", "rle"))
    assert source.classes == ("cat", "no") and len(source) == 2
    first, second = example(source), example(source, 1)
    assert first["boxes"].tolist() == [[16, 0, 48, 24], [16, 12, 32, 24]]
    assert first["labels"].tolist() == [1, 0] and second["boxes"].shape == (0, 4)
    assert not first["masks"][0].any()
    want = np.zeros((48, 64))
    want[12:24, 16:32] = 1
    np.testing.assert_array_equal(first["masks"][1], want)


@pytest.mark.parametrize(
    "text",
    [
        YAML,
        YAML.replace("path: .\n", ""),
        YAML.replace("path: .", "path: ROOT"),
        YAML.replace("path: .", "path: ../elsewhere"),
        YAML.replace("images/train", "../images/train").replace("path: .\n", ""),
        YAML.replace("images/train", "ROOT/images/train"),
        YAML.replace("images/train", "train.txt"),
        YAML.replace("images/train", "images\\train"),
        YAML.replace("  0: cat\n  1: no\n", "- cat\n- no\nnc: 2\n"),
        "\ufeff" + YAML,
    ],
)
def test_paths(write, tmp_path, text):
    file = write(text)
    images = ["./images/train/a.png", str(tmp_path / "data/images/train/b.png")]
    (tmp_path / "data/train.txt").write_text("\n".join(images) + "\n")
    source = Yolo(file)
    assert len(source) == 2 and source.classes == ("cat", "no")
    assert example(source)["boxes"].tolist() == [[16, 0, 48, 24]]
    assert len(Yolo(file, "val", names=("no", "cat"))) == 2
    assert Yolo(file, "val", names=("no", "cat"))[0]["labels"].tolist() == [0]


@pytest.mark.parametrize(
    ("shape", "row", "want"),
    [
        ("[2, 3]", f"{BOX} 0.5 0.5 2 0 0 0", [[32, 24, 2], [0, 0, 0]]),
        ("[2, 2]", f"{BOX} 0.5 0.5 0 0", [[32, 24, 2], [0, 0, 0]]),
    ],
)
def test_keypoints(write, shape, row, want):
    file = write(f"{YAML}kpt_shape: {shape}\n", labels=(row,))
    source = Yolo(file, fields=("objects", "keypoints"))
    assert source[0]["keypoints"].tolist() == [want]
    assert source[1]["keypoints"].shape == (0, 2, 3)
    assert source.annotated_fields == ("objects", "keypoints")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0 0.5 0.5 0.2", "3 numbers after the class are no box or polygon"),
        ("0 0.5 0.5 0.2 0.2 0.9", "5 numbers after the class are no box or polygon"),
        ("0 0.5 x 0.2 0.2", "a coordinate is 'x', not a number"),
        ("0 0.5 nan 0.2 0.2", r"number\[1\] is nan, not a finite number"),
        ("0 16 0 48 24", "16 is no share of the image's side"),
        ("2 0.5 0.5 0.2 0.2", "class 2, but there are 2 names"),
        ("-1 0.5 0.5 0.2 0.2", "the class is '-1', not a whole number from 0 on"),
        ("0.5 0.5 0.5 0.2 0.2", "the class is '0.5', not a whole number"),
        ("cat 0.5 0.5 0.2 0.2", "the class is 'cat', not a number"),
    ],
)
def test_damaged_rows(write, row, message):
    with pytest.raises(UserError, match=message) as caught:
        Yolo(write(labels=(BOX, row)))
    assert "labels/train/a.txt row 2: " in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no keys such as names"),
        ("names: [a\ntrain: x", "data.yaml row 2: it is no YAML"),
        ("names: []\ntrain: images/train", "no list of names"),
        ("names: {0: a, 2: b}\ntrain: images/train", "the keys of names are not 0, 1, 2"),
        ("names: [a, [b]]\ntrain: images/train", r"names\[1\] is \['b'\], not a text"),
        ("names: [a, a]\ntrain: images/train", "names lists 'a' twice"),
        ("names: [a, b]\nnc: 3\ntrain: images/train", "nc is '3', but names are 2"),
        ("names: [a, b]\nval: images/val", "no 'train' - known: val"),
        ("names: [a, b]\ntrain: nowhere", "train: no folder or list nowhere"),
        ("names: [a, b]\ntrain: {a: b}", "train is {'a': 'b'}, neither a folder"),
        ("names: [a, b]\ntrain: images/train\nkpt_shape: 17", "kpt_shape='17' is not"),
    ],
)
def test_damaged_files(write, text, message):
    with pytest.raises(UserError, match=message):
        Yolo(write(text))


def test_more_mistakes(write, tmp_path):
    file = write()
    with pytest.raises(UserError, match="keypoints are asked for, but it has no kpt_shape"):
        Yolo(file, fields=("keypoints",))
    with pytest.raises(UserError, match="source field 'masks'"):
        Yolo(file, fields=("masks",))
    (tmp_path / "data/images/train/a.png").write_bytes(b"no image")
    with pytest.raises(RecordError, match=r"a.png\): the image has no readable header"):
        Yolo(file)[0]
    (tmp_path / "data/labels/train/a.txt").unlink()
    with pytest.raises(UserError, match=r"none of 2 images has a file of objects, such as .*a.txt"):
        Yolo(file)
