"""Colour operations of a given strength per image; `image` and `trivial_augment` draw them.

Images are NHWC RGB with values in 0..`white` (255, or 1 for images in 0..1), float. Results are
clipped to that range and not rounded. Those that work by a table of 256 entries (`posterize`,
`solarize`, `autocontrast`, `equalize`) read values of 0..255, rounded, as Pillow's namesakes do.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

GRAY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R BT.601 luma, as torchvision rounds it
_LEVELS = 256
_HISTOGRAM_ROWS = 64  # images whose histograms are counted at once, which bounds the memory


def grayscale(images: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Computes the luma of RGB images; the mean of any other number of channels."""
    if images.shape[-1] != 3:
        return images.mean(-1, keepdims=True)
    red, green, blue = (images[..., i : i + 1] * GRAY_WEIGHTS[i] for i in range(3))
    return red + green + blue


def blend(
    images: Float[Array, "b h w c"],
    other: Float[Array, "b h w #c"] | Float[Array, "b 1 1 1"],
    factor: Float[Array, "b"],
    white: float = 255.0,
) -> Float[Array, "b h w c"]:
    """Blends images: factor · image + (1 - factor) · other, clipped."""
    factor = factor[:, None, None, None]
    return jnp.clip(factor * images + (1 - factor) * other, 0, white)


def brightness(
    images: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """Scales brightness: black at factor 0, the image at 1, brighter above."""
    return jnp.clip(images * factor[:, None, None, None], 0, white)


def contrast(
    images: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """Scales contrast: the gray image's mean at factor 0, the image at 1, more contrast above."""
    return blend(images, mean_gray(images), factor, white)


def mean_gray(images: Float[Array, "b h w c"]) -> Float[Array, "b 1 1 1"]:
    """Computes each image's mean luma."""
    return grayscale(images).mean((1, 2, 3), keepdims=True)


def saturation(
    images: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """Scales saturation: the gray image at factor 0, the image at 1, more colourful above."""
    return blend(images, grayscale(images), factor, white)


def sharpness(
    images: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """Scales sharpness: the smoothed image at factor 0, the image at 1, sharper above."""
    return blend(images, smoothed(images), factor, white)


def smoothed(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Averages 3×3 pixels, of which the middle one counts five times; the border stays."""
    h, w = images.shape[1:3]
    if min(h, w) < 3:
        return images
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = (total + 4 * images[:, 1:-1, 1:-1]) / 13
    return images.at[:, 1:-1, 1:-1].set(inner)


def hue(
    images: Float[Array, "b h w 3"], turn: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w 3"]:
    """Turns the hue by a share of the circle (-0.5..0.5); in float32, as torchvision does it."""
    x = images.astype(jnp.float32) / white
    red, green, blue = (x[..., i] for i in range(3))
    value, least = x.max(-1), x.min(-1)
    gray = value == least
    extent = value - least
    share = extent / jnp.where(gray, 1, value)
    divisor = jnp.where(gray, 1, extent)
    r, g, b = ((value - channel) / divisor for channel in (red, green, blue))
    # Sextants: which channel is the largest, and between which others it lies.
    sextant = jnp.where(value == red, b - g, jnp.where(value == green, 2 + r - b, 4 + g - r))
    angle = jnp.mod(jnp.mod(sextant * (1 / 6) + 1, 1) + turn.astype(x.dtype)[:, None, None], 1)
    sixth = angle * 6
    number = jnp.floor(sixth)
    part = share * (sixth - number)
    rest = 1 - share
    q, t, p = (jnp.clip(y * value, 0, 1) for y in (1 - part, part + rest, rest))
    number = jnp.mod(number.astype(jnp.int32), 6)

    def pick(*choices: Array) -> Array:
        return jnp.select([number == i for i in range(6)], choices)

    turned = (
        pick(value, q, p, p, t, value),
        pick(t, value, value, q, p, p),
        pick(p, p, t, value, value, q),
    )
    return (jnp.stack(turned, -1) * white).astype(images.dtype)


def posterize(images: Float[Array, "b h w c"], bits: Int[Array, "b"]) -> Float[Array, "b h w c"]:
    """Keeps the highest `bits` (0..8) of each value's eight."""
    return by_table(images, posterize_table(bits, images.shape[-1]))


def solarize(
    images: Float[Array, "b h w c"], threshold: Float[Array, "b"]
) -> Float[Array, "b h w c"]:
    """Inverts values from `threshold` (0..255) on."""
    return by_table(images, solarize_table(threshold, images.shape[-1]))


def autocontrast(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Stretches each channel to 0..255; one of a single value stays."""
    return by_table(images, autocontrast_table(images))


def equalize(images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Makes each channel's values about equally frequent, by Pillow's whole-number rule."""
    return by_table(images, equalize_table(images))


def by_table(
    images: Float[Array, "b h w c"], table: Int[Array, "b c 256"]
) -> Float[Array, "b h w c"]:
    """Replaces each value, rounded, by its entry in its channel's table."""
    return jax.vmap(jax.vmap(lambda level, row: row[level], (2, 0), 2))(
        _levels(images), table
    ).astype(images.dtype)


def posterize_table(bits: Int[Array, "b"], channels: int) -> Int[Array, "b c 256"]:
    """Makes the tables of `posterize`."""
    step = jnp.left_shift(jnp.int32(1), 8 - bits.astype(jnp.int32))[:, None]
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, :]
    return _for_channels(level // step * step, channels)


def solarize_table(threshold: Float[Array, "b"], channels: int) -> Int[Array, "b c 256"]:
    """Makes the tables of `solarize`."""
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, :]
    is_below = level.astype(threshold.dtype) < threshold[:, None]
    return _for_channels(jnp.where(is_below, level, 255 - level), channels)


def autocontrast_table(images: Float[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """Makes the tables of `autocontrast`."""
    levels = _levels(images)
    low, high = (x[..., None] for x in (levels.min((1, 2)), levels.max((1, 2))))
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, None, :]
    stretched = (level - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), level)


def equalize_table(images: Float[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """Makes the tables of `equalize`."""
    count = _histogram(_levels(images))
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, None, :]
    last = jnp.where(count > 0, level, 0).max(-1, keepdims=True)
    last_count = jnp.take_along_axis(count, last, -1)
    step = (count.sum(-1, keepdims=True) - last_count) // 255
    below = jnp.cumsum(count, -1) - count
    table = (step // 2 + below) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(table, 255), level)


def _levels(images: Float[Array, "b h w c"]) -> Int[Array, "b h w c"]:
    return jnp.clip(jnp.round(images), 0, 255).astype(jnp.int32)


def _histogram(levels: Int[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """Counts how often each level occurs, by a product of two one-hot codes, without scattering."""
    digit = jnp.arange(16, dtype=jnp.int32)[None, None, None, :]

    def count(levels: Int[Array, "h w c"]) -> Int[Array, "c 256"]:
        high, low = (
            (part[..., None] == digit).astype(jnp.float32) for part in (levels // 16, levels % 16)
        )
        # Sums of ones are exact in float32 up to 16 million pixels, at any precision of products.
        return jnp.einsum("hwci,hwcj->cij", high, low).reshape(-1, _LEVELS).astype(jnp.int32)

    return jax.lax.map(count, levels, batch_size=_HISTOGRAM_ROWS)


def _for_channels(table: Int[Array, "b 256"], channels: int) -> Int[Array, "b c 256"]:
    return jnp.broadcast_to(table[:, None, :], (table.shape[0], channels, _LEVELS))
