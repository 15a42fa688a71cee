"""Encoded bytes of every kind that data sets hold."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from vision_jax.config import UserError
from vision_jax.data.decode import decode_image, decode_labels, image_size, orientation, upright


def smooth(height=30, width=40):
    y, x = np.mgrid[:height, :width]
    return np.stack([6 * x, 8 * y, 120 + x + 2 * y], -1).clip(0, 255).astype(np.uint8)


def encode(image, kind, **kwargs):
    buffer = io.BytesIO()
    image.save(buffer, kind, **kwargs)
    return buffer.getvalue()


def test_png_is_exact_and_in_rgb_order():
    pixels = smooth()
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(pixels), "PNG")), pixels)


def test_jpeg_is_what_pillow_reads():
    data = encode(Image.fromarray(smooth()), "JPEG", quality=95)
    want = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    got = decode_image(data)
    assert got.dtype == np.uint8 and np.abs(got - want).max() <= 2


def test_cmyk_gray_alpha_and_palette_become_rgb():
    picture = Image.fromarray(smooth())
    cmyk = decode_image(encode(picture.convert("CMYK"), "JPEG", quality=95))
    assert cmyk.shape == (30, 40, 3) and np.abs(cmyk - smooth().astype(int)).mean() < 4
    gray = decode_image(encode(picture.convert("L"), "PNG"))
    np.testing.assert_array_equal(gray, np.repeat(gray[..., :1], 3, -1))
    assert gray.shape == (30, 40, 3)
    alpha = np.dstack([smooth(), np.full((30, 40), 7, np.uint8)])
    np.testing.assert_array_equal(decode_image(encode(Image.fromarray(alpha), "PNG")), smooth())
    palette = picture.quantize(16)
    want = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode_image(encode(palette, "PNG")), want)


def test_gray_stays_one_channel_when_asked():
    pixels = smooth()[..., 0]
    got = decode_image(encode(Image.fromarray(pixels), "PNG"), channels=1)
    np.testing.assert_array_equal(got, pixels[..., None])


def test_sixteen_bits_keep_the_upper_eight():
    deep = (np.arange(64 * 64, dtype=np.uint16) * 16).reshape(64, 64)
    got = decode_image(cv2.imencode(".png", deep)[1].tobytes())
    np.testing.assert_array_equal(got[..., 0], deep >> 8)


def test_exif_orientation_is_ignored():
    picture = Image.fromarray(smooth())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = encode(picture, "JPEG", exif=exif)
    assert decode_image(data).shape == (30, 40, 3) and image_size(data) == (30, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_images_are_errors(kind, share):
    """OpenCV says None (or raises, for no bytes); an older one filled the rest with gray."""
    data = encode(Image.fromarray(smooth()), kind)
    cut = data[: int(share * len(data))]
    with pytest.raises(ValueError, match=f"{len(cut)} bytes"):
        decode_image(cut)


def test_other_bytes_are_errors():
    with pytest.raises(ValueError, match=r"unknown format, 22 bytes"):
        decode_image(b"no picture is in these")
    with pytest.raises(ValueError, match="22 bytes"):
        image_size(b"no picture is in these")
    with pytest.raises(ValueError, match="22 bytes"):
        decode_labels(b"no picture is in these")


def test_image_size_reads_the_header_alone():
    data = encode(Image.fromarray(smooth()), "JPEG")
    assert image_size(data[:-20]) == (30, 40)


def test_palette_labels_are_indices():
    index = (np.arange(48).reshape(6, 8) % 21).astype(np.uint8)
    index[0, 0] = 255
    colored = Image.fromarray(index)
    colored.putpalette([(7 * i) % 256 for i in range(768)])
    np.testing.assert_array_equal(decode_labels(encode(colored, "PNG")), index)
    np.testing.assert_array_equal(decode_labels(encode(Image.fromarray(index), "PNG")), index)


def test_labels_have_one_channel():
    with pytest.raises(ValueError, match="one channel, this one is RGB"):
        decode_labels(encode(Image.fromarray(smooth()), "PNG"))
    data = encode(Image.fromarray(smooth()[..., 0]), "PNG")
    with pytest.raises(ValueError, match="corrupt PNG"):
        decode_labels(data[: len(data) // 2])


def test_opencv_keeps_to_one_thread():
    assert cv2.getNumThreads() == 1


def lossless(image, kind, **kwargs):
    exact = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    return encode(image, kind, **exact, **kwargs)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_transparency_is_dropped_alike_in_all_formats(kind):
    alpha = np.dstack([smooth(), np.full((30, 40), 100, np.uint8)])
    got = decode_image(lossless(Image.fromarray(alpha), kind))
    np.testing.assert_array_equal(got, smooth())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF"])
def test_palettes_with_transparency(kind):
    palette = Image.fromarray(smooth()).quantize(16)
    want = np.asarray(palette.convert("RGB"))
    got = decode_image(lossless(palette, kind, transparency=3))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_in_all_formats(suffix, channels):
    deep = np.random.default_rng(0).integers(0, 2**16, (6, 8, channels), dtype=np.uint16)
    data = cv2.imencode(suffix, deep)[1].tobytes()
    upper = (deep >> 8)[..., :3][..., ::-1]
    np.testing.assert_array_equal(decode_image(data), np.broadcast_to(upper, (6, 8, 3)))


def test_cmyk_in_all_formats():
    picture = Image.fromarray(smooth()).convert("CMYK")
    jpeg = decode_image(encode(picture, "JPEG", quality=99, subsampling=0)).astype(int)
    assert np.abs(jpeg - decode_image(encode(picture, "TIFF"))).max() <= 5


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first(kind):
    frames = [Image.fromarray(np.full((30, 40, 3), value, np.uint8)) for value in (10, 200)]
    data = lossless(frames[0], kind, save_all=True, append_images=frames[1:])
    assert (decode_image(data) == 10).all() and image_size(data) == (30, 40)


def test_avif():
    data = encode(Image.fromarray(smooth()), "AVIF", quality=100)
    assert np.abs(decode_image(data).astype(int) - smooth()).mean() < 4
    assert decode_image(data, 1).shape == (30, 40, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation(kind, turn):
    """Pixels come as stored whatever the tag says, and `upright` does what Pillow does."""
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encode(Image.fromarray(smooth()), kind, exif=exif)
    assert orientation(data) == turn and image_size(data) == (30, 40)
    np.testing.assert_array_equal(decode_image(data), smooth())
    png = Image.open(io.BytesIO(encode(Image.fromarray(smooth()), "PNG", exif=exif)))
    want = np.asarray(ImageOps.exif_transpose(png))
    np.testing.assert_array_equal(upright(decode_image(data), turn), want)
    labels = encode(Image.fromarray(smooth()[..., 0]), kind, exif=exif)
    np.testing.assert_array_equal(decode_labels(labels), smooth()[..., 0])


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert orientation(encode(Image.fromarray(smooth()), "JPEG", exif=exif)) == 1
    assert orientation(b"no image") == 1


def huge_png(width=65535, height=65535):
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def flipped_bmp():
    data = bytearray(encode(Image.new("RGB", (64, 64)), "BMP"))
    data[21] ^= 0x40  # a bit of the width
    return bytes(data)


@pytest.mark.parametrize("data", [huge_png(), flipped_bmp()])
@pytest.mark.parametrize("read", [decode_image, decode_labels, image_size])
def test_headers_that_claim_too_many_pixels(data, read):
    with pytest.raises(ValueError, match=r"the image has \d+×\d+ pixels, more than 268435456; if"):
        read(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "WEBP", "BMP", "AVIF"])
def test_the_limit_is_a_setting(monkeypatch, kind):
    data = encode(Image.fromarray(smooth()), kind)
    monkeypatch.setenv("VISION_JAX_MAX_PIXELS", "1200")
    assert decode_image(data).shape == (30, 40, 3)
    monkeypatch.setenv("VISION_JAX_MAX_PIXELS", "1199")
    for read in (decode_image, decode_labels, image_size):
        with pytest.raises(ValueError, match="40×30 pixels, more than 1199"):
            read(data)
    monkeypatch.setenv("VISION_JAX_MAX_PIXELS", "many")
    with pytest.raises(UserError, match="VISION_JAX_MAX_PIXELS='many' is no whole number"):
        decode_image(data)


def test_no_pixels():
    for size in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match=r"pixels|header"):
            decode_image(huge_png(*size))


def test_sizes_of_jpegs_without_pillow():
    """All kinds of frames, and headers behind metadata of any length."""
    exif = Image.Exif()
    exif[0x010E] = "x" * 5000
    for options in ({}, {"progressive": True}, {"exif": exif}, {"optimize": True}):
        assert image_size(encode(Image.fromarray(smooth()), "JPEG", **options)) == (30, 40)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "AVIF", "PPM"])
def test_damaged_bytes_raise_nothing_but_value_errors(kind):
    rng, data = np.random.default_rng(0), encode(Image.fromarray(smooth()), kind)
    for _ in range(40):
        damaged = bytearray(data)
        for place in rng.integers(0, min(len(data), 200), 3):
            damaged[place] = rng.integers(256)
        for read in (decode_image, decode_labels, image_size):
            try:
                read(bytes(damaged))
            except ValueError as error:
                assert "\n" not in str(error)


def test_numbers_of_32_bits_are_refused():
    floats = Image.fromarray(np.ones((6, 8), np.float32))
    with pytest.raises(ValueError, match="32-bit numbers, mode F"):
        decode_image(encode(floats, "TIFF"))
    with pytest.raises(ValueError, match="whole numbers, this one is float32"):
        decode_labels(encode(floats, "TIFF"))
