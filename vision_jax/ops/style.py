"""What style transfer compares in feature maps and images, and how it treats colours.

Gatys et al. 2016 ("Image Style Transfer Using Convolutional Neural Networks", CVPR), Johnson et al.
2016 (arXiv:1603.08155), and for colours Gatys et al. 2016 (arXiv:1606.05897). Losses are those of
one layer, per image; how layers are weighted is the caller's.
"""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue; the first row of NTSC's YIQ


def gram_matrix(x: Float[Array, "b h w c"]) -> Float[Array, "b c c"]:
    """Computes products of every two channels, summed over the map and divided by c · h · w.

    Gatys et al. 2015, section 3, with Johnson et al.'s (2016, eq. 3) division.
    """
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    return jnp.einsum("bpc,bpd->bcd", flat, flat) / (flat.shape[1] * flat.shape[2])


def content_loss(
    x: Float[Array, "b h w c"],
    target: Float[Array, "#b h w c"],
    form: Literal["gatys", "johnson", "relative"] = "gatys",
) -> Float[Array, "b"]:
    """Compares each image's feature map with that of the picture whose content is wanted.

    Args:
      x: the image's map.
      target: the content picture's map, of the same size.
      form: 'gatys', half the sum of squared differences (eq. 1); 'johnson', their mean (eq. 2); or
        'relative', their sum over the target's, which no scale of the network changes.
    """
    squared = lax.square(x - target)
    if form == "relative":
        return squared.sum((1, 2, 3)) / _size(target)
    return squared.sum((1, 2, 3)) / 2 if form == "gatys" else squared.mean((1, 2, 3))


def style_loss(
    x: Float[Array, "b h w c"],
    target: Float[Array, "#b c c"],
    form: Literal["gatys", "johnson", "mean", "relative"] = "gatys",
) -> Float[Array, "b"]:
    """Compares the Gram matrix of each image's feature map with a wanted one.

    The style picture may have another size than the images: `gram_matrix` divides by its own. With
    equal sizes the form 'gatys' is eq. 4, which divides sums by 4 N² M² for N channels and M
    pixels.

    Args:
      x: the image's map.
      target: `gram_matrix` of the style picture's map.
      form: 'johnson', the squared Frobenius norm of the difference (eq. 4 there); 'gatys', a
        quarter of it; 'mean', it divided by the number of the matrix's elements; or 'relative', it
        divided by the squared norm of `target`.
    """
    squared = lax.square(gram_matrix(x) - target)
    if form == "relative":
        return squared.sum((1, 2)) / _size(target)
    if form == "mean":
        return squared.mean((1, 2))
    return squared.sum((1, 2)) / 4 if form == "gatys" else squared.sum((1, 2))


def total_variation(
    x: Float[Array, "b h w c"], form: Literal["l1_mean", "l2_sum", "l2_common"] = "l1_mean"
) -> Float[Array, "b"]:
    """Measures how much each image's pixels differ from those to the right and those below.

    Args:
      x: images.
      form: 'l1_mean', the mean absolute difference along rows plus that along columns; 'l2_sum',
        the sum of squared differences; or 'l2_common', that sum over the pixels alone that have
        both neighbours, of which jcjohnson/fast-neural-style takes half.
    """
    across, down = jnp.diff(x, axis=2), jnp.diff(x, axis=1)
    if form == "l1_mean":
        return jnp.abs(across).mean((1, 2, 3)) + jnp.abs(down).mean((1, 2, 3))
    if form == "l2_common":
        across, down = across[:, :-1], down[:, :, :-1]
    return lax.square(across).sum((1, 2, 3)) + lax.square(down).sum((1, 2, 3))


def match_colors(
    source: Float[Array, "b h w 3"],
    target: Float[Array, "#b i j 3"],
    form: Literal["symmetric", "cholesky"] = "symmetric",
    eps: float = 1e-5,
) -> Float[Array, "b h w 3"]:
    """Recolours images so that the mean and the covariance of their colours are another's.

    A style picture that is given the content picture's colours hands on its strokes alone
    (arXiv:1606.05897, section 4.1). The colours change by one affine map per image; values may
    leave the range of colours, and are not clipped.

    Args:
      source: the images to recolour, RGB.
      target: the images whose colours are wanted, of any size.
      form: of the covariances' roots: 'symmetric' (the paper's "image analogies" form), or
        'cholesky'.
      eps: share of the mean variance that is added to each colour's, so that gray pictures, which
        have no variance across colours, can be recoloured.
    """
    (mean, covariance), (other_mean, other) = _moments(source, eps), _moments(target, eps)
    if form == "cholesky":
        lower = jnp.linalg.cholesky(covariance)
        inverse = solve_triangular(lower, _identities(lower), lower=True)
        matrix = jnp.linalg.cholesky(other) @ inverse
    else:
        matrix = _power(other, 0.5) @ _power(covariance, -0.5)
    centred = source - mean[:, None, None, :]
    return jnp.einsum("bhwc,bdc->bhwd", centred, matrix) + other_mean[:, None, None, :]


def with_chroma_of(
    images: Float[Array, "b h w 3"], colors: Float[Array, "#b h w 3"]
) -> Float[Array, "b h w 3"]:
    """Gives images the colours of others: their own luma and the others' chroma, in YIQ.

    Luminance-only transfer (arXiv:1606.05897, section 4.2). Values may leave the range of colours.
    """
    # Red, green and blue that grow by the same amount keep their chroma.
    change = (images - colors) @ jnp.asarray(_LUMA, images.dtype)
    return colors + change[..., None]


def _size(target):
    """Returns the sum of squares of each image's target, and no zero."""
    axes = tuple(range(1, target.ndim))
    return jnp.maximum(lax.square(target).sum(axes), jnp.finfo(target.dtype).tiny)


def _moments(images, eps):
    """Returns the mean (b, 3) and the covariance (b, 3, 3) of each image's colours."""
    flat = images.reshape(images.shape[0], -1, images.shape[-1])
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    covariance = jnp.einsum("bpc,bpd->bcd", centred, centred) / flat.shape[1]
    spread = jnp.trace(covariance, axis1=1, axis2=2) / covariance.shape[-1]
    # A picture of one colour has no variance at all.
    added = jnp.maximum(eps * spread, jnp.finfo(images.dtype).eps)
    return mean, covariance + added[:, None, None] * _identities(covariance)


def _identities(matrices):
    """Returns the identity matrix, once per matrix."""
    return jnp.broadcast_to(jnp.eye(matrices.shape[-1], dtype=matrices.dtype), matrices.shape)


def _power(matrices, exponent):
    """Raises symmetric positive matrices (b, n, n) to a power."""
    values, vectors = jnp.linalg.eigh(matrices)
    return jnp.einsum("bij,bj,bkj->bik", vectors, values**exponent, vectors)
