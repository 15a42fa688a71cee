"""Images made from a network: what a score likes most, and what a map still knows of its image."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.inspect.attribution import Score
from vision_jax.ops.style import total_variation

Images = Float[Array, "b h w c"]
Features = Callable[[Float[Array, "b h w c"]], Float[Array, "b *d"]]


def class_image(
    score: Score,
    start: Images,
    steps: int = 200,
    l2: float = 1e-2,
    variation: float = 0.0,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[Images, Float[Array, "steps b"]]:
    """Climbs from `start` to images with a high score (Simonyan et al. 2013, section 2, eq. 1).

    Args:
      score: one number per image, a logit rather than a probability.
      start: the images to begin with, such as zeros.
      steps: of the optimiser.
      l2: λ: it times the sum of squared values is taken off the score.
      variation: it times the sum of squared differences of neighbours is taken off too.
      optimizer: None is `optax.adam(0.05)`.

    Returns:
      The images, and before each step each image's score without what is taken off.
    """

    def objective(images: Images) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
        scores = score(images)
        size = lax.square(images).sum((1, 2, 3))
        return l2 * size + variation * total_variation(images, "l2_sum") - scores, scores

    return _descend(objective, start, steps, optimizer)


def invert_features(
    features: Features,
    target: Float[Array, "b *d"],
    start: Images,
    steps: int = 200,
    power: float = 0.0,
    variation: float = 0.0,
    optimizer: optax.GradientTransformation | None = None,
) -> tuple[Images, Float[Array, "steps b"]]:
    """Finds images whose features are the given ones (Mahendran & Vedaldi 2014, arXiv:1412.0035).

    What differs between such an image and the one that the features are of, the features have
    forgotten. The loss is ‖Φ(x) - Φ₀‖² / ‖Φ₀‖² and two regularisers (eq. 1 and 3, α = 6, β = 2).

    Args:
      features: images to arrays, such as a network's endpoint.
      target: what the features shall be.
      start: the images to begin with; noise, or the mean image.
      steps: of the optimiser.
      power: factor of the sum of values to the 6th, of images with mean 0.
      variation: factor of the sum of squared differences of neighbours.
      optimizer: None is `optax.adam(0.05)`.

    Returns:
      The images, and before each step each image's distance ‖Φ(x) - Φ₀‖² / ‖Φ₀‖².

    Raises:
      UserError: the features of `start` have another shape than `target`.
    """
    shape = jax.eval_shape(features, start).shape
    if shape != target.shape:
        raise UserError(f"features of the start are {shape}, the target's are {target.shape}")
    axes = tuple(range(1, target.ndim))
    largest = jnp.maximum(lax.square(target).sum(axes), jnp.finfo(target.dtype).tiny)

    def objective(images: Images) -> tuple[Float[Array, "b"], Float[Array, "b"]]:
        distance = lax.square(features(images) - target).sum(axes) / largest
        rough = variation * total_variation(images, "l2_sum")
        return distance + power * (images**6).sum((1, 2, 3)) + rough, distance

    return _descend(objective, start, steps, optimizer)


def _descend(objective, start, steps, optimizer):
    """Minimises the objective of each image; keeps what it gives beside itself, step by step."""
    optimizer = optax.adam(0.05) if optimizer is None else optimizer

    def total(images):
        losses, shown = objective(images)
        return losses.sum(), shown

    def step(carry, _):
        images, state = carry
        gradient, shown = jax.grad(total, has_aux=True)(images)
        updates, state = optimizer.update(gradient, state, images)
        return (optax.apply_updates(images, updates), state), shown

    (images, _), shown = lax.scan(step, (start, optimizer.init(start)), length=steps)
    return images, shown
