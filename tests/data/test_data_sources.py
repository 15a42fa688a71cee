"""Reading prepared data sets, without TensorFlow, and what is said about those that are not."""

import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import TFDS, Digits, Eval, RecordError, prepare

ROOT = pathlib.Path(__file__).parent.parent.parent
BOXES = [  # xmin, ymin, xmax, ymax over the size; class; difficult
    [(0.1, 0.2, 0.5, 0.6), 1, False],
    [(0.0, 0.0, 1.0, 1.0), 2, True],
]


def photo(i):
    """(12 + i) × 20 pixels of a gradient."""
    y, x = np.mgrid[: 12 + i, :20]
    return np.stack([8 * x, 9 * y, 10 * i + 0 * x], -1).astype(np.uint8)


def encoded(pixels, kind):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


class TinyScenes(tfds.core.GeneratorBasedBuilder):
    """Photos of different sizes with objects; record 3 is cut short."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        label = tfds.features.ClassLabel(names=["cat", "dog", "hen"])
        objects = {
            "bbox": tfds.features.BBoxFeature(),
            "label": label,
            "is_difficult": np.bool_,
            "rle": tfds.features.Text(),
            "keypoints": tfds.features.Tensor(shape=(2, 3), dtype=np.float32),
        }
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "file_name": tfds.features.Text(),
            "label": label,
            "coarse_label": tfds.features.ClassLabel(names=["beast", "bird"]),
            "objects": tfds.features.Sequence(objects),
            "segmentation": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "captions": tfds.features.Sequence(tfds.features.Text()),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(2)}

    def _generate_examples(self, count):
        for i in range(count):
            data = encoded(photo(i), "JPEG")
            objects = [
                {
                    "bbox": tfds.features.BBox(ymin=b[1], xmin=b[0], ymax=b[3], xmax=b[2]),
                    "label": label,
                    "is_difficult": difficult,
                    "rle": b"0123",
                    "keypoints": np.arange(6, dtype=np.float32).reshape(2, 3),
                }
                for b, label, difficult in BOXES
            ]
            yield (
                i,
                {
                    "image": io.BytesIO(data[:300] if i == 3 else data),
                    "file_name": f"photo_{i}.jpg",
                    "label": i % 3,
                    "coarse_label": i % 2,
                    "objects": [] if i == 1 else objects,
                    "segmentation": io.BytesIO(encoded(photo(i)[..., 0], "PNG")),
                    "captions": ["a photo", f"number {i}"],
                },
            )


class TinyDigits(tfds.core.GeneratorBasedBuilder):
    """Gray images of one size."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(5, 4, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(20):
            data = encoded(np.full((5, 4), 10 * i, np.uint8), "PNG")
            yield i, {"image": io.BytesIO(data), "label": i % 10}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    tfds.disable_progress_bar()
    for builder in (TinyScenes, TinyDigits):
        builder(data_dir=folder).download_and_prepare(file_format="array_record")
    return str(folder)


def test_label_source(data_dir):
    source = TFDS("tiny_scenes", "train", data_dir)
    assert len(source) == 5 and source.classes == ("cat", "dog", "hen")
    example = source[2]
    assert example.keys() == {"image", "label"} and example["label"] == 2
    assert example["image"] == encoded(photo(2), "JPEG")
    assert source.arrays() is None
    assert source.describe(2) == "tiny_scenes train record 2 (photo_2.jpg)"


def test_other_label(data_dir):
    source = TFDS("tiny_scenes", "train", data_dir, label_key="coarse_label")
    assert source.classes == ("beast", "bird")
    assert [source[i]["label"] for i in range(5)] == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("split", "labels"),
    [("train[:40%]", [0, 1]), ("train[3:]", [0, 1]), ("test+train[:1]", [0, 1, 0])],
)
def test_parts_of_splits(data_dir, split, labels):
    source = TFDS("tiny_scenes", split, data_dir)
    assert [source[i]["label"] for i in range(len(source))] == labels


def test_objects_become_pixels(data_dir):
    fields = ("label", "objects", "rle", "keypoints", "segmentation", "captions")
    source = TFDS("tiny_scenes", "train", data_dir, fields=fields)
    example = source[2]
    height, width = photo(2).shape[:2]
    for (x0, y0, x1, y1), box in zip([b[0] for b in BOXES], example["boxes"], strict=True):
        np.testing.assert_allclose(box, [x0 * width, y0 * height, x1 * width, y1 * height])
    assert example["boxes"].dtype == np.float32
    assert example["labels"].tolist() == [1, 2] and example["labels"].dtype == np.int32
    assert example["difficult"].tolist() == [False, True]
    assert "crowd" not in example and "area" not in example
    assert example["rle"] == [b"0123", b"0123"]
    assert example["keypoints"].shape == (2, 2, 3) and example["keypoints"][1, 1, 2] == 5
    assert example["segmentation"] == encoded(photo(2)[..., 0], "PNG")
    assert example["captions"] == ["a photo", "number 2"]
    empty = source[1]
    assert empty["boxes"].shape == (0, 4) and empty["labels"].shape == (0,)
    assert empty["difficult"].dtype == bool and empty["keypoints"].shape == (0, 2, 3)


