"""What damaged inputs brought to light, kept as cases of their own."""

import io
import json
import zipfile

import numpy as np
import pytest

from tests.fuzz import formats_run
from vision_jax import report
from vision_jax.config import UserError
from vision_jax.evaluation.results_file import read_results
from vision_jax.training import Checkpoints, signature

DEEP = '{"a":' * 50_000


@pytest.mark.parametrize("notes", ["3", "[]", '{"item_handlers": 1.5}', "", DEEP])
def test_orbaxs_notes_on_a_checkpoint_may_be_damaged(tmp_path, notes):
    formats_run.write_checkpoint(tmp_path, None)
    (tmp_path / "checkpoints" / "00000002" / "_CHECKPOINT_METADATA").write_text(notes)
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric="eval/top1")
    state, meta = checkpoints.restore(formats_run._state(0))
    checkpoints.close()
    assert int(state["step"]) == 2 and meta == {"evaluated": True}
    expected = formats_run._state(2)["params"]["a"]["kernel"]
    np.testing.assert_array_equal(state["params"]["a"]["kernel"], expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DEEP, "is no JSON"),
        (
            json.dumps([{"image_id": "x" * 5000, "category_id": 1, "bbox": [0] * 4, "score": 1}]),
            "xx…",
        ),
        (
            json.dumps([{"image_id": 1, "category_id": "\x1b[2J", "bbox": [0] * 4, "score": 1}]),
            "2J",
        ),
    ],
)
def test_a_results_file_is_refused_in_one_short_line(tmp_path, text, words):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=words) as error:
        read_results(str(tmp_path / "r.json"), [1], [1])
    assert str(error.value).isprintable() and len(str(error.value)) < 400


@pytest.mark.parametrize("name", ["config.json", signature.FILE])
def test_deep_json_in_a_run_folder_is_named(tmp_path, name):
    formats_run.write_folder(tmp_path, None)
    (tmp_path / name).write_text(DEEP)
    read = signature.read_config if name == "config.json" else signature.read
    with pytest.raises(UserError, match="is damaged") as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "arrays"),
    [
        ("confusion", {"matrix": np.zeros(3)}),
        ("confusion", {"classes": np.array(["a"])}),
        ("per_class", {"classes": np.array(["a", "b"]), "ap": np.array([1.0])}),
        ("precision_recall", {"precision": np.zeros(()), "classes": np.array(["a"])}),
        ("predictions", {**formats_run.ARRAYS["predictions"], "label": np.array(["a", "b"])}),
        ("curves", {"curve/x": np.zeros((2, 3))}),
        ("data", {**formats_run.ARRAYS["data"], "counts": np.zeros((1, 3), int)}),
    ],
)
def test_arrays_that_do_not_fit_are_left_out_of_the_page_and_named(tmp_path, name, arrays):
    formats_run.write_folder(tmp_path, None)
    report.save_arrays(tmp_path, name, arrays)
    text = report.write_report(tmp_path).read_text()
    assert f"Left out: {tmp_path}/arrays/{name}.npz is damaged" in text
    assert text.count("Left out") == 1 and "Made with" in text


def test_a_member_that_is_no_array_is_named(tmp_path):
    formats_run.write_folder(tmp_path, None)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("matrix", b"no array")
    (tmp_path / "arrays" / "confusion.npz").write_bytes(buffer.getvalue())
    assert "Left out" in report.write_report(tmp_path).read_text()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("DONE", {"metrics": [1, 2]}),
        ("DONE", {"metrics": {"eval/top1": [1], "eval/x": "text", "eval/y": 10**400}}),
        ("versions.json", {"command": {"a": 1}, "packages": [1], "commit": 5}),
        ("evaluation.json", {"weights": {"a": 1}, "metrics": "none"}),
        ("config.json", {"expect": {"metric": {}, "value": "x"}, "task": [1], "init": "x"}),
        ("config.json", {"expect": [1], "best": [1]}),
    ],
)
def test_values_of_other_types_do_no_harm_to_the_page(tmp_path, file, content):
    formats_run.write_folder(tmp_path, None)
    (tmp_path / file).write_text(json.dumps(content))
    assert "Curves" in report.write_report(tmp_path).read_text()
