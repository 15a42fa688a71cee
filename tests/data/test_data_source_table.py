"""The doctor's table of a source: every number against one that is counted here."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from vision_jax.data import CocoFolder, ImageFolder, MaskFolder, box_shapes
from vision_jax.data.doctor import main
from vision_jax.data.source_checks import check
from vision_jax.data.source_table import table

SIZES = [(100, 50), (200, 100), (50, 100), (80, 80)]  # width, height
# (image, class, x, y, width, height); the last image has no object.
OBJECTS = [
    (1, 1, 10, 10, 20, 20),
    (1, 2, 0, 0, 50, 25),
    (2, 1, 0, 0, 100, 100),
    (3, 1, 0, 0, 40, 10),
    (3, 1, 5, 50, 10, 40),
]


@pytest.fixture
def source(tmp_path):
    def make(fields=("objects", "rle", "keypoints"), **crowd):
        for k, size in enumerate(SIZES, start=1):
            Image.new("RGB", size, (k, k, k)).save(tmp_path / f"{k}.png")
        annotations = []
        for k, (image, category, x, y, w, h) in enumerate(OBJECTS, start=1):
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation = {
                "id": k,
                "image_id": image,
                "category_id": category,
                "bbox": [x, y, w, h],
                "segmentation": [polygon] if k < 5 else [],
                "keypoints": [x, y, 2 if k < 3 else 0, 0, 0, 0],
                "iscrowd": 0,
            }
            annotations.append(annotation)
        document = {
            "images": [
                {"id": k, "file_name": f"{k}.png", "width": w, "height": h}
                for k, (w, h) in enumerate(SIZES, start=1)
            ],
            "annotations": annotations,
            "categories": [
                {"id": 1, "name": "cat"},
                {"id": 2, "name": "dog"},
                {"id": 3, "name": "owl"},
            ],
        }
        (tmp_path / "a.json").write_text(json.dumps(document))
        return CocoFolder(str(tmp_path / "a.json"), str(tmp_path), fields=fields)

    return make


def test_objects(source):
    lines = table(check("a", source(), max_boxes=1), 100)
    assert lines[0] == "sizes 100×50 to 200×100; objects: cat 4, dog 1, owl 0"
    assert lines[1].startswith("images: width 59 … 90 … 170; height 59 … 90 … 100; width / height")
    assert lines[2] == "sizes: 4 of 4 are stated, and are the files' own"
    assert [line.split() for line in lines[3:7]] == [
        ["class", "objects", "share", "images"],
        ["cat", "4", "80.0%", "3", "#" * 24],
        ["dog", "1", "20.0%", "1", "#" * 6],
        ["owl", "0", "0.0%", "0"],
    ]
    assert lines[7].endswith("at most 2; none in 1, more than 1 in 2 images")
    assert lines[8] == "masks: 4 of 5 objects; keypoints: 2 of 5 objects"
    # Fitted into 100×100 the second image is halved, and the others stay.
    sides = np.array([[20, 20], [50, 25], [50, 50], [40, 10], [10, 40.0]])
    low, middle, high = np.quantile(np.sqrt(sides.prod(1)), (0.1, 0.5, 0.9))
    assert f"square root of area {low:.3g} … {middle:.3g} … {high:.3g} pixels" in lines[9]
    assert "below 32 60%, from 96 0%" in lines[9]
    assert lines[10] == "boxes' width / height: 0.55 … 1 … 3.2"
    shapes = ", ".join(f"{w:.0f}×{h:.0f}" for w, h in box_shapes.kmeans(sides, 9))
    assert f"{shapes}; mean IoU 1.00" in lines[11] and len(lines) == 12


def test_a_source_without_objects_or_images(source, tmp_path):
    document = json.loads(pathlib.Path(source().annotations).read_text())
    document["annotations"] = []
    (tmp_path / "b.json").write_text(json.dumps(document))
    empty = CocoFolder(str(tmp_path / "b.json"), str(tmp_path))
    lines = table(check("b", empty), 100)
    assert lines[0].endswith("objects: cat 0, dog 0, owl 0")
    assert "at most 0; none in 4, more than 100 in 0 images" in lines[-1]
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"nothing")
    assert table(check("b", empty), 100) == ["no image can be read"]


def test_classes_and_masks(tmp_path):
    for name, count in (("cat", 3), ("dog", 1)):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (4, 4), (k, 9, 9)).save(tmp_path / "classes" / name / f"{k}.png")
    lines = table(check("a", ImageFolder(str(tmp_path / "classes"))), 416)
    assert lines[0] == "size 4×4; images: cat 3, dog 1"
    assert lines[1].startswith("images: width 4; height 4; width / height 1 ")
    assert lines[3].split() == ["cat", "3", "75.0%", "3", "#" * 24] and len(lines) == 5

    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for k in range(2):
            values = np.zeros((4, 4), np.uint8)
            values[: 2 * k] = 1
            Image.fromarray(values if name == "masks" else values + 7).save(
                tmp_path / name / f"{k}.png"
            )
    masks = MaskFolder(str(tmp_path / "images"), str(tmp_path / "masks"), ("sky", "road", "car"))
    lines = table(check("m", masks), 416)
    assert [line.split()[:4] for line in lines[3:]] == [
        ["sky", "24", "75.0%", "2"],
        ["road", "8", "25.0%", "1"],
        ["car", "0", "0.0%", "0"],
    ]


def test_many_classes_are_cut(tmp_path):
    for k in range(40):
        (tmp_path / f"c{k:02d}").mkdir()
        Image.new("RGB", (4, 4), (k, 9, 9)).save(tmp_path / f"c{k:02d}" / "a.png")
    lines = table(check("a", ImageFolder(str(tmp_path))), 416)
    assert lines[0].endswith("… (10 more)") and len(lines) == 3 + 30


def test_the_command_takes_a_size(source, capsys):
    opened = source()
    text = f"coco:{opened.annotations},{opened.images}"
    assert main([text, "--size", "200"]) == 0
    assert "images fitted into 200×200" in capsys.readouterr().out
    assert main([text, "--size", "0"]) == 2