def test_multilabel_leaves_difficult_objects_out(data_dir):
    source = TFDS("tiny_scenes", "train", data_dir, fields=("multilabel",))
    assert source.classes == ("cat", "dog", "hen")
    assert source[0]["label"].tolist() == [0, 1, 0] and source[1]["label"].tolist() == [0, 0, 0]
    assert source[0]["label"].dtype == np.float32
    batches = list(Eval(TFDS("tiny_digits", "train", data_dir), batch_size=8).batches())
    assert batches[0].targets.label.dtype == np.int32


def test_small_images_come_decoded_and_all_at_once(data_dir):
    source = TFDS("tiny_digits", "train", data_dir)
    assert source.classes == tuple("0123456789")
    pixels = source[7]["image"]
    assert pixels.shape == (5, 4, 1) and pixels.dtype == np.uint8 and (pixels == 70).all()
    arrays = source.arrays()
    assert arrays["image"].shape == (20, 5, 4, 1) and arrays["image"].dtype == np.uint8
    for i in range(20):
        np.testing.assert_array_equal(arrays["image"][i], source[i]["image"])
        assert arrays["label"][i] == source[i]["label"]
    assert arrays["label"].dtype == np.int32
    assert TFDS("tiny_digits", "train", data_dir, cache_mb=0).arrays() is None


def test_sources_are_picklable(data_dir):
    source = TFDS("tiny_digits", "train[:5]", data_dir)
    source.arrays()
    text = pickle.dumps(source)
    assert len(text) < 1000  # no images in it
    again = pickle.loads(text)
    assert again == source and len(again) == 5 and again[4]["label"] == 4


def test_a_damaged_image_is_named(data_dir):
    source = TFDS("tiny_scenes", "train", data_dir)
    message = r"tiny_scenes train record 3 \(photo_3.jpg\): .*truncated or corrupt JPEG, 300 bytes"
    with pytest.raises(RecordError, match=message):
        list(Eval(source, batch_size=5, threads=0).batches())


def test_a_damaged_file_is_named(data_dir, tmp_path):
    """A shard that lost its end: every record is either right or an error, never silently lost."""
    source = pathlib.Path(data_dir) / "tiny_scenes/1.0.0"
    folder = tmp_path / "tiny_scenes/1.0.0"
    folder.mkdir(parents=True)
    for file in source.iterdir():
        content = file.read_bytes()
        if "train.array_record" in file.name:
            content = content[: len(content) // 2]
        (folder / file.name).write_bytes(content)
    broken, whole = (TFDS("tiny_scenes", "train", str(d)) for d in (tmp_path, data_dir))
    failed = 0
    for i in range(len(whole)):
        try:
            assert broken[i] == whole[i]
        except RecordError as error:
            assert f"tiny_scenes train record {i}" in str(error)
            failed += 1
    assert failed


def test_newest_version_or_the_one_asked_for(data_dir, tmp_path):
    source = pathlib.Path(data_dir) / "tiny_digits/1.2.0"
    for version in ("1.2.0", "1.10.0", "incomplete.3"):
        folder = tmp_path / "tiny_digits" / version
        folder.mkdir(parents=True)
        for file in source.iterdir():
            content = file.read_bytes()
            if file.name == "dataset_info.json":
                content = content.replace(b"1.2.0", version.encode())
            (folder / file.name).write_bytes(content)
    newest = TFDS("tiny_digits", "train", str(tmp_path))
    assert str(newest._builder.version) == "1.10.0"
    asked = TFDS("tiny_digits:1.2.0", "train", str(tmp_path))
    assert str(asked._builder.version) == "1.2.0"


def test_what_is_not_prepared(tmp_path, monkeypatch):
    command = f"python -m vision_jax.data.prepare imagenet2012 --data_dir {tmp_path}"
    with pytest.raises(UserError, match=f"'imagenet2012' is not prepared in .*run: {command}"):
        TFDS("imagenet2012", "train", str(tmp_path))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match=r"is not prepared in .*elsewhere"):
        TFDS("imagenet2012", "train")


def test_embedded_sets_are_prepared_on_demand(data_dir, tmp_path, monkeypatch):
    asked = []

    def stand_in(name, folder):
        asked.append((name, folder))
        target = pathlib.Path(folder) / name
        target.parent.mkdir(parents=True)
        target.symlink_to(pathlib.Path(data_dir) / "tiny_digits")

    monkeypatch.setattr(prepare, "prepare", stand_in)
    source = TFDS("shapes/cls32", "train", str(tmp_path))
    assert asked == [("shapes/cls32", str(tmp_path))] and len(source) == 20
    TFDS("shapes/cls32", "train", str(tmp_path))
    assert len(asked) == 1


