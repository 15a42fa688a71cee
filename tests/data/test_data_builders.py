"""The project's own builders: prepared and read without TensorFlow, from archives in the sets' own
raw format."""

import io
import json
import pathlib
import re
import tarfile
import zipfile

import no_tensorflow
import numpy as np
import pytest
import tensorflow_datasets as tfds
import tiny_archives
from PIL import Image
from pycocotools import mask as coco_mask

from vision_jax.data import (
    KEYPOINT_MIRROR,
    TFDS,
    Concat,
    Eval,
    RandomFlip,
    coco_json,
    prepare,
    run_lengths,
    voc_xml,
)

PREPARE = "import sys\nfrom vision_jax.data import prepare\nsys.exit(prepare.main(sys.argv[1:]))"
ALL = """
import sys
from vision_jax.data import prepare
for name in prepare.OWN:
    print(prepare.prepare(name, sys.argv[1], sys.argv[2]))
assert "tensorflow" not in sys.modules
"""
FIELDS = ("objects", "rle", "keypoints", "captions")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    for write in (tiny_archives.write_voc, tiny_archives.write_sbd, tiny_archives.write_coco):
        write(folder)
    return folder


@pytest.fixture(scope="module")
def data_dir(archives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    code, _, err = no_tensorflow.run(ALL, folder, archives)
    assert code == 0, err[-3000:]
    return str(folder)


def examples(source):
    return [source[i] for i in range(len(source))]


def test_names_are_not_those_of_tfds():
    """TFDS names a data set after its class, or after its folder in `datasets`."""
    root = pathlib.Path(tfds.__file__).parent
    code = "\n".join(p.read_text() for p in (root / "object_detection").glob("*.py"))
    classes = re.findall(r"^class (\w+)\(", code, re.M)
    official = {tfds.core.naming.camelcase_to_snakecase(name) for name in classes}
    official |= {path.name for path in (root / "datasets").iterdir()}
    assert {"voc", "coco", "pass"} <= official  # so that the look is at the right place
    for name in prepare.OWN:
        assert name in prepare.names() and name.partition("/")[0] not in official


@pytest.mark.parametrize("year", ["2007", "2012"])
def test_voc_comes_back_exactly(data_dir, year):
    for split in ("train", "validation") + ("test",) * (year == "2007"):
        source = TFDS(f"voc_objects/{year}", split, data_dir, fields=("objects",))
        (example,) = examples(source)
        # The annotation's integers, not what a quotient multiplies back to.
        assert example["boxes"].tolist() == [[10, 5, 60, 45], [1, 1, 20, 50]]
        assert example["boxes"].dtype == np.float32
        assert [source.classes[k] for k in example["labels"]] == ["dog", "person"]
        assert example["difficult"].tolist() == [False, True]
        assert example["truncated"].tolist() == [False, False]
        name = {"train": "train", "validation": "val", "test": "test"}[split]
        assert source.image_id(0) == f"{year}_{name}"
        assert source.describe(0).endswith(f"record 0 ({year}_{name}.jpg)")
        seed = {"train": 0, "validation": 1, "test": 0}[split]
        assert example["image"] == tiny_archives.jpeg(50, 100, seed=seed)
    raw = tfds.builder_from_directory(f"{data_dir}/voc_objects/{year}/1.0.0")
    assert list(raw.as_data_source("train")[0]["objects"]["pose"]) == [b"Left", b"Left"]
    assert len(source.classes) == 20 and source.classes == tuple(sorted(source.classes))


def test_07_and_12_are_one_source(data_dir):
    years = [
        TFDS(f"voc_objects/{year}", "train+validation", data_dir, fields=("objects",))
        for year in ("2007", "2012")
    ]
    both = Concat(tuple(years))
    ids = [both.image_id(i) for i in range(len(both))]
    assert ids == ["2007_train", "2007_val", "2012_train", "2012_val"]
    (batch,) = Eval(both, batch_size=4, max_boxes=3).batches()
    for boxes, valid in zip(batch.targets.boxes, batch.targets.valid, strict=True):
        assert boxes.tolist() == [[10, 5, 60, 45], [1, 1, 20, 50], [0, 0, 0, 0]]
        assert valid.tolist() == [True, True, False]
    assert batch.targets.difficult.tolist() == [[False, True, False]] * 4
    assert batch.size.tolist() == [[50, 100]] * 4 and batch.scale.tolist() == [[1, 1]] * 4


def test_coco_reaches_a_batch(data_dir):
    fields = ("objects", "rle", "keypoints")
    source = TFDS("coco_objects/2017", "validation", data_dir, fields=fields)
    assert source.category_ids[:3] == (1, 2, 3) and source.category_ids[79] == 90
    flip = RandomFlip(1.0, KEYPOINT_MIRROR)
    (batch,) = Eval(source, (flip,), batch_size=2, max_boxes=3).batches()
    targets = batch.targets
    assert targets.boxes[0, 0].tolist() == [8, 6, 24, 18]  # symmetric on 32 pixels
    assert targets.crowd[0].tolist() == [False, True, False] and targets.area[0, 0] == 150.5
    masks = run_lengths.decode(source[0]["rle"], 24, 32)
    np.testing.assert_array_equal(targets.masks[0, :2], masks[:, :, ::-1])
    # Nose; the right eye is where the left one was, mirrored.
    assert targets.keypoints[0, 0, 0].tolist() == [32, 1, 2]
    assert targets.keypoints[0, 0, 1].tolist() == [32 - 6, 7, 8]
    assert not targets.valid[1].any() and batch.valid.all()


def test_every_whole_number_survives(tmp_path):
    """Over all sizes that VOC has: float32 holds the numbers themselves."""
    numbers = np.arange(1, 501)
    assert (np.asarray(numbers, np.float32).astype(int) == numbers).all()
    xml = b"<annotation><object><name>cat</name><part><name>head</name><bndbox><xmin>1</xmin>"
    xml += b"</bndbox></part><bndbox><xmax>499</xmax><xmin>8.5</xmin><ymin>7</ymin>"
    xml += b"<ymax>375</ymax></bndbox></object></annotation>"
    (thing,) = voc_xml.objects(xml)
    assert thing.box == (8.5, 7, 499, 375) and thing.name == "cat" and not thing.difficult


def test_test_images_without_public_annotations_are_kept(data_dir):
    source = TFDS("voc_objects/2012", "test", data_dir, fields=("objects",))
    assert len(source) == 1 and source[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("config", ["2012", "2012_aug"])
def test_voc_segmentation(data_dir, config):
    source = TFDS(f"voc_segmentation/{config}", "validation", data_dir, fields=("segmentation",))
    assert source.classes[0] == "background" and len(source.classes) == 21
    assert len(source) == 1 and source.image_id(0) == "2012_val"
    labels = np.asarray(Image.open(io.BytesIO(source[0]["segmentation"])))
    np.testing.assert_array_equal(labels, tiny_archives.voc_labels(1))


def test_sbd_joins_and_validation_stays_out(data_dir):
    def read(split):
        source = TFDS("voc_segmentation/2012_aug", split, data_dir, fields=("segmentation",))
        labels = [np.asarray(Image.open(io.BytesIO(e["segmentation"]))) for e in examples(source)]
        return {source.image_id(i): label for i, label in enumerate(labels)}

    train, sbd = read("train"), read("sbd_train")
    assert list(train) == ["2008_sbd_a", "2008_sbd_b", "2012_train"]
    np.testing.assert_array_equal(train["2012_train"], tiny_archives.voc_labels(0))  # VOC's own
    np.testing.assert_array_equal(train["2008_sbd_a"], tiny_archives.voc_labels(5))
    np.testing.assert_array_equal(train["2008_sbd_b"], tiny_archives.voc_labels(7))
    assert list(sbd) == ["2008_sbd_a", "2012_train"]
    np.testing.assert_array_equal(sbd["2012_train"], tiny_archives.voc_labels(6))
    assert list(read("validation_less_sbd")) == ["2012_val"]


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_coco_loses_nothing(data_dir, year):
    for split in ("train", "validation"):
        source = TFDS(f"coco_objects/{year}", split, data_dir, fields=FIELDS)
        assert [source.image_id(i) for i in range(len(source))] == [7, 9]
        full, empty = source[0], source[1]
        assert full["boxes"].tolist() == [[8, 6, 24, 18], [0, 0, 32, 24]]
        assert full["category_ids"].tolist() == [3, 90] and full["labels"].tolist() == [2, 79]
        assert full["crowd"].tolist() == [False, True] and full["area"].tolist() == [150.5, 700]
        assert full["captions"] == tiny_archives.CAPTIONS and empty["captions"] == []
        assert full["keypoints"][0].ravel().tolist() == list(range(51))
        assert not full["keypoints"][1].any()
        masks = run_lengths.decode(full["rle"], 24, 32)
        rles = coco_mask.frPyObjects(tiny_archives.POLYGONS, 24, 32)
        np.testing.assert_array_equal(masks[0], coco_mask.decode(coco_mask.merge(rles)))
        crowd = np.zeros((24, 32), np.uint8)
        crowd[3:13, 4] = 1
        np.testing.assert_array_equal(masks[1], crowd)
        assert empty["boxes"].shape == (0, 4) and empty["keypoints"].shape == (0, 17, 3)
        assert source.classes[:3] == ("person", "bicycle", "car") and len(source.classes) == 80


def test_two_decimals_survive_in_float32():
    """COCO writes x, y, w, h with two decimals; corners in float32 give them back."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 64000, (2, 20000)) / 100
    w, h = rng.integers(1, 64000, (2, 20000)) / 100
    annotations = [{"bbox": [*box], "category_id": 1} for box in np.stack([x, y, w, h], 1).tolist()]
    found = coco_json.objects(annotations, 10, 10, masks=False).boxes.astype(float)
    back = np.round(np.concatenate([found[:, :2], found[:, 2:] - found[:, :2]], 1), 2)
    np.testing.assert_array_equal(back, np.stack([x, y, w, h], 1))


def test_missing_archives_are_listed(tmp_path):
    code, out, err = no_tensorflow.run(PREPARE, "coco_objects/2017", "--data_dir", tmp_path)
    assert (code, out) == (2, "")
    assert err == (
        "error: coco_objects/2017: put train2017.zip and val2017.zip and "
        f"annotations_trainval2017.zip into {tmp_path}/downloads/manual\n"
    )


def test_a_damaged_archive_takes_one_line(archives, tmp_path):
    for file in archives.iterdir():
        (tmp_path / file.name).symlink_to(file)
    cut = tmp_path / "val2017.zip"
    cut.unlink()
    cut.write_bytes((archives / "val2017.zip").read_bytes()[:-30])
    arguments = (f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}")
    code, _, err = no_tensorflow.run(PREPARE, "coco_objects/2017", *arguments)
    last = err.splitlines()[-1]
    assert code == 2 and last == "error: coco_objects/2017: BadZipFile: File is not a zip file"
    assert not list((tmp_path / "data").glob("coco_objects/2017/1.0.0"))


def test_annotations_that_make_no_sense_name_the_image(archives, tmp_path):
    for file in archives.iterdir():
        (tmp_path / file.name).symlink_to(file)
    for old in ("annotations_trainval2017.zip", "VOCtrainval_11-May-2012.tar"):
        (tmp_path / old).unlink()
    with zipfile.ZipFile(archives / "annotations_trainval2017.zip") as files:
        documents = {name: json.loads(files.read(name)) for name in files.namelist()}
    documents["annotations/instances_val2017.json"]["annotations"][1]["bbox"] = [1, 2, 3]
    texts = {name: json.dumps(document) for name, document in documents.items()}
    tiny_archives.zip_of(texts, tmp_path / "annotations_trainval2017.zip")
    with tarfile.open(archives / "VOCtrainval_11-May-2012.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    del members["VOCdevkit/VOC2012/JPEGImages/2012_val.jpg"]
    tiny_archives.tar_of(members, path=tmp_path / "VOCtrainval_11-May-2012.tar")
    for name, message in (
        ("coco_objects/2017", "instances_val2017.json, 000000000007.jpg: annotation 2: bbox is"),
        ("voc_objects/2012", "VOCtrainval_11-May-2012.tar has no JPEGImages/2012_val.jpg"),
    ):
        with pytest.raises(prepare.UserError, match=message):
            prepare.prepare(name, tmp_path / "data", tmp_path)
