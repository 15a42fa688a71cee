"""Geometric distortion of images: translation, rotation, stretch, shear and a lens's curvature.

Coordinates are continuous: the first pixel covers [0, 1], its centre is 0.5, and an image w pixels
wide ends at w; places are (x, y). Every result pixel takes its value from a place of the input, so
a map is given backwards, from the result to the input. Shapes are static; the random functions take
one key per example, as those in `image`.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

Method = Literal["bilinear", "nearest"]


def sample(
    images: Float[Array, "b h w c"],
    places: Float[Array, "b ho wo 2"],
    method: Method = "bilinear",
    fill: float = 127.5,
) -> Float[Array, "b ho wo c"]:
    """Takes images' values at places (x, y), as Pillow does.

    Args:
      images: any scale.
      places: in the image's pixels; beyond [0, w) × [0, h) there is `fill`.
      method: 'bilinear' mixes the four pixel centres around a place, of which those beyond the
        border count as the nearest within; 'nearest' takes the pixel that holds the place.
      fill: value outside.
    """
    return jax.vmap(lambda image, place: _sample(image, place, method, fill))(images, places)


def affine(
    images: Float[Array, "b h w c"],
    matrix: Float[Array, "b 2 3"],
    method: Method = "bilinear",
    fill: float = 127.5,
) -> Float[Array, "b h w c"]:
    """Applies to each image its own affine map.

    Args:
      images: any scale.
      matrix: takes the result's (x, y, 1) to the input's (x, y); see `affine_matrix`.
      method, fill: see `sample`.
    """
    grid = _grid(*images.shape[1:3], matrix.dtype)
    # Sums and no matrix product: an accelerator would round a product's factors.
    moved = matrix[:, None, None, :, :2] * grid[None, :, :, None, :]
    return sample(images, moved.sum(-1) + matrix[:, None, None, :, 2], method, fill)


def affine_matrix(
    height: int,
    width: int,
    translate: Float[Array, "b 2"],
    rotate: Float[Array, "b"],
    stretch: Float[Array, "b 2"],
    shear: Float[Array, "b 2"],
) -> Float[Array, "b 2 3"]:
    """Makes the map back of: stretch, shear and rotate about the image's centre, then translate.

    Args:
      height, width: of the image.
      translate: pixels to the right and down.
      rotate: degrees, counter-clockwise as one sees it.
      stretch: factors of width and height, not 0.
      shear: pixels to the right per pixel down, and down per pixel to the right; their product is
        not 1.
    """
    angle = jnp.deg2rad(rotate)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = _matrix(cos, sin, -sin, cos)  # y points down
    one = jnp.ones_like(angle)
    slant = _matrix(one, shear[:, 0], shear[:, 1], one)
    forward = _product(turn, slant) * stretch[:, None, :]
    a, b, c, d = (forward[:, i, j] for i in (0, 1) for j in (0, 1))
    back = _matrix(d, -b, -c, a) / (a * d - b * c)[:, None, None]
    centre = jnp.asarray([width / 2, height / 2], back.dtype)[None, :]
    offset = centre - (back * (centre + translate)[:, None, :]).sum(-1)
    return jnp.concatenate([back, offset[..., None]], -1)


def lens(
    images: Float[Array, "b h w c"],
    strength: Float[Array, "b"],
    method: Method = "bilinear",
    fill: float = 127.5,
) -> Float[Array, "b h w c"]:
    """Distorts images radially: distance r of the centre shows the pixel at r (1 + k r²).

    The first term of Brown 1966. Distances are in halves of the diagonal, so that corners are at 1.

    Args:
      images: any scale.
      strength: k; above 0 a barrel, below a pincushion. Above -1/3, or the image folds.
      method, fill: see `sample`.
    """
    grid = _grid(*images.shape[1:3], strength.dtype)
    return sample(images, lens_places(grid, images.shape[1:3], strength), method, fill)


def lens_places(
    grid: Float[Array, "h w 2"], size: tuple[int, int], strength: Float[Array, "b"]
) -> Float[Array, "b h w 2"]:
    """Finds the places that `lens` takes those of `grid` from, in images of `size` (h, w)."""
    centre = jnp.asarray([size[1] / 2, size[0] / 2], grid.dtype)[None, None, :]
    offset = grid - centre
    squared = (offset**2).sum(-1) / ((size[0] ** 2 + size[1] ** 2) / 4)
    bend = 1 + strength[:, None, None] * squared[None]
    return centre[None] + offset[None] * bend[..., None]


def random_affine(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    translate: float = 0.1,
    rotate: float = 15.0,
    stretch: float = 0.1,
    shear: float = 0.1,
    method: Method = "bilinear",
    fill: float = 127.5,
) -> Float[Array, "b h w c"]:
    """Translates, rotates, stretches and shears each image at random; 0 switches each off.

    Args:
      images: 0..255.
      keys: one per example.
      translate: at most this share of the side, both ways, each axis by itself.
      rotate: at most so many degrees, both ways.
      stretch: each side times a factor between 1 / (1 + stretch) and 1 + stretch, log-uniform.
      shear: at most so many pixels per pixel, both ways, each axis by itself; below 1.
      method, fill: see `sample`.
    """
    height, width = images.shape[1:3]
    draws = jax.vmap(lambda key: jax.random.uniform(key, (7,), jnp.float32, -1, 1))(keys)
    sides = jnp.asarray([[width, height]], jnp.float32)
    matrix = affine_matrix(
        height,
        width,
        draws[:, :2] * sides * translate,
        draws[:, 2] * rotate,
        (1 + stretch) ** draws[:, 3:5],
        draws[:, 5:] * shear,
    )
    return affine(images, matrix, method, fill)


def random_lens(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    strength: float = 0.2,
    method: Method = "bilinear",
    fill: float = 127.5,
) -> Float[Array, "b h w c"]:
    """Applies `lens` with a strength uniform in [-strength, strength], which is below 1/3."""
    draws = jax.vmap(lambda key: jax.random.uniform(key, (), jnp.float32, -1, 1))(keys)
    return lens(images, draws * strength, method, fill)


def _sample(
    image: Float[Array, "h w c"], places: Float[Array, "ho wo 2"], method: str, fill: float
) -> Float[Array, "ho wo c"]:
    height, width, channels = image.shape
    x, y = places[..., 0], places[..., 1]
    inside: Bool[Array, "ho wo"] = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    flat = image.reshape(height * width, channels)

    def at(row: Int[Array, "ho wo"], column: Int[Array, "ho wo"]) -> Float[Array, "ho wo c"]:
        row, column = jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)
        return flat[row * width + column]

    if method == "nearest":
        value = at(jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32))
    else:
        left, top = jnp.floor(x - 0.5), jnp.floor(y - 0.5)
        right = (x - 0.5 - left)[..., None].astype(image.dtype)
        lower = (y - 0.5 - top)[..., None].astype(image.dtype)
        column, row = left.astype(jnp.int32), top.astype(jnp.int32)
        upper_mix = (1 - right) * at(row, column) + right * at(row, column + 1)
        lower_mix = (1 - right) * at(row + 1, column) + right * at(row + 1, column + 1)
        value = (1 - lower) * upper_mix + lower * lower_mix
    return jnp.where(inside[..., None], value, jnp.asarray(fill, image.dtype))


def _grid(height: int, width: int, dtype) -> Float[Array, "h w 2"]:
    """Returns the pixel centres (x, y)."""
    x = jnp.arange(width, dtype=dtype) + 0.5
    y = jnp.arange(height, dtype=dtype) + 0.5
    return jnp.stack(jnp.meshgrid(x, y), -1)


def _matrix(a, b, c, d) -> Float[Array, "b 2 2"]:
    return jnp.stack([jnp.stack([a, b], -1), jnp.stack([c, d], -1)], -2)


def _product(p: Float[Array, "b 2 2"], q: Float[Array, "b 2 2"]) -> Float[Array, "b 2 2"]:
    return (p[:, :, :, None] * q[:, None, :, :]).sum(2)
