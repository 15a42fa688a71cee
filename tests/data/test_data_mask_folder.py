"""Semantic masks of every kind that annotation tools write."""

import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import MaskFolder, RecordError
from vision_jax.data.loading import Loader

NAMES = ("background", "road", "sky")
LABELS = np.zeros((12, 16), np.uint8)
LABELS[:4], LABELS[6:9, 3:] = 2, 1
COLORS = ((0, 0, 0), (128, 64, 128), (70, 130, 180))


@pytest.fixture
def write(tmp_path):
    def write(mask, name="a.png", image="a.jpg", folder="masks", size=(16, 12)):
        for kind in ("images", folder):
            (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / "images" / image).parent.mkdir(exist_ok=True)
        (tmp_path / folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / "images" / image)
        mask.save(tmp_path / folder / name)
        return {"images": str(tmp_path / "images"), "masks": str(tmp_path / folder)}

    return write


def decoded(source, i=0):
    return Loader(source)(i, np.random.default_rng(0))["segmentation"]


def palette(labels):
    image = Image.fromarray(labels)
    image.putpalette([(7 * i) % 256 for i in range(768)])
    return image


def in_color(labels):
    return Image.fromarray(np.asarray(COLORS, np.uint8)[labels])


@pytest.mark.parametrize(
    "make",
    [
        palette,
        Image.fromarray,
        lambda labels: Image.fromarray(labels.astype(np.uint16)),
        lambda labels: Image.fromarray(np.repeat(labels[..., None], 3, -1)),
        lambda labels: Image.fromarray(np.dstack([labels, np.full_like(labels, 9)]), "LA"),
    ],
    ids=["palette", "gray", "sixteen_bits", "gray_in_rgb", "gray_and_alpha"],
)
def test_values_are_classes(write, make):
    source = MaskFolder(**write(make(LABELS)), names=NAMES)
    assert source.classes == NAMES and len(source) == 1
    mask = decoded(source)
    np.testing.assert_array_equal(mask, LABELS)
    assert mask.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_colors(write, suffix):
    files = write(in_color(LABELS), name=f"a{suffix}")
    np.testing.assert_array_equal(decoded(MaskFolder(**files, names=NAMES, colors=COLORS)), LABELS)
    two = {"names": NAMES[:2], "colors": COLORS[:2]}
    with pytest.raises(RecordError, match=r"the colour \(70, 130, 180\), which is not among"):
        decoded(MaskFolder(**files, **two))
    void = decoded(MaskFolder(**files, **two, void=-1))
    np.testing.assert_array_equal(void, np.where(LABELS == 2, 255, LABELS))
    with pytest.raises(RecordError, match="the mask is in colour; list"):
        decoded(MaskFolder(**files, names=NAMES))


def test_void(write):
    eight = np.where(LABELS == 1, 255, LABELS).astype(np.uint8)
    sixteen = np.where(LABELS == 1, 65535, LABELS).astype(np.uint16)
    for values in (eight, sixteen):
        mask = decoded(MaskFolder(**write(Image.fromarray(values)), names=NAMES))
        np.testing.assert_array_equal(mask, eight)
    seven = Image.fromarray(np.where(LABELS == 1, 7, LABELS).astype(np.uint8))
    np.testing.assert_array_equal(decoded(MaskFolder(**write(seven), names=NAMES, void=7)), eight)


def test_black_and_white(write):
    two = {"names": ("background", "road")}
    white = Image.fromarray((LABELS > 0).astype(np.uint8) * 255)
    for mask in (white, white.convert("1"), white.convert("RGB")):
        np.testing.assert_array_equal(decoded(MaskFolder(**write(mask), **two)), LABELS > 0)
    files = write(white)
    for k in range(40):
        write(white, name=f"b{k:02}.png", image=f"b{k:02}.jpg")
    write(Image.fromarray((LABELS > 0).astype(np.uint8)), name="c.png", image="c.jpg")
    source = MaskFolder(**files, **two)
    with pytest.raises(RecordError, match=r"c.png: the mask has the value 1, others have 0 and"):
        source[len(source) - 1]


def test_mistakes_in_masks(write):
    files = write(Image.fromarray(LABELS * 3))
    with pytest.raises(RecordError, match=r"a.jpg\): .*a.png: the mask has the value 6, but there"):
        decoded(MaskFolder(**files, names=NAMES))
    source = MaskFolder(**write(Image.fromarray(LABELS), size=(20, 12)), names=NAMES)
    with pytest.raises(RecordError, match=r"the semantic mask is \(12, 16\), the image \(12, 20\)"):
        decoded(source)
    with pytest.raises(RecordError, match="whole numbers, this one is float32"):
        file = write(Image.fromarray(LABELS.astype(np.float32)), name="a.tif")
        (source_file,) = [p for p in source._listed if p.file.name == "a.jpg"]
        source_file.fields["segmentation"].unlink()
        decoded(MaskFolder(**file, names=NAMES))


def test_pairs(write, tmp_path):
    files = write(Image.fromarray(LABELS))
    write(Image.fromarray(LABELS), name="city/b.png", image="city/b.jpg")
    for name in ("._a.png", "Thumbs.db"):
        (tmp_path / "masks" / name).write_bytes(b"no image")
    source = MaskFolder(**files, names=NAMES)
    assert [source._listed[i].file.name for i in range(len(source))] == ["a.jpg", "b.jpg"]
    (tmp_path / "images/c.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"images/c.jpg: no mask in .*masks$"):
        MaskFolder(**files, names=NAMES)
    (tmp_path / "images/c.jpg").rename(tmp_path / "images/a.webp")
    with pytest.raises(UserError, match=r"images/a.webp and a.jpg: two images of one name"):
        MaskFolder(**files, names=NAMES)
    (tmp_path / "images/a.webp").unlink()
    (tmp_path / "images/a.jpg").unlink()
    with pytest.raises(UserError, match=r"masks/a.png: no image in .*images$"):
        MaskFolder(**files, names=NAMES)


def test_masks_beside_and_below_their_images(write, tmp_path):
    beside = write(Image.fromarray(LABELS), name="a_mask.png", folder="images")
    with pytest.raises(UserError, match="set suffix, such as '_mask'"):
        MaskFolder(**beside, names=NAMES)
    source = MaskFolder(**beside, names=NAMES, suffix="_mask")
    assert len(source) == 1
    np.testing.assert_array_equal(decoded(source), LABELS)
    (tmp_path / "images/a_mask.png").unlink()
    below = write(Image.fromarray(LABELS), folder="images/masks")
    np.testing.assert_array_equal(decoded(MaskFolder(**below, names=NAMES)), LABELS)


def test_settings(write):
    files = write(Image.fromarray(LABELS))
    with pytest.raises(UserError, match="1 names: name two to 255 classes"):
        MaskFolder(**files, names=("road",))
    for colors in (COLORS[:2], (COLORS[0], *COLORS[:2])):
        with pytest.raises(UserError, match="2 different colors for 3 names"):
            MaskFolder(**files, names=NAMES, colors=colors)
