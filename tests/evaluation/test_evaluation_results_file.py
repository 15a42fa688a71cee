"""Files of results: read in any order; what is wrong is said in one line with the row's number."""

import json

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation.results_file import read_results

ROW = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "score": 0.5}


def write(folder, value):
    file = folder / "found.json"
    file.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(file)


def test_boxes_scores_and_labels_by_image(tmp_path):
    rows = [ROW, {**ROW, "image_id": "5", "category_id": 9}, {**ROW, "score": 1}]
    got = read_results(write(tmp_path, rows), [5, 6, 7], [9, 3])
    assert [one.scores.tolist() for one in got] == [[0.5], [], [0.5, 1.0]]
    assert [one.labels.tolist() for one in got] == [[0], [], [1, 1]]
    np.testing.assert_array_equal(got[2].boxes, [[1, 2, 11, 22]] * 2)
    assert got[1].boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[{", "is no JSON"),
        ({"annotations": []}, "not a list of detections"),
        ([ROW, {"image_id": 7}], "detection 1: no 'category_id'"),
        ([[]], "detection 0: no 'image_id'"),
        ([{**ROW, "image_id": 8}], "detection 0: image 8 is not in the data set .one is 5."),
        ([{**ROW, "category_id": 4}], "category 4 is not in the data set .9, 3"),
        ([{**ROW, "category_id": [3]}], "category .3. is not in the data set"),
        ([{**ROW, "bbox": [1, 2, 3]}], "bbox must be 4 numbers"),
        ([{**ROW, "score": None}], "score one"),
        ([{**ROW, "bbox": [1, 2, 3, float("nan")]}], "not all finite"),
    ],
)
def test_mistakes_are_one_line(tmp_path, value, message):
    with pytest.raises(UserError, match=message) as caught:
        read_results(write(tmp_path, value), [5, 6, 7], [9, 3])
    assert "\n" not in str(caught.value) and "found.json" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json': No such file"):
        read_results(str(tmp_path / "none.json"), [], [])
