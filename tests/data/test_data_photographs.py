"""Pictures without annotations: files, folders, packages, and what is wrong with them."""

import contextlib

import numpy as np
import pytest
from PIL import Image

from vision_jax import data
from vision_jax.config import UserError


def draw(path, size=(40, 30), **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 100, 50)).save(path, **more)


def test_a_folder_gives_its_pictures_in_order_upright_and_without_labels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    draw(tmp_path / "b.jpg", exif=exif)
    draw(tmp_path / "a" / "c.png")
    draw(tmp_path / ".hidden" / "d.png")
    (tmp_path / "notes.txt").write_text("no picture")
    source = data.PictureFolder(str(tmp_path))
    assert [source.image_id(i) for i in range(len(source))] == ["a/c.png", "b.jpg"]
    assert [source[i]["image"].shape for i in range(2)] == [(30, 40, 3), (40, 30, 3)]
    assert source.classes == () and set(source[0]) == {"image"}
    pipeline = data.Train(source, (data.StretchTo(size=16),), batch_size=4)
    with contextlib.closing(pipeline.batches(0, 0)) as batches:
        batch = next(batches)
    assert batch.image.shape == (4, 16, 16, 3) and batch.targets.label is None


def test_a_file_is_a_folder_of_one(tmp_path):
    draw(tmp_path / "one.png")
    source = data.source_from_text(f"pictures:{tmp_path / 'one.png'}")
    assert len(source) == 1 and source.image_id(0) == "one.png"


def test_packages_photographs():
    source = data.PictureFolder("sklearn:")
    assert [source.image_id(i) for i in range(len(source))] == ["china.jpg", "flower.jpg"]
    picture = data.Picture("sklearn:china.jpg", 64).read()
    assert picture.shape == (43, 64, 3) and picture.dtype == np.float32 and picture.max() > 200
    assert data.Picture("sklearn:china.jpg").read().shape == (427, 640, 3)


@pytest.mark.parametrize(("make", "said"), [
    (lambda root: data.PictureFolder(str(root / "no")), "no folder"),
    (lambda root: data.PictureFolder(str(root)), "holds no image"),
    (lambda root: data.Picture("sklearn:chine.jpg").read(), "no such picture - did you mean china"),
    (lambda root: data.Picture(str(root / "no.jpg")).read(), "no.jpg: No such file"),
    (lambda root: data.Picture(str(root / "notes.txt")).read(), "notes.txt: "),
    (lambda root: data.Picture("a.jpg", -1), "side=-1"),
])  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path, make, said):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=said):
        make(tmp_path)


def test_a_damaged_picture_is_a_record_that_is_named(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    source = data.PictureFolder(str(tmp_path))
    with pytest.raises(data.RecordError, match=r"b\.png"):
        source[1]
