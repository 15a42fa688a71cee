"""Objects with masks become semantic labels; the smaller object lies on top."""

import json

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import CocoFolder, ObjectsAsSemantic, Train


def square(number, category, x, side):
    polygon = [x, x, x + side, x, x + side, x + side, x, x + side]
    box = [x, x, side, side]
    return {
        "id": number,
        "image_id": 1,
        "category_id": category,
        "bbox": box,
        "segmentation": [polygon],
    }


@pytest.fixture
def annotations(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "1.png")
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 30}],
        "annotations": [square(1, 9, 4, 4), square(2, 7, 2, 20), square(3, 7, 25, 3)],
        "categories": [{"id": 7, "name": "table"}, {"id": 9, "name": "cup"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    return str(tmp_path / "a.json"), str(tmp_path)


def test_the_smaller_object_is_on_top(annotations):
    source = ObjectsAsSemantic(CocoFolder(*annotations, fields=("objects", "rle")))
    assert source.classes == ("background", "table", "cup") and source.category_ids == ()
    labels = source[0]["segmentation"]
    expected = np.zeros((30, 40), np.uint8)
    expected[2:22, 2:22] = 1
    expected[25:28, 25:28] = 1
    expected[4:8, 4:8] = 2
    np.testing.assert_array_equal(labels, expected)
    batch = next(iter(Train(source, batch_size=1).batches(0, 0)))
    np.testing.assert_array_equal(batch.targets.segmentation[0], expected)


def test_masks_are_needed(annotations):
    with pytest.raises(UserError, match="lack 'rle'"):
        ObjectsAsSemantic(CocoFolder(*annotations))
