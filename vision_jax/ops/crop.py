"""Windows of images that are on the device; host transforms of the same names are in `data`."""

import jax.numpy as jnp
from jaxtyping import Array, Num

from vision_jax.ops.resize import Method, resize


def center_crop(images: Num[Array, "b h w c"], size: tuple[int, int]) -> Num[Array, "b ho wo c"]:
    """Cuts out the central `size` (height, width) of images, as torchvision rounds its place.

    Where an image is smaller there are zeros around it.
    """
    lacking = [max(0, new - old) for new, old in zip(size, images.shape[1:3], strict=True)]
    if any(lacking):
        # The larger half of an odd rest lies after the image.
        pads = [(n // 2, (n + 1) // 2) for n in lacking]
        images = jnp.pad(images, ((0, 0), *pads, (0, 0)))
    top, left = (round((n - m) / 2) for n, m in zip(images.shape[1:3], size, strict=True))
    return images[:, top : top + size[0], left : left + size[1]]


def five_crop(images: Num[Array, "b h w c"], size: tuple[int, int]) -> Num[Array, "b 5 ho wo c"]:
    """Cuts out the corners (upper left and right, lower left and right) and the centre.

    Raises:
      ValueError: the images are smaller than `size`.
    """
    (height, width), (h, w) = images.shape[1:3], size
    if h > height or w > width:
        raise ValueError(f"five_crop: {h}×{w} is larger than the image of {height}×{width}")
    corners = [images[:, y : y + h, x : x + w] for y in (0, height - h) for x in (0, width - w)]
    return jnp.stack([*corners, center_crop(images, size)], 1)


def ten_crop(images: Num[Array, "b h w c"], size: tuple[int, int]) -> Num[Array, "b 10 ho wo c"]:
    """Cuts out ten windows: `five_crop` of the images, then of their mirror images.

    Krizhevsky et al. 2012, section 4.1.
    """
    return jnp.concatenate([five_crop(images, size), five_crop(images[:, :, ::-1], size)], 1)


def resized_crop(
    images: Num[Array, "b h w c"],
    box: tuple[int, int, int, int],
    size: tuple[int, int],
    method: Method = "bilinear",
    antialias: bool = True,
) -> Num[Array, "b ho wo c"]:
    """Cuts out the window `box` (top, left, height, width) of every image, and resizes it."""
    top, left, height, width = box
    window = images[:, top : top + height, left : left + width]
    return resize(window, size, method, antialias=antialias)
