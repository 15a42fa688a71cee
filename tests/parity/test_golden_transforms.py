"""Transforms of images on the device against stored outputs of torchvision's, values in 0..1."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden
from tests.parity.golden_compare import compare
from vision_jax.ops import color, image
from vision_jax.ops.crop import center_crop, resized_crop, ten_crop
from vision_jax.ops.resize import resize

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden")) / "ops"
FILE = Golden(FOLDER / "transforms.npz") if (FOLDER / "transforms.npz").exists() else None
CASES = list(FILE.meta["cases"]) if FILE else []


def resized(x, a):
    """One number is the short side's."""
    size, (height, width) = a["size"], x.shape[1:3]
    if len(size) == 1:
        short = min(height, width)
        size = [int(size[0] * n / short) for n in (height, width)]
    method = "bicubic" if "BICUBIC" in a.get("interpolation", "") else "bilinear"
    return resize(x, tuple(size), method, antialias=a["antialias"])


def crop_and_resize(x, a):
    box = (a["top"], a["left"], a["height"], a["width"])
    return resized_crop(x, box, tuple(a["size"]), antialias=a["antialias"])


def adjusted(function, argument):
    return lambda x, a: function(x, jnp.asarray([a[argument]], x.dtype), white=1.0)


def grayscale(x, a):
    return jnp.repeat(color.grayscale(x), a["num_output_channels"], -1)


OPS = {
    "adjust_brightness": adjusted(color.brightness, "brightness_factor"),
    "adjust_contrast": adjusted(color.contrast, "contrast_factor"),
    "adjust_hue": adjusted(color.hue, "hue_factor"),
    "adjust_saturation": adjusted(color.saturation, "saturation_factor"),
    "center_crop": lambda x, a: center_crop(x, tuple(a["output_size"])),
    "horizontal_flip": lambda x, a: image.random_flip(x, jax.random.key(0)[None], 1.0),
    # `normalize` reads 0..255.
    "normalize": lambda x, a: image.normalize(255 * x, tuple(a["mean"]), tuple(a["std"])),
    "resize": resized,
    "resized_crop": crop_and_resize,
    "rgb_to_grayscale": grayscale,
    "ten_crop": lambda x, a: ten_crop(x, tuple(a["size"]))[0],
}


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_transform_equals_torchvision(case, dtype):
    meta = FILE.meta["cases"][case]
    with jax.enable_x64(dtype is np.float64):
        x = FILE[meta["inputs"]["image"]].astype(dtype).transpose(1, 2, 0)[None]
        y = np.asarray(OPS[meta["op"].rpartition(".")[2]](jnp.asarray(x), meta["args"]))
    y = y.transpose(0, 3, 1, 2)
    compare(y if case.startswith("ten_crop") else y[0], FILE, case, "y", dtype)
