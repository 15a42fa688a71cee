"""Classes as folders of images."""

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import Eval, ImageFolder, Resize
from vision_jax.data.loading import Loader


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(("dog/1.jpg", "dog/deeper/2.PNG", "cat/1.jpg", "cat/3.webp")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 12), (40 * k + 40,) * 3).save(path)
    return tmp_path / "photos"


def test_labels_follow_the_names(folder):
    source = ImageFolder(str(folder))
    assert source.classes == ("cat", "dog") and len(source) == 4
    assert [source[i]["label"] for i in range(4)] == [0, 0, 1, 1]
    assert [source.image_id(i) for i in range(4)] == [
        "cat/1.jpg",
        "cat/3.webp",
        "dog/1.jpg",
        "dog/deeper/2.PNG",
    ]
    assert "cat/1.jpg" in source.describe(0)
    batch = next(Eval(source, (Resize(8),), batch_size=4).batches())
    assert batch.targets.label.tolist() == [0, 0, 1, 1]
    assert np.abs(batch.image[:, 0, 0, 0].astype(int) - [120, 160, 40, 80]).max() <= 2


def test_other_order_and_other_names(folder):
    source = ImageFolder(str(folder), names=("dog", "bird", "cat"))
    assert source.classes == ("dog", "bird", "cat")
    assert [source[i]["label"] for i in range(4)] == [2, 2, 0, 0]
    with pytest.raises(UserError, match="class 'dog' is not among names - did you mean dogs"):
        ImageFolder(str(folder), names=("cat", "dogs"))
    with pytest.raises(UserError, match="names lists 'cat' twice"):
        ImageFolder(str(folder), names=("cat", "dog", "cat"))


def test_what_systems_leave_is_passed_over(folder):
    for name in ("__MACOSX", ".git", "cat/.thumbs"):
        (folder / name).mkdir()
        (folder / name / "1.jpg").write_bytes(b"no image")
    for name in ("cat/._1.jpg", "cat/Thumbs.db", "cat/notes.txt", ".DS_Store"):
        (folder / name).write_bytes(b"no image")
    source = ImageFolder(str(folder))
    assert source.classes == ("cat", "dog") and len(source) == 4


def test_an_empty_class_keeps_its_label(folder):
    (folder / "bird").mkdir()
    source = ImageFolder(str(folder))
    assert source.classes == ("bird", "cat", "dog")
    assert [source[i]["label"] for i in range(4)] == [1, 1, 2, 2]


def test_turned_images(folder):
    exif = Image.Exif()
    exif[0x112] = 8
    Image.new("RGB", (16, 12)).save(folder / "cat/1.jpg", exif=exif)
    shapes = [
        Loader(ImageFolder(str(folder), upright=upright))(0, np.random.default_rng(0))[
            "image"
        ].shape
        for upright in (False, True)
    ]
    assert shapes == [(12, 16, 3), (16, 12, 3)]


def test_mistakes(folder, tmp_path):
    with pytest.raises(UserError, match="no folder"):
        ImageFolder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no class folders - move the images of each class"):
        ImageFolder(str(folder / "cat"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no class folders$"):
        ImageFolder(str(tmp_path / "empty"))
    (tmp_path / "empty/cat").mkdir()
    with pytest.raises(UserError, match="it lists no image"):
        ImageFolder(str(tmp_path / "empty"))
    (tmp_path / "splits/train").mkdir(parents=True)
    folder.rename(tmp_path / "splits/Val")
    with pytest.raises(
        UserError, match=r"Val, train are splits, not classes; name one of them, .*"
    ):
        ImageFolder(str(tmp_path / "splits"))
