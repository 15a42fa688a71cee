"""The files of predictions: one for each picture, written as they come, complete at the end."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.report.answers import Answers

RED = Image.fromarray(np.full((32, 48, 3), (250, 20, 20), np.uint8))


def told(folder):
    return json.loads((folder / "predictions.json").read_text())["predictions"]


def test_each_picture_has_a_file_of_its_own(tmp_path):
    names = ["x.1.jpg", "x_1.jpg", "x.1.png", "sub/x.1.jpg", "x.1.jpg.labels.png"]
    with Answers(tmp_path, "run, step 3") as answers:
        for name in names:
            pictures = {"picture": RED, "labels": RED.convert("L")}
            answers.add(name, {"file": name, "text": "cat"}, pictures, rate=None)
    files = [answer[kind] for answer in told(tmp_path) for kind in ("picture", "labels")]
    assert len(set(files)) == 10
    assert {str(file) for file in tmp_path.rglob("*.png")} == set(files)


def test_answers_are_there_as_they_come_and_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), Answers(tmp_path, "run") as answers:
        answers.add("a.jpg", {"file": "a.jpg", "text": "cat"}, {"picture": RED}, None)
        lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
        assert [json.loads(line)["file"] for line in lines] == ["a.jpg"]
        raise RuntimeError
    assert [answer["file"] for answer in told(tmp_path)] == ["a.jpg"]


def test_frames_become_a_video(tmp_path):
    with Answers(tmp_path, "run") as answers:
        for name in ("a.mp4", "b.mp4"):
            for number in range(3):
                answer = {"file": name, "frame": number, "text": "cat"}
                pictures = {"picture": RED, "labels": RED.convert("L")}
                answers.add(name, answer, pictures, rate=5.0)
    for name in ("a.mp4.mp4", "b.mp4.mp4"):
        video = cv2.VideoCapture(str(tmp_path / name))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and video.get(cv2.CAP_PROP_FPS) == 5
        _, frame = video.read()
        np.testing.assert_allclose(frame[:, :, ::-1].mean((0, 1)), (250, 20, 20), atol=8)
        video.release()
    assert (tmp_path / "a.mp4.000002.labels.png").is_file()


def test_objects_become_a_results_file(tmp_path):
    objects = [
        {"label": 1, "class": "dog", "score": 0.5, "box": [1.0, 2.0, 11.0, 22.0]},
        {"label": 0, "class": "cat", "score": 0.25, "box": [0.0, 0.0, 5.5, 5.0]},
    ]
    objects[1]["mask"] = {"size": [32, 48], "counts": "abc"}
    objects[1]["keypoints"] = [[1.0, 2.0, 0.5], [3.0, 4.0, 0.25]]
    with Answers(tmp_path, "run") as answers:
        answers.add("d/a.jpg", {"file": "/x/d/a.jpg", "objects": objects}, {"picture": RED}, None)
        answer = {"file": "/x/v.mp4", "frame": 4, "objects": objects[:1]}
        answers.add("v.mp4", answer, {"picture": RED}, 5.0)
        rows = json.loads(answers.write_results().read_text())
    first = {"image_id": "d/a.jpg", "category_id": 2, "bbox": [1, 2, 10, 20], "score": 0.5}
    assert rows[0] == first and rows[2] == {**first, "image_id": "v.mp4#4"}
    assert rows[1] == {
        "image_id": "d/a.jpg",
        "category_id": 1,
        "bbox": [0, 0, 5.5, 5],
        "score": 0.25,
        "segmentation": {"size": [32, 48], "counts": "abc"},
        "keypoints": [1, 2, 0.5, 3, 4, 0.25],
    }


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        Answers(tmp_path / "file", "run")
    with Answers(tmp_path / "out", "run") as answers:
        answers.add("a.jpg", {"file": "a.jpg", "top": []}, {"picture": RED}, None)
        with pytest.raises(UserError, match="only detectors"):
            answers.write_results()
