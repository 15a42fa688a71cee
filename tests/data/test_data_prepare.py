import os
import subprocess
import sys
from pathlib import Path

import no_tensorflow
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_archives

from vision_jax.config import UserError
from vision_jax.data import convert, prepare

SHRINK = """
import os, signal, sys, time
from vision_jax.data import prepare, shapes
for config in shapes.CONFIGS:
    config.train, config.validation = 30, 10
draw, drawn = shapes.example, []
"""


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The data_dir in which the real builders prepared all official data sets; and the errors."""
    archives, data_dir = tmp_path_factory.mktemp("archives"), tmp_path_factory.mktemp("data")
    tiny_archives.write_all(archives)
    done = subprocess.run(
        [sys.executable, tiny_archives.__file__, archives, data_dir],
        env=os.environ | {"PYTHONPATH": str(no_tensorflow.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return data_dir, done.stderr


def read(official, name, split):
    """All records of a split, sorted by what names them; read without TensorFlow."""
    assert "tensorflow" not in sys.modules
    (folder,) = (official[0] / name).glob("*.*.*")
    source = tfds.builder_from_directory(folder).as_data_source(split)
    return [source[i] for i in range(len(source))]


def same_images(records, expected):
    found = sorted(r["image"].tobytes() for r in records)
    return found == sorted(image.tobytes() for image in expected)


def test_cifar10(official):
    train, test = read(official, "cifar10", "train"), read(official, "cifar10", "test")
    assert same_images(test, tiny_archives.images(4, 32, 32, seed=6))
    pixels = np.concatenate([tiny_archives.images(4, 32, 32, seed=k) for k in range(1, 6)])
    assert same_images(train, pixels)
    label = {r["image"].tobytes(): r["label"] for r in train}
    assert label[pixels[5].tobytes()] == 3  # the second image of the second batch


def test_cifar100(official):
    train = read(official, "cifar100", "train")
    assert same_images(train, tiny_archives.images(4, 32, 32, seed=7))
    labels = sorted((r["coarse_label"], r["label"]) for r in train)
    assert labels == [(1, 10), (2, 20), (3, 30), (4, 99)]


def test_mnist(official):
    assert len(read(official, "mnist", "train")) == 6
    test = read(official, "mnist", "test")
    pixels = tiny_archives.images(3, 28, 28, 1, seed=3)
    assert same_images(test, pixels)
    assert {r["label"]: r["image"].tobytes() for r in test}[2] == pixels[2].tobytes()


def test_imagenet2012(official):
    train = {r["file_name"].decode(): r for r in read(official, "imagenet2012", "train")}
    assert {name: r["label"] for name, r in train.items()} == {
        "n01440764_0.JPEG": 0,
        "n01440764_1.JPEG": 0,
        "n01443537_0.JPEG": 1,
        "n01443537_1.JPEG": 1,
    }
    assert train["n01440764_0.JPEG"]["image"].shape == (24, 32, 3)
    val = {
        r["file_name"].decode(): r["label"] for r in read(official, "imagenet2012", "validation")
    }
    # ILSVRC2012's own first labels: a sea snake, an alp, a Shetland sheepdog.
    assert val == {
        "ILSVRC2012_val_00000001.JPEG": 65,
        "ILSVRC2012_val_00000002.JPEG": 970,
        "ILSVRC2012_val_00000003.JPEG": 230,
    }


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_voc(official, year):
    for split in ("train", "validation"):
        (record,) = read(official, f"voc/{year}", split)
        objects = record["objects"]
        assert record["image"].shape == (50, 100, 3)
        # ymin, xmin, ymax, xmax over the size; VOC's coordinates count from one and stay so.
        boxes = [[0.1, 0.1, 0.9, 0.6], [0.02, 0.01, 1.0, 0.2]]
        np.testing.assert_allclose(objects["bbox"], boxes, rtol=1e-6)
        assert list(objects["label"]) == [11, 14]  # dog, person
        assert list(objects["is_difficult"]) == [False, True]
        assert list(record["labels_no_difficult"]) == [11]
    (test,) = read(official, f"voc/{year}", "test")
    assert len(test["objects"]["label"]) == (2 if year == "2007" else 0)


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco(official, year):
    for split in ("train", "validation"):
        full, empty = sorted(read(official, f"coco/{year}", split), key=lambda r: r["image/id"])
        objects = full["objects"]
        boxes = [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]]
        np.testing.assert_array_equal(objects["bbox"], boxes)
        assert list(objects["label"]) == [2, 79]
        assert list(objects["is_crowd"]) == [False, True]
        assert list(objects["area"]) == [150, 700]
        assert list(empty["objects"]["bbox"]) == []


def test_archive_with_a_wrong_checksum_is_refused(official):
    lines = [line for line in official[1].splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "cifar10" in lines[0] and "wrong checksum" in lines[0]


def test_real_tfrecord_files_convert(official, tmp_path):
    (folder,) = (official[0] / "tfrecord" / "cifar10").glob("*.*.*")
    out = tmp_path / folder.name
    assert convert.convert(folder, out) == 24
    source = tfds.builder_from_directory(out).as_data_source("train")
    for converted, record in zip(source, read(official, "cifar10", "train"), strict=True):
        assert converted["id"] == record["id"]
        np.testing.assert_array_equal(converted["image"], record["image"])


def test_folder_in_tfrecord_format_is_not_taken_for_prepared(official):
    with pytest.raises(UserError, match=r"holds tfrecord, not array_record; .*data\.convert"):
        prepare.prepare("cifar10", official[0] / "tfrecord")


def test_two_processes_prepare_at_once(tmp_path):
    script = SHRINK + (
        "def slow(*a):\n"
        "    drawn.append(a)\n"
        "    time.sleep(0.01)\n"
        "    return draw(*a)\n"
        "shapes.example = slow\n"
        "print(prepare.prepare('shapes/cls32', sys.argv[1]), len(drawn))\n"
    )
    children = [no_tensorflow.start(script, tmp_path) for _ in range(2)]
    ends = [(*child.communicate(timeout=120), child.returncode) for child in children]
    assert [(err, code) for _, err, code in ends] == [("", 0)] * 2
    folders, counts = zip(*[out.split() for out, _, _ in ends], strict=True)
    assert folders[0] == folders[1] and sorted(counts) == ["0", "40"]  # one drew, one waited
    assert len(tfds.builder_from_directory(folders[0]).as_data_source("train")) == 30


def test_killed_preparation_leaves_nothing_that_looks_ready(tmp_path):
    script = SHRINK + (
        "def deadly(*a):\n"
        "    drawn.append(a)\n"
        "    if len(drawn) == 35: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return draw(*a)\n"
        "if sys.argv[2] == 'kill': shapes.example = deadly\n"
        "print(prepare.prepare('shapes/cls32', sys.argv[1]))\n"
    )
    parent = tmp_path / "shapes" / "cls32"
    assert no_tensorflow.run(script, tmp_path, "kill")[0] == -9
    assert [p.name.startswith("incomplete.") for p in parent.iterdir()] == [True]
    code, out, err = no_tensorflow.run(script, tmp_path, "live")
    assert (code, err) == (0, "") and Path(out.strip()) == parent / "1.0.0"
    assert [p.name for p in parent.iterdir()] == ["1.0.0"]


def test_without_tensorflow_the_error_names_the_requirements(tmp_path):
    script = "import sys\nfrom vision_jax.data import prepare\nsys.exit(prepare.main(sys.argv[1:]))"
    code, out, err = no_tensorflow.run(script, "coco/2017", "--data_dir", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        "error: preparing coco/2017 needs TensorFlow: pip install -r requirements-prepare.txt\n"
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["shapes/cls23"], "unknown data set 'shapes/cls23' - did you mean shapes/cls32?"),
        (["imagnet2012"], "unknown data set 'imagnet2012' - did you mean imagenet2012?"),
        ([], "name a data set, such as shapes/cls32; --list shows them"),
        (
            ["imagenet2012", "--manual_dir=/nowhere"],
            "imagenet2012: put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into /nowhere",
        ),
        (["mnist", "--data_dir=/dev/null/x"], "data_dir /dev/null/x cannot be written"),
    ],
)
def test_mistakes_take_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert prepare.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and err.count("\n") == 1


def test_unreachable_host_names_the_archives(tmp_path, monkeypatch, capsys):
    def unknown(host, port):
        raise OSError("Name or service not known")

    monkeypatch.setattr(prepare.socket, "getaddrinfo", unknown)
    assert prepare.main(["cifar10", f"--data_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        "error: cifar10: cannot be downloaded (www.cs.toronto.edu is not reachable); "
        f"put cifar-10-binary.tar.gz into {tmp_path}/downloads/manual\n"
    )


def test_list_names_everything(capsys):
    assert prepare.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == prepare.names() and {"shapes/hard", "coco/2017"} < set(listed)