def test_tfrecord_names_the_conversion(data_dir, tmp_path):
    folder = tmp_path / "tiny_digits/1.2.0"
    folder.mkdir(parents=True)
    info = json.loads((pathlib.Path(data_dir) / "tiny_digits/1.2.0/dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    command = f"python -m vision_jax.data.convert {folder}.old {folder}"
    with pytest.raises(UserError, match=f"not in array_record format; run: .*{command}") as caught:
        TFDS("tiny_digits", "train", str(tmp_path))
    assert "\n" not in str(caught.value)


def test_wrong_splits_and_fields(data_dir):
    with pytest.raises(UserError, match=r"'tiny_digits', split 'trian': .*train") as caught:
        TFDS("tiny_digits", "trian", data_dir)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="'boxes' is unknown - did you mean"):
        TFDS("tiny_digits", "train", data_dir, fields=("boxes",))
    with pytest.raises(UserError, match="has no 'objects/bbox' - it has: image, label"):
        TFDS("tiny_digits", "train", data_dir, fields=("objects",))
    with pytest.raises(UserError, match="has no 'fine' - it has: image, label"):
        TFDS("tiny_digits", "train", data_dir, label_key="fine")
    with pytest.raises(UserError, match="choose one of 'label' and 'multilabel'"):
        TFDS("tiny_scenes", "train", data_dir, fields=("label", "multilabel"))


@pytest.mark.parametrize("installed", [True, False])
def test_tensorflow_is_never_imported(data_dir, installed):
    """Batches come without TensorFlow where it is absent, and where its import would fail."""
    code = f"""
        import importlib.abc
        import importlib.machinery
        import sys

        class Refuse(importlib.abc.Loader):
            def exec_module(self, module):
                raise ImportError("TensorFlow is not to be imported")

        class Finder(importlib.machinery.PathFinder):
            @classmethod
            def find_spec(cls, name, path=None, target=None):
                if name.split(".")[0] == "tensorflow":
                    found = importlib.machinery.ModuleSpec(name, Refuse())
                    return found if {installed} else None
                return super().find_spec(name, path, target)

        sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = Finder

        from vision_jax import data

        source = data.TFDS("tiny_digits", "train", {data_dir!r})
        small = next(data.Train(source, batch_size=4).batches(0, 0))
        fields = ("multilabel",)
        scenes = data.TFDS("tiny_scenes", "test", {data_dir!r}, fields=fields)
        large = next(data.Train(scenes, (data.RandomResizedCrop(8),), 4).batches(0, 0))
        print(small.image.shape, large.image.shape, "tensorflow" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "(4, 5, 4, 1) (4, 8, 8, 3) False\n", done.stderr
    assert done.stderr == ""


def test_importing_the_room_is_light():
    code = "import sys; import vision_jax.data; print([m for m in sys.modules if m in %r])"
    heavy = ("tensorflow", "tensorflow_datasets", "grain", "matplotlib", "sklearn")
    done = subprocess.run(
        [sys.executable, "-c", code % (heavy,)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "[]\n"


def test_digits():
    train, held_out = Digits("train"), Digits("validation")
    assert (len(train), len(held_out)) == (1437, 360)
    image = train.arrays()["image"]
    assert image.shape == (1437, 8, 8, 1) and image.dtype == np.uint8
    assert image.min() == 0 and image.max() == 255
    assert train[3]["label"] == 3 and train.classes[3] == "3"
    assert set(held_out.arrays()["label"].tolist()) == set(range(10))
    np.testing.assert_array_equal(train[5]["image"], image[5])
    # No image is in both.
    seen = {picture.tobytes() for picture in image}
    assert not seen & {picture.tobytes() for picture in held_out.arrays()["image"]}


def test_digits_sizes_channels_and_parts():
    large = Digits("validation", size=32, channels=3).arrays()["image"]
    assert large.shape == (360, 32, 32, 3)
    np.testing.assert_array_equal(large[..., 0], large[..., 2])
    small = Digits("validation").arrays()["image"]
    np.testing.assert_allclose(large.mean(), small.mean(), rtol=0.02)
    whole = Digits("train").arrays()["label"]
    for split, part in (
        ("train[:64]", whole[:64]),
        ("train[-7:]", whole[-7:]),
        ("train[10:20]", whole[10:20]),
        ("train[90%:]", whole[1293:]),
    ):
        np.testing.assert_array_equal(Digits(split).arrays()["label"], part)


def test_digits_mistakes():
    with pytest.raises(UserError, match="digits has no split 'test' - "):
        Digits("test")
    with pytest.raises(UserError, match=r"the split 'train\[5:5\]' is empty"):
        Digits("train[5:5]")
    with pytest.raises(UserError, match=r"digits has no split 'train\[a:\]'"):
        Digits("train[a:]")
