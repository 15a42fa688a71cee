"""A picture as it grows: files of steps, the newest, the strip, and what killed runs left."""

import numpy as np
from PIL import Image

from vision_jax.report.gallery_images import ImageGallery
from vision_jax.report.growth import save_growth, strip
from vision_jax.structs import Batch, Targets


def flat(value):
    return np.full((20, 30, 3), value, np.uint8)


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_newest_picture_and_a_strip(tmp_path):
    save_growth(tmp_path, 5, flat(10))
    assert not (tmp_path / "strip.png").exists()
    save_growth(tmp_path, 10, flat(90))
    assert (read(tmp_path / "picture.png") == 90).all()
    shown = read(tmp_path / "strip.png")
    assert (shown == 10).all(-1).any() and (shown == 90).all(-1).any()
    assert sorted(p.name for p in (tmp_path / "growth").iterdir()) == [
        "00000005.png",
        "00000010.png",
    ]


def test_steps_beyond_the_one_that_a_run_goes_on_from_are_no_part_of_it(tmp_path):
    for step, value in ((1, 10), (9, 200), (2, 90)):
        save_growth(tmp_path, step, flat(value))
    assert not (read(tmp_path / "strip.png") == 200).all(-1).any()


def test_a_damaged_picture_is_left_out(tmp_path):
    save_growth(tmp_path, 1, flat(10))
    (tmp_path / "growth" / "00000002.png").write_bytes(b"no picture")
    save_growth(tmp_path, 3, flat(90))
    assert (read(tmp_path / "strip.png") == 10).all(-1).any()


def test_of_many_steps_the_first_the_last_and_most_early_ones_are_shown():
    shown = strip({step: flat(step) for step in range(1, 101)})
    values = [v for v in range(1, 101) if (shown == v).all(-1).sum() >= 20 * 30]
    assert values[0] == 1 and values[-1] == 100 and len(values) == 8
    assert sum(v <= 20 for v in values) > 4


def test_the_gallery_keeps_the_first_images_beside_what_was_given():
    gallery, rng = ImageGallery(), np.random.default_rng(0)
    given = rng.integers(0, 256, (9, 8, 10, 3)).astype(np.uint8)
    batch = Batch(
        given, np.arange(9) < 8, np.arange(9), id=np.where(np.arange(9) < 8, np.arange(9), -1)
    )
    made = np.where(np.arange(9)[:, None, None, None] == 0, np.nan, 300.0 - given)
    gallery.add(made, batch)
    assert (gallery.first == 0).all()
    chosen = gallery.result()
    assert chosen["image"].shape == chosen["found"].shape and len(chosen["caption"]) == 6
    assert chosen["caption"][0] == "10×8" and chosen["found"].dtype == np.uint8


def test_a_small_image_is_shown_as_large_as_the_one_that_it_should_become():
    rng = np.random.default_rng(0)
    given, target = (rng.integers(0, 256, (1, n, n, 3)).astype(np.uint8) for n in (6, 24))
    gallery = ImageGallery()
    batch = Batch(given, np.ones(1, bool), np.zeros(1, int), Targets(target_image=target))
    gallery.add(target / 2, batch.replace(id=np.zeros(1, int)))
    chosen = gallery.result()
    assert list(chosen)[:4] == ["image", "bicubic", "truth", "found"]
    assert len({chosen[name].shape for name in list(chosen)[:4]}) == 1
    for name, pixels in (("image", given), ("truth", target)):
        times = chosen[name].shape[1] // pixels.shape[1]
        enlarged = pixels[0].repeat(times, 0).repeat(times, 1)
        np.testing.assert_array_equal(chosen[name][0], enlarged)
