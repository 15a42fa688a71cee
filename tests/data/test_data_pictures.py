"""The pictures that `--input` names: which files are found, and what is read of them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from vision_jax.config import UserError
from vision_jax.data import pictures
from vision_jax.data.folders import SUFFIXES


def painted(height=12, width=20, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def write(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(painted() if pixels is None else pixels).save(path, **options)
    return path


def video(path, frames, rate=10):
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (width, height))
    for frame in frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    return path


def test_a_folder_is_searched_with_its_sub_folders(tmp_path):
    for name in ("b.jpg", "a/x.1.PNG", "a/deep/y.gif", ".hidden/z.jpg", "__MACOSX/a.jpg"):
        write(tmp_path / name)
    write(tmp_path / "._b.jpg", format="JPEG")
    write(tmp_path / "out" / "b.jpg.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "v.MP4").write_bytes(b"")
    found = pictures.find(str(tmp_path), without=tmp_path / "out")
    assert [name for _, name in found] == ["a/deep/y.gif", "a/x.1.PNG", "b.jpg", "v.MP4"]
    assert all(file == tmp_path / name for file, name in found)


def test_a_file_is_taken_whatever_its_suffix(tmp_path):
    file = write(tmp_path / "photo.data", format="PNG")
    assert pictures.find(str(file), tmp_path) == [(file, "photo.data")]


@pytest.mark.parametrize("given", [None, "missing.jpg", "empty"])
def test_nothing_to_answer_is_one_line(tmp_path, given):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="--input"):
        pictures.find(given and str(tmp_path / given), tmp_path / "out")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_of_the_folders_is_read(tmp_path, suffix):
    pixels = np.full((16, 24, 3), (200, 40, 90), np.uint8)
    (frame,) = pictures.read(write(tmp_path / f"a{suffix}", pixels), 3, turned=False)
    assert frame.image.shape == (16, 24, 3) and frame.number is None
    np.testing.assert_allclose(frame.image, pixels, atol=12)  # a palette and lossy formats


@pytest.mark.parametrize("turn", range(1, 9))
def test_an_image_is_turned_on_request(tmp_path, turn):
    pixels, exif = painted(), Image.Exif()
    exif[0x0112] = turn
    file = write(tmp_path / "a.png", pixels, exif=exif)
    (stored,) = pictures.read(file, 3, turned=False)
    (shown,) = pictures.read(file, 3, turned=True)
    assert stored.turn == shown.turn == turn
    np.testing.assert_array_equal(stored.image, pixels)
    expected = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels),
    }
    np.testing.assert_array_equal(shown.image, expected[turn])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_video_is_read_frame_by_frame(tmp_path, channels):
    frames = [np.full((32, 48, 3), value, np.uint8) for value in (10, 90, 170, 250)]
    file = video(tmp_path / "v.avi", frames, rate=5)
    assert pictures.frame_rate(file) == 5
    found = list(pictures.read(file, channels, turned=False))
    assert [frame.number for frame in found] == [0, 1, 2, 3]
    np.testing.assert_allclose([frame.seconds for frame in found], [0, 0.2, 0.4, 0.6])
    for frame, made in zip(found, frames, strict=True):
        assert frame.image.shape == (32, 48, channels)
        np.testing.assert_allclose(frame.image, made[:, :, :channels], atol=4)


def test_a_videos_colours_are_in_order(tmp_path):
    file = video(tmp_path / "v.avi", [np.full((32, 48, 3), (250, 20, 20), np.uint8)])
    (frame,) = pictures.read(file, 3, turned=False)
    np.testing.assert_allclose(frame.image.mean((0, 1)), (250, 20, 20), atol=8)


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
@pytest.mark.parametrize("name", ["v.mp4", "a.jpg"])
def test_a_damaged_file_is_an_error_of_its_own(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, OSError)):
        list(pictures.read(tmp_path / name, 3, turned=False))
