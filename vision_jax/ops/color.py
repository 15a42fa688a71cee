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


def grayscale(image: Float[Array, "b h w c"]) -> Float[Array, "b h w 1"]:
    """Luma of RGB; the mean of any other number of channels."""
    if image.shape[-1] != 3:
        return image.mean(-1, keepdims=True)
    red, green, blue = (image[..., i : i + 1] * GRAY_WEIGHTS[i] for i in range(3))
    return red + green + blue


def blend(
    image: Float[Array, "b h w c"],
    other: Float[Array, "b h w #c"] | Float[Array, "b 1 1 1"],
    factor: Float[Array, "b"],
    white: float = 255.0,
) -> Float[Array, "b h w c"]:
    """factor · image + (1 - factor) · other, clipped."""
    factor = factor[:, None, None, None]
    return jnp.clip(factor * image + (1 - factor) * other, 0, white)


def brightness(
    image: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """Black at factor 0, the image at 1, brighter above."""
    return jnp.clip(image * factor[:, None, None, None], 0, white)


def contrast(
    image: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """The mean of the gray image at factor 0, the image at 1, beyond it above."""
    return blend(image, mean_gray(image), factor, white)


def mean_gray(image: Float[Array, "b h w c"]) -> Float[Array, "b 1 1 1"]:
    """Each image's mean luma."""
    return grayscale(image).mean((1, 2, 3), keepdims=True)


def saturation(
    image: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """The gray image at factor 0, the image at 1, more colourful above."""
    return blend(image, grayscale(image), factor, white)


def sharpness(
    image: Float[Array, "b h w c"], factor: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w c"]:
    """The smoothed image at factor 0, the image at 1, sharper above."""
    return blend(image, smoothed(image), factor, white)


def smoothed(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Means over 3×3 pixels in which the middle one counts five times; the border stays."""
    h, w = image.shape[1:3]
    if min(h, w) < 3:
        return image
    rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = (total + 4 * image[:, 1:-1, 1:-1]) / 13
    return image.at[:, 1:-1, 1:-1].set(inner)


def hue(
    image: Float[Array, "b h w 3"], turn: Float[Array, "b"], white: float = 255.0
) -> Float[Array, "b h w 3"]:
    """The hue turned by a share of the circle (-0.5..0.5); in float32, as torchvision does it."""
    x = image.astype(jnp.float32) / white
    red, green, blue = (x[..., i] for i in range(3))
    value, least = x.max(-1), x.min(-1)
    gray = value == least
    extent = value - least
    share = extent / jnp.where(gray, 1, value)
    divisor = jnp.where(gray, 1, extent)
    r, g, b = ((value - channel) / divisor for channel in (red, green, blue))
    # Sextants: which channel is the largest, and between which others it lies.
    place = jnp.where(value == red, b - g, jnp.where(value == green, 2 + r - b, 4 + g - r))
    angle = jnp.mod(jnp.mod(place * (1 / 6) + 1, 1) + turn.astype(x.dtype)[:, None, None], 1)
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
    return (jnp.stack(turned, -1) * white).astype(image.dtype)


def posterize(image: Float[Array, "b h w c"], bits: Int[Array, "b"]) -> Float[Array, "b h w c"]:
    """Keeps the highest `bits` (0..8) of each value's eight."""
    return by_table(image, posterize_table(bits, image.shape[-1]))


def solarize(
    image: Float[Array, "b h w c"], threshold: Float[Array, "b"]
) -> Float[Array, "b h w c"]:
    """Values from `threshold` (0..255) on are inverted."""
    return by_table(image, solarize_table(threshold, image.shape[-1]))


def autocontrast(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each channel stretched to 0..255; one of a single value stays."""
    return by_table(image, autocontrast_table(image))


def equalize(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Each channel's values made about equally frequent, by Pillow's whole-number rule."""
    return by_table(image, equalize_table(image))


def by_table(
    image: Float[Array, "b h w c"], table: Int[Array, "b c 256"]
) -> Float[Array, "b h w c"]:
    """Each value, rounded, replaced by its entry in its channel's table."""
    return jax.vmap(jax.vmap(lambda level, row: row[level], (2, 0), 2))(
        _levels(image), table
    ).astype(image.dtype)


def posterize_table(bits: Int[Array, "b"], channels: int) -> Int[Array, "b c 256"]:
    """See `posterize`."""
    step = jnp.left_shift(jnp.int32(1), 8 - bits.astype(jnp.int32))[:, None]
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, :]
    return _for_channels(level // step * step, channels)


def solarize_table(threshold: Float[Array, "b"], channels: int) -> Int[Array, "b c 256"]:
    """See `solarize`."""
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, :]
    is_below = level.astype(threshold.dtype) < threshold[:, None]
    return _for_channels(jnp.where(is_below, level, 255 - level), channels)


def autocontrast_table(image: Float[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """See `autocontrast`."""
    levels = _levels(image)
    low, high = (x[..., None] for x in (levels.min((1, 2)), levels.max((1, 2))))
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, None, :]
    stretched = (level - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), level)


def equalize_table(image: Float[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """See `equalize`."""
    count = _histogram(_levels(image))
    level = jnp.arange(_LEVELS, dtype=jnp.int32)[None, None, :]
    last = jnp.where(count > 0, level, 0).max(-1, keepdims=True)
    of_last = jnp.take_along_axis(count, last, -1)
    step = (count.sum(-1, keepdims=True) - of_last) // 255
    below = jnp.cumsum(count, -1) - count
    table = (step // 2 + below) // jnp.maximum(step, 1)
    return jnp.where(step > 0, jnp.minimum(table, 255), level)


def _levels(image: Float[Array, "b h w c"]) -> Int[Array, "b h w c"]:
    return jnp.clip(jnp.round(image), 0, 255).astype(jnp.int32)


def _histogram(levels: Int[Array, "b h w c"]) -> Int[Array, "b c 256"]:
    """How often each level occurs, as a product of two one-hot codes: nothing is scattered."""
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
