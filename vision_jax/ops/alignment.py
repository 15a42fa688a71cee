"""Alignment of faces by their landmarks: similarity transforms, and images brought to a template.

Points are (x, y), where (0, 0) is the middle of the first pixel.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.ops.warp import sample


def similarity_transform(
    points: Float[Array, "k 2"], template: Float[Array, "k 2"]
) -> Float[Array, "2 3"]:
    """Finds the rotation, scale and shift that bring points nearest to a template's.

    Nearest in the sum of squared distances, without reflection (Umeyama 1991). In the plane such a
    transform is a multiplication of complex numbers, and the best one has a closed form.

    Returns:
      [[a, -b, x], [b, a, y]]: (x', y') = matrix · (x, y, 1). The identity's rotation where all
      points are one.
    """
    middle, target = points.mean(0), template.mean(0)
    p, q = points - middle[None], template - target[None]
    spread = jnp.sum(p * p)
    known = spread > 0
    spread = jnp.where(known, spread, 1)
    a = jnp.where(known, jnp.sum(p * q) / spread, 1)
    b = jnp.where(known, jnp.sum(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / spread, 0)
    rotation = jnp.stack([jnp.stack([a, -b]), jnp.stack([b, a])])
    shift = target - (rotation * middle[None]).sum(1)
    return jnp.concatenate([rotation, shift[:, None]], 1)


def invert(matrix: Float[Array, "2 3"]) -> Float[Array, "2 3"]:
    """Inverts an affine transform; NaN or infinite where it has no inverse."""
    (a, b, x), (c, d, y) = matrix
    determinant = a * d - b * c
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / determinant
    shift = -(inverse * jnp.stack([x, y])[None]).sum(1)
    return jnp.concatenate([inverse, shift[:, None]], 1)


def align_face(
    image: Float[Array, "h w c"],
    points: Float[Array, "k 2"],
    template: Float[Array, "k 2"],
    size: int,
    fill: float = 127.5,
) -> Float[Array, "{size} {size} c"]:
    """Brings a face's landmarks to a template's places, in a square picture.

    Args:
      image: any scale.
      points: landmarks in the image's pixels.
      template: where they should be in the result's.
      size: side of the result, pixels.
      fill: value beyond the image.
    """
    back = invert(similarity_transform(points, template))
    place = jnp.arange(size, dtype=points.dtype)
    grid = jnp.stack(jnp.meshgrid(place, place), -1)
    moved = (back[None, None, :, :2] * grid[:, :, None]).sum(-1) + back[None, None, :, 2]
    return sample(image[None], moved[None] + 0.5, fill=fill)[0]  # there a pixel's middle is 0.5
