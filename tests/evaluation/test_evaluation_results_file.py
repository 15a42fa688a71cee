"""Files of results: read in any order; what is wrong is said in one line with the row's number."""

import json

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation.results_file import ToResults, category_ids, read_results
from vision_jax.ops import rle
from vision_jax.structs import Batch, Detections, Targets

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


class Photos:
    """Images with ids of any kind; the files of this data set lack the class 'owl'."""

    classes = ("cat", "owl", "dog")
    category_ids = (90, -1, "dog-7")

    def image_id(self, i):
        return ("a1", 2**70, 5)[i]


def detected():
    """Two images at half and double size, and a row that only fills the batch."""
    batch = Batch(
        image=np.zeros((3, 32, 32, 3), np.uint8),
        valid=np.array([True, True, False]),
        index=np.arange(3, dtype=np.int32),
        targets=Targets(
            boxes=np.zeros((3, 1, 4), np.float32),
            labels=np.full((3, 1), -1, np.int32),
            valid=np.zeros((3, 1), bool),
        ),
        size=np.array([[40, 60], [16, 16], [0, 0]], np.float32),
        scale=np.array([[0.5, 0.5], [2, 2], [0, 0]], np.float32),
        id=np.array([1, 0, -1]),
    )
    found = Detections(
        boxes=np.array([[[5, 5, 15, 10], [0, 0, 8, 8]]] * 3, np.float32),
        scores=np.array([[0.75, 0.5]] * 3, np.float32),
        labels=np.array([[2, 0], [1, 2], [0, 0]]),
        valid=np.array([[True, True], [True, True], [True, False]]),
        masks=np.ones((3, 2, 7, 7), np.float32),
        keypoints=np.full((3, 2, 1, 3), 4.0, np.float32),
    )
    return batch, found


def test_an_evaluation_becomes_rows_in_the_data_sets_own_words(tmp_path):
    rows, (batch, found) = [], detected()
    metric = ToResults(Photos(), rows.extend)
    assert metric.result(metric.collect(metric.empty(), {"detections": found}, batch)) == {}
    named = [(row["image_id"], row["category_id"], row["bbox"], row["score"]) for row in rows]
    assert named == [
        (2**70, "dog-7", [10, 10, 20, 10], 0.75),
        (2**70, 90, [0, 0, 16, 16], 0.5),
        ("a1", "dog-7", [0, 0, 4, 4], 0.5),  # the owl is left out
    ]
    assert [row["keypoints"] for row in rows] == [[8, 8, 4], [8, 8, 4], [2, 2, 4]]
    assert [row["segmentation"]["size"] for row in rows] == [[40, 60], [40, 60], [16, 16]]
    mask = rle.decode(rows[1]["segmentation"]["counts"], 40, 60)
    assert mask[2:14, 2:14].all() and not mask[18:].any() and not mask[:, 18:].any()
    ids = [Photos().image_id(i) for i in range(3)]
    again = read_results(write(tmp_path, rows), ids, category_ids(Photos()))
    assert [one.labels.tolist() for one in again] == [[2], [2, 0], []]
    np.testing.assert_array_equal(again[1].boxes, [[10, 10, 30, 20], [0, 0, 16, 16]])


def test_classes_without_ids_are_counted_from_one():
    class Plain(Photos):
        category_ids = ()

    assert category_ids(Plain()) == [1, 2, 3]
