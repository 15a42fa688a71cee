"""Pixels on the device: normalisation and random augmentation, inside the compiled step.

Images are NHWC RGB with values in 0..255, uint8 or float; only `normalize` leaves that range. Each
random function takes one key per example, so that an example's draw does not depend on how the
batch is spread over devices; give every function its own keys. Shapes are static throughout.

Mixing pairs neighbours, rows 2i and 2i+1, and draws from the even row's key, so that it is the same
on any number of devices as long as each holds an even number of rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Num, UInt8

from vision_jax.ops import color

# Principal components of ImageNet's RGB values in 0..1, as published with fb.resnet.torch; the
# AlexNet paper (Krizhevsky et al. 2012, section 4.1) describes the method without the numbers.
PCA_VALUES = (0.2175, 0.0188, 0.0045)
PCA_VECTORS = (  # a row per channel, a column per component
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_ERASING_TRIES = 10


def normalize(
    images: Float[Array, "*b h w c"] | UInt8[Array, "*b h w c"],
    mean: tuple,
    std: tuple,
) -> Float[Array, "*b h w c"]:
    """Normalises pixels: (images / 255 - mean) / std.

    Args:
      images: 0..255; uint8 becomes float32, a float keeps its type.
      mean: per channel, of values in 0..1.
      std: likewise.

    Raises:
      ValueError: mean and std are not one number per channel.
    """
    channels = images.shape[-1]
    if len(mean) != channels or len(std) != channels:
        raise ValueError(
            f"normalize: {len(mean)} means and {len(std)} stds for an image of {channels} channels"
        )
    dtype = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    shape = (1,) * (images.ndim - 1) + (channels,)
    center = jnp.asarray([255 * m for m in mean], dtype).reshape(shape)
    scale = jnp.asarray([1 / (255 * s) for s in std], dtype).reshape(shape)
    return (images.astype(dtype) - center) * scale


def denormalize(
    images: Float[Array, "*b h w c"], mean: tuple, std: tuple
) -> Float[Array, "*b h w c"]:
    """Turns normalised values back into pixels: 255 (images std + mean); see `normalize`."""
    shape = (1,) * (images.ndim - 1) + (images.shape[-1],)
    center = jnp.asarray([255 * m for m in mean], images.dtype).reshape(shape)
    scale = jnp.asarray([255 * s for s in std], images.dtype).reshape(shape)
    return images * scale + center


def random_flip(
    images: Num[Array, "b h w c"], keys: Key[Array, "b"], probability: float = 0.5
) -> Num[Array, "b h w c"]:
    """Mirrors each image left and right with a probability (0..1)."""
    flip = jax.vmap(lambda key: jax.random.bernoulli(key, probability))(keys)
    return jnp.where(flip[:, None, None, None], images[:, :, ::-1], images)


def pad_crop(
    images: Num[Array, "b h w c"], keys: Key[Array, "b"], pad: int = 4, mode: str = "constant"
) -> Num[Array, "b h w c"]:
    """Pads every side and cuts the old size out at a uniformly random place.

    The CIFAR augmentation of He et al. 2015, section 4.2 (pad 4 with zeros).

    Args:
      images: 0..255, or any scale: padding is 0.
      keys: one per example.
      pad: pixels on each side.
      mode: 'constant' (zeros) or 'reflect' (mirrored about the edge pixel).

    Raises:
      ValueError: another mode.
    """
    if mode not in ("constant", "reflect"):
        raise ValueError(f"pad_crop: mode {mode!r} is neither 'constant' nor 'reflect'")
    shape = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode)

    def crop(padded: Array, key: Array) -> Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * pad + 1)
        return jax.lax.dynamic_slice(padded, (top, left, jnp.zeros_like(top)), shape)

    return jax.vmap(crop)(padded, keys)


def color_jitter(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
) -> Float[Array, "b h w c"]:
    """Changes brightness, contrast and saturation by factors uniform in [1 - x, 1 + x].

    A factor f gives f · image + (1 - f) · other, clipped to 0..255, where other is black, the mean
    of the image's gray version, and that gray version itself. The order is as named: one that is
    drawn, as in fb.resnet.torch and torchvision, would put branches into the step's graph.
    """
    factors = jax.vmap(lambda key: jax.random.uniform(key, (3,), images.dtype, -1.0, 1.0))(keys)
    images = color.brightness(images, 1 + brightness * factors[:, 0])
    images = color.contrast(images, 1 + contrast * factors[:, 1])
    return color.saturation(images, 1 + saturation * factors[:, 2])


def pca_lighting(
    images: Float[Array, "b h w 3"], keys: Key[Array, "b"], std: float = 0.1
) -> Float[Array, "b h w 3"]:
    """Adds AlexNet's colour offset to each image: V diag(λ) α with α ~ N(0, std²) per component.

    Krizhevsky et al. 2012, section 4.1. The result is not clipped and may leave 0..255.
    """
    alpha = jax.vmap(lambda key: jax.random.normal(key, (3,), images.dtype))(keys)
    values = jnp.asarray([255 * std * v for v in PCA_VALUES], images.dtype)
    # A sum and no matrix product: its rounding would depend on the number of rows.
    vectors = jnp.asarray(PCA_VECTORS, images.dtype)
    offset = (vectors[None] * (alpha * values[None])[:, None, :]).sum(-1)
    return images + offset[:, None, None, :]


def random_erasing(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    probability: float = 0.5,
    area: tuple = (0.02, 0.4),
    ratio: tuple = (0.3, 1 / 0.3),
    fill: float = 127.5,
) -> Float[Array, "b h w c"]:
    """Fills a random rectangle of each image with one value, with a probability.

    Zhong et al. 2017, algorithm 1: the first of ten draws that fits inside the image; where none
    does, the image stays as it is.

    Args:
      images: 0..255.
      keys: one per example.
      probability: of erasing, 0..1.
      area: range of the rectangle's area as a share of the image's, uniform.
      ratio: range of its height / width, log-uniform.
      fill: the value written, 0..255.
    """
    height, width = images.shape[1:3]
    low, high = (jnp.log(jnp.asarray(r, jnp.float32)) for r in ratio)

    def rectangle(key: Array) -> Bool[Array, "h w"]:
        coin, size, shape, place = jax.random.split(key, 4)
        pixels = jax.random.uniform(size, (_ERASING_TRIES,), minval=area[0], maxval=area[1])
        pixels = pixels * (height * width)
        aspect = jnp.exp(jax.random.uniform(shape, (_ERASING_TRIES,), minval=low, maxval=high))
        h = jnp.round(jnp.sqrt(pixels * aspect)).astype(jnp.int32)
        w = jnp.round(jnp.sqrt(pixels / aspect)).astype(jnp.int32)
        fits = (h < height) & (w < width) & (h > 0) & (w > 0)
        first = jnp.argmax(fits)
        h, w = h[first], w[first]
        limit = jnp.stack([height - h + 1, width - w + 1])
        top, left = jax.random.randint(place, (2,), 0, limit)
        inside = _inside(height, width, top, left, top + h, left + w)
        return inside & fits[first] & jax.random.bernoulli(coin, probability)

    mask = jax.vmap(rectangle)(keys)
    return jnp.where(mask[..., None], jnp.asarray(fill, images.dtype), images)


def neighbours(rows: Num[Array, "b *rest"]) -> Num[Array, "b *rest"]:
    """Exchanges rows 2i and 2i+1.

    Raises:
      ValueError: an odd number of rows.
    """
    count = rows.shape[0]
    _check_even(count)
    return rows.reshape(count // 2, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


def mixup(
    images: Float[Array, "b h w c"], keys: Key[Array, "b"], alpha: float = 1.0
) -> tuple[Float[Array, "b h w c"], Float[Array, "b"]]:
    """Mixes neighbours: λ · image + (1 - λ) · its neighbour (mixup, Zhang et al. 2017).

    Each pair has its own λ ~ Beta(α, α).

    Args:
      images: 0..255.
      keys: one per example; the even rows' are used.
      alpha: above 0; 1 makes λ uniform.

    Returns:
      The mixed images, and λ: the weight of each row's own label, the rest being its neighbour's.
    """
    lam = _pair_lambda(keys, alpha, images.dtype)
    weight = lam[:, None, None, None]
    return weight * images + (1 - weight) * neighbours(images), lam


def cutmix(
    images: Float[Array, "b h w c"], keys: Key[Array, "b"], alpha: float = 1.0
) -> tuple[Float[Array, "b h w c"], Float[Array, "b"]]:
    """Exchanges one rectangle, the same in both, between neighbours (CutMix, Yun et al. 2019).

    The rectangle covers 1 - λ of the image with λ ~ Beta(α, α), about a uniform centre, and is
    clipped at the border; λ is then the share of the image that stayed (their appendix A).

    Args:
      images: 0..255.
      keys: one per example; the even rows' are used.
      alpha: above 0; 1 makes λ uniform.

    Returns:
      The mixed images, and λ: the weight of each row's own label, the rest being its neighbour's.
    """
    height, width = images.shape[1:3]
    cut = jnp.sqrt(1 - _pair_lambda(keys, alpha, jnp.float32))
    center = _per_pair(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (2,)), keys)
    size = jnp.stack([height * cut, width * cut], 1).astype(jnp.int32)
    limit = jnp.asarray([[height, width]], jnp.int32)
    start = jnp.floor(center * limit.astype(center.dtype)).astype(jnp.int32) - size // 2
    stop = jnp.minimum(start + size, limit)
    start = jnp.maximum(start, 0)
    mask = jax.vmap(lambda a, b: _inside(height, width, a[0], a[1], b[0], b[1]))(start, stop)
    lam = 1 - mask.sum((1, 2)).astype(images.dtype) / (height * width)
    return jnp.where(mask[..., None], neighbours(images), images), lam


def mix(
    images: Float[Array, "b h w c"],
    keys: Key[Array, "b"],
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> tuple[Float[Array, "b h w c"], Float[Array, "b"]]:
    """Mixes neighbours by mixup, CutMix, or with both α above 0 by one of them, tossed per pair.

    Returns:
      The mixed images, and λ (b,): the weight of each row's own label.
    """
    if not cutmix_alpha:
        return mixup(images, keys, mixup_alpha)
    if not mixup_alpha:
        return cutmix(images, keys, cutmix_alpha)
    blended, blended_lam = mixup(images, keys, mixup_alpha)
    cut, cut_lam = cutmix(images, keys, cutmix_alpha)
    coin = _per_pair(lambda key: jax.random.bernoulli(jax.random.fold_in(key, 2)), keys)
    return (
        jnp.where(coin[:, None, None, None], cut, blended),
        jnp.where(coin, cut_lam, blended_lam),
    )


def _pair_lambda(keys: Key[Array, "b"], alpha: float, dtype: Any) -> Float[Array, "b"]:
    if alpha <= 0:
        raise ValueError(f"mixing needs alpha above 0, not {alpha}")

    def draw(key: Array) -> Float[Array, ""]:
        if alpha == 1:  # the same distribution without the sampler's rejection loop
            return jax.random.uniform(key, (), dtype)
        return jax.random.beta(key, alpha, alpha, (), dtype)

    return _per_pair(draw, keys)


def _per_pair(draw: Callable, keys: Key[Array, "b"]) -> Num[Array, "b ..."] | Bool[Array, "b"]:
    """Draws with the even rows' keys only; both rows of a pair get the result."""
    _check_even(keys.shape[0])
    return jnp.repeat(jax.vmap(draw)(keys[::2]), 2, axis=0)


def _check_even(count: int) -> None:
    if count % 2:
        raise ValueError(f"mixing pairs neighbours and needs an even number of rows, not {count}")


def _inside(height: int, width: int, top, left, bottom, right) -> Bool[Array, "h w"]:
    """Makes a mask that is True on rows top..bottom - 1 and columns left..right - 1."""
    y = jnp.arange(height, dtype=jnp.int32)[:, None]
    x = jnp.arange(width, dtype=jnp.int32)[None, :]
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)
