"""Encoded bytes of every kind that data sets hold."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from vision_jax.data.decode import decode_image, decode_labels, image_size


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
