"""A prepared data set whose JSON files were copied in part, or not at all."""

import json
import shutil

import pytest

from vision_jax.config import UserError
from vision_jax.data import TFDS, convert, prepare

NAME = "shapes/det64"
INFO, FEATURES = "dataset_info.json", "features.json"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    prepare.prepare(NAME, str(folder))
    return folder


@pytest.fixture
def copy(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "d")
    return tmp_path / "d"


def version(folder):
    return folder / NAME / "1.0.0"


def opened(folder):
    source = TFDS(NAME, "train", str(folder), fields=("objects",))
    return source.classes, source[0]


@pytest.mark.parametrize("file", [INFO, FEATURES])
@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "half", b"\xff\xfe{"])
def test_cut_files_are_named(copy, file, content):
    path = version(copy) / file
    text = path.read_text()
    content = text[: len(text) // 2] if content == "half" else content
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=file) as caught:
        opened(copy)
    assert "\n" not in str(caught.value) and "prepare" in str(caught.value)


@pytest.mark.parametrize("file", [INFO, FEATURES])
def test_missing_files_are_named(copy, file):
    (version(copy) / file).unlink()
    with pytest.raises(UserError, match=file):
        opened(copy)
    assert (version(copy) / "shapes-train.array_record-00000-of-00001").is_file()


@pytest.mark.parametrize(
    ("file", "key"),
    [
        (INFO, "name"),
        (INFO, "splits"),
        (INFO, "version"),
        (FEATURES, "featuresDict"),
        (FEATURES, "pythonClassName"),
    ],
)
@pytest.mark.parametrize("gone", [True, False])
def test_missing_keys_take_one_line(copy, file, key, gone):
    path = version(copy) / file
    tree = json.loads(path.read_text())
    path.write_text(
        json.dumps({k: v for k, v in tree.items() if k != key} if gone else tree | {key: None})
    )
    with pytest.raises(UserError, match=NAME) as caught:
        opened(copy)
    assert "\n" not in str(caught.value)


def test_class_names_that_are_lost(copy):
    for path in version(copy).glob("*labels.txt"):
        path.write_text("")
    with pytest.raises(UserError, match=r"labels.txt: it is empty"):
        opened(copy)


@pytest.mark.parametrize("content", ["[]", '{"splits": 5}', '{"splits": [{"name": "train"}]}'])
def test_convert_names_damaged_metadata(tmp_path, content):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / INFO).write_text(content)
    (tmp_path / "v" / FEATURES).write_text("{}")
    with pytest.raises(UserError, match=r"dataset_info.json lacks what TFDS wrote"):
        convert.convert(tmp_path / "v", tmp_path / "out")
