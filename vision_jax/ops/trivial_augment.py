"""TrivialAugment (Müller & Hutter 2021, arXiv:2103.10158): one random operation per image.

The wide search space: 14 operations, each of 31 strengths, drawn uniformly, as torchvision tables
them. All images go through one warp, one blend and one table lookup, and each keeps the result of
its own operation; so the graph has no branches, whatever is drawn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vision_jax.ops import color, warp

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
STRENGTHS = 31
# The greatest strength of operations whose strength is signed and grows evenly from 0.
_SIGNED = {
    "shear_x": 0.99,
    "shear_y": 0.99,
    "translate_x": 32.0,
    "translate_y": 32.0,
    "rotate": 135.0,
    "brightness": 0.99,
    "color": 0.99,
    "contrast": 0.99,
    "sharpness": 0.99,
}
_WARPS, _BLENDS = OPERATIONS[1:6], OPERATIONS[6:10]


def trivial_augment(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    method: warp.Method = "bilinear",
    fill: float = 0.0,
) -> Float[Array, "b h w c"]:
    """Applies one operation of random kind and strength to each image.

    Args:
      images: 0..255; translation is of up to 32 pixels, whatever the size.
      keys: one per example.
      method, fill: see `warp.sample`; for the warps.
    """

    def draw(key: Array) -> tuple[Array, Array, Array]:
        kind, strength, sign = jax.random.split(key, 3)
        return (
            jax.random.randint(kind, (), 0, len(OPERATIONS), jnp.int32),
            jax.random.randint(strength, (), 0, STRENGTHS, jnp.int32),
            jax.random.bernoulli(sign),
        )

    kind, strength, is_negative = jax.vmap(draw)(keys)
    sign = jnp.where(is_negative, -1, 1).astype(jnp.int32)
    return operate(images, kind, strength, sign, method, fill)


def operate(
    images: Float[Array, "b h w c"],
    kind: Int[Array, "b"],
    strength: Int[Array, "b"],
    sign: Int[Array, "b"],
    method: warp.Method = "bilinear",
    fill: float = 0.0,
) -> Float[Array, "b h w c"]:
    """Applies operation `OPERATIONS[kind]` of strength 0..30 and sign ±1 to each image."""
    share = strength.astype(jnp.float32) / (STRENGTHS - 1)
    largest = jnp.asarray([_SIGNED.get(name, 0.0) for name in OPERATIONS], jnp.float32)[kind]
    size = largest * share * sign.astype(jnp.float32)
    matrix = _matrix(kind, size, *images.shape[1:3])
    warped = warp.affine(images, matrix, method, fill)
    blended = color.blend(images, _other(images, kind), 1 + size)
    tabled = color.by_table(images, _table(images, kind, share))
    options = {"identity": images}
    options |= dict.fromkeys(_WARPS, warped) | dict.fromkeys(_BLENDS, blended)
    return _by_name(kind, options, tabled)


def _matrix(
    kind: Int[Array, "b"], size: Float[Array, "b"], height: int, width: int
) -> Float[Array, "b 2 3"]:
    """Makes the affine map of each image; the identity for those that are not warped.

    Shears keep the first row or column, rotations the centre.
    """
    zero, pixels = jnp.zeros_like(size), jnp.trunc(size)
    pair = jnp.stack([zero, zero], -1)
    turn = warp.affine_matrix(height, width, pair, size, pair + 1, pair)

    def add(row: int, column: int, value: Array) -> Array:
        identity = jnp.eye(2, 3, dtype=size.dtype)[None]
        place = jnp.zeros((2, 3), size.dtype).at[row, column].set(1)[None]
        return identity + place * value[:, None, None]

    options = {
        "shear_x": add(0, 1, size),
        "shear_y": add(1, 0, size),
        "translate_x": add(0, 2, -pixels),
        "translate_y": add(1, 2, -pixels),
        "rotate": turn,
    }
    return _by_name(kind, options, add(0, 0, zero))


def _other(images: Float[Array, "b h w c"], kind: Int[Array, "b"]) -> Float[Array, "b h w c"]:
    """Makes the image that each one is blended with: black, for those that are not blended."""
    gray = jnp.broadcast_to(color.grayscale(images), images.shape)
    options = {
        "color": gray,
        "contrast": jnp.broadcast_to(color.mean_gray(images), images.shape),
        "sharpness": color.smoothed(images),
    }
    return _by_name(kind, options, jnp.zeros_like(images))


def _table(
    images: Float[Array, "b h w c"], kind: Int[Array, "b"], share: Float[Array, "b"]
) -> Int[Array, "b c 256"]:
    """Makes each image's table; that of `autocontrast` for those that use none."""
    channels = images.shape[-1]
    options = {
        "posterize": color.posterize_table(8 - jnp.round(6 * share).astype(jnp.int32), channels),
        "solarize": color.solarize_table(255 * (1 - share), channels),
        "equalize": color.equalize_table(images),
    }
    return _by_name(kind, options, color.autocontrast_table(images))


def _by_name(kind: Int[Array, "b"], options: dict[str, Array], otherwise: Array) -> Array:
    """Picks for each image the value of its operation."""
    for name, value in options.items():
        is_it = kind == OPERATIONS.index(name)
        otherwise = jnp.where(is_it.reshape(-1, *[1] * (value.ndim - 1)), value, otherwise)
    return otherwise
