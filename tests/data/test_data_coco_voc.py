"""COCO's instances painted as VOC's labels."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import CocoAsVoc, CocoFolder, Eval, OriginalLabels, Pad
from vision_jax.data.coco_json import CATEGORIES
from vision_jax.data.coco_voc import paint
from vision_jax.data.voc_xml import CLASSES


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def annotation(number, image, name, x, y, side, **more):
    ids = {name: k for k, name in CATEGORIES.items()}
    return {
        "id": number,
        "image_id": image,
        "category_id": ids[name],
        "bbox": [x, y, side, side],
        "area": side * side,
        "iscrowd": 0,
        "segmentation": square(x, y, side),
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    document = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "height": 20, "width": 30} for k in (1, 2, 3)
        ],
        "categories": [{"id": k, "name": name} for k, name in CATEGORIES.items()],
        "annotations": [
            annotation(1, 1, "couch", 2, 2, 8),
            annotation(2, 1, "person", 6, 6, 8),
            annotation(3, 1, "zebra", 20, 0, 10),
            annotation(4, 2, "zebra", 0, 0, 20),
            annotation(5, 2, "tv", 1, 1, 3),
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    for k in (1, 2, 3):
        Image.new("RGB", (30, 20), (k, k, k)).save(tmp_path / f"{k}.png")
    return tmp_path


def source(folder, fields=("objects", "rle"), **more):
    return CocoAsVoc(CocoFolder(str(folder / "a.json"), str(folder), fields), **more)


def test_labels_are_vocs_and_overlaps_void(folder):
    found = source(folder)
    assert found.classes == ("background", *CLASSES) and len(found) == 3
    labels = found[0]["segmentation"]
    sofa, person = 1 + CLASSES.index("sofa"), 1 + CLASSES.index("person")
    expected = np.zeros((20, 30), int)
    expected[2:10, 2:10] = sofa
    expected[6:14, 6:14] = person
    expected[6:10, 6:10] = 255
    np.testing.assert_array_equal(labels, expected)  # and the zebra is background
    assert not found[2]["segmentation"].any()


def test_images_with_little_of_the_twenty_classes_may_be_left_out(folder):
    found = source(folder, min_area=9)
    assert len(found) == 1 and "1.png" in found.describe(0) and found.image_id(0) == 1
    assert len(source(folder, min_area=8)) == 2
    copy = pickle.loads(pickle.dumps(found))
    assert "_positions" in vars(copy)  # read once, not in every worker process
    np.testing.assert_array_equal(copy[0]["segmentation"], found[0]["segmentation"])


def test_a_batch_at_the_original_size(folder):
    keep = OriginalLabels((Pad(height=32, width=32),), height=24, width=40)
    (batch,) = Eval(source(folder), (keep,), batch_size=4).batches()
    truth = batch.targets.segmentation
    assert batch.image.shape == (4, 32, 32, 3) and truth.shape == (4, 24, 40)
    assert (truth[:3, 20:] == 255).all() and (truth[:3, :, 30:] == 255).all()
    assert (truth[3] == 255).all() and not batch.valid[3]  # the row that only fills the batch
    np.testing.assert_array_equal(batch.size[:3], [[20, 30]] * 3)


def test_crowds_count_and_other_classes_do_not():
    masks = np.zeros((3, 2, 3), np.uint8)
    masks[0, 0], masks[1, 1], masks[2] = 1, 1, 1
    got = paint(masks, np.array([4, 7, 0]), (2, 3))
    np.testing.assert_array_equal(got, [[4, 4, 4], [7, 7, 7]])
    assert not paint(masks[:0], np.zeros(0, int), (2, 3)).any()


def test_mistakes_are_one_line(folder):
    with pytest.raises(UserError, match="the source's fields lack 'rle'"):
        source(folder, ("objects",))
    document = json.loads((folder / "a.json").read_text())
    for category in document["categories"]:
        category["name"] = category["name"].replace("couch", "sofa bed")
    (folder / "a.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match="no class 'couch'"):
        source(folder)
