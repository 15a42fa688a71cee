"""What super-resolution is given: small images beside the large ones, and tiles of photographs."""

import numpy as np
import pytest
from PIL import Image

from vision_jax import data
from vision_jax.config import UserError
from vision_jax.data.loading import fed

RNG = np.random.default_rng(0)


def drawn(*shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


def degraded(image, **settings):
    return data.Degrade(**settings)({"image": image}, RNG)


def test_the_small_image_is_pillows_and_the_target_is_untouched():
    image = drawn(19, 27, 3)
    example = degraded(image, factor=4, blur=0.0)
    np.testing.assert_array_equal(example["target_image"], image[:16, :24])
    wanted = Image.fromarray(image[:16, :24]).resize((6, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(example["image"], np.asarray(wanted))


@pytest.mark.parametrize("name", ["bicubic", "bilinear", "area", "nearest"])
def test_flat_images_stay_flat(name):
    example = degraded(np.full((16, 16, 3), 93, np.uint8), factor=8, filter=name)
    assert example["image"].shape == (2, 2, 3)
    assert (example["image"] == 93).all()


def test_area_is_the_mean_and_nearest_a_pixel():
    image = drawn(8, 8, 3)
    blocks = image.reshape(4, 2, 4, 2, 3).mean((1, 3))
    area = degraded(image, factor=2, blur=0.0, filter="area")["image"]
    assert np.abs(area - blocks).max() <= 1  # Pillow rounds after each axis
    nearest = degraded(image, factor=2, blur=0.0, filter="nearest")["image"]
    assert any((nearest == image[y::2, x::2]).all() for y in (0, 1) for x in (0, 1))


def test_blur_is_a_gaussian_of_the_given_deviation():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    small = degraded(image, factor=1, blur=2.0)["image"][..., 0].astype(float)
    distance = np.arange(41) - 20
    kernel = np.exp(-0.5 * (distance / 2.0) ** 2)
    kernel /= kernel.sum()
    np.testing.assert_allclose(small, 255 * np.outer(kernel, kernel), atol=0.6)


def test_mistakes():
    with pytest.raises(UserError, match="factor=0"):
        data.Degrade(factor=0)
    with pytest.raises(UserError, match="blur=-1"):
        data.Degrade(blur=-1.0)
    with pytest.raises(UserError, match="filter='cubic'"):
        data.Degrade(filter="cubic")
    with pytest.raises(ValueError, match="factor=8 is larger"):
        degraded(drawn(4, 40, 3), factor=8)
    with pytest.raises(ValueError, match="annotations"):
        data.Degrade()({"image": drawn(8, 8, 3), "boxes": np.zeros((1, 4))}, RNG)


def photographs(folder):
    for name, shape in (("a", (50, 70, 3)), ("b", (20, 20, 3)), ("c", (32, 32, 3))):
        Image.fromarray(drawn(*shape)).save(folder / f"{name}.png")
    return data.PictureFolder(str(folder))


def test_tiles_lie_side_by_side(tmp_path):
    source = photographs(tmp_path)
    tiles = data.Tiles(source, size=32)
    assert len(tiles) == 2 + 0 + 1
    image = source[0]["image"]
    np.testing.assert_array_equal(tiles[1]["image"], image[:32, 32:64])
    np.testing.assert_array_equal(tiles[2]["image"], source[2]["image"])
    assert "a.png, from row 0 and column 32" in tiles.describe(1)
    with pytest.raises(UserError, match="no image has a tile of size=64 pixels"):
        len(data.Tiles(source, size=64))


def test_batches_hold_the_targets(tmp_path):
    tiles = data.Tiles(photographs(tmp_path), size=16)
    pipeline = data.Eval(source=tiles, transforms=(data.Degrade(factor=4),), batch_size=5)
    batches = list(pipeline.batches())
    assert batches[0].image.shape == (5, 4, 4, 3)
    assert batches[0].targets.target_image.shape == (5, 16, 16, 3)
    assert batches[0].targets.target_image.dtype == np.uint8
    last = batches[-1]
    assert not last.valid.all() and not last.targets.target_image[~last.valid].any()
    assert fed(drawn(8, 8, 3), ()).targets.target_image is None
