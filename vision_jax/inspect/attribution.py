"""Which pixels of an image a network's answer rests on.

A score is one number per image, which depends on that image alone: a logit, the activation of one
pixel of a map, or anything else (`class_score`, `activation_score`).
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.config import UserError, suggest
from vision_jax.inspect.programs import Outputs, with_addition, with_relu

Network = Callable[[Float[Array, "b h w c"]], Outputs]
Score = Callable[[Float[Array, "b h w c"]], Float[Array, "b"]]
Backward = Literal["gradient", "guided", "deconvnet"]


def class_score(
    model: nn.Module, variables: dict[str, Any], labels: Int[Array, "b"], output: str = "logits"
) -> Score:
    """Makes the score that is a network's logit for each image's class.

    Args:
      model, variables: a network whose `output` is (b, k); it is evaluated, not trained.
      labels: the class of each image.
      output: name among the network's outputs.
    """

    def score(images: Float[Array, "b h w c"]) -> Float[Array, "b"]:
        logits = model.apply(variables, images)[output]
        return jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]

    return score


def activation_score(
    model: nn.Module,
    variables: dict[str, Any],
    endpoint: str,
    channel: int,
    pixel: tuple[int, int] | None = None,
) -> Score:
    """Makes the score that is the activation of one channel of a map.

    Args:
      model, variables: a network; it is evaluated, not trained.
      endpoint: name of a map (b, i, j, d) among its outputs.
      channel: of the map.
      pixel: row and column of it; None takes the strongest pixel of each image.

    Raises:
      UserError: when the score is computed, if there is no such endpoint.
    """

    def score(images: Float[Array, "b h w c"]) -> Float[Array, "b"]:
        outputs = model.apply(variables, images)
        if endpoint not in outputs:
            raise UserError(f"endpoint {endpoint!r} is no map{suggest(endpoint, outputs)}")
        activations = outputs[endpoint][..., channel]
        if pixel is None:
            return activations.max((1, 2))
        return activations[:, pixel[0], pixel[1]]

    return score


def image_gradient(
    score: Score, images: Float[Array, "b h w c"], backward: Backward = "gradient"
) -> Float[Array, "b h w c"]:
    """Passes each image's score back to its pixels.

    Args:
      score: one number per image.
      images: to look at.
      backward: how ReLUs pass on what comes back: 'gradient', where their input was positive
        (Simonyan et al. 2013, arXiv:1312.6034); 'deconvnet', what is positive of it, wherever the
        input was (Zeiler & Fergus 2013, arXiv:1311.2901); 'guided', where both hold (Springenberg
        et al. 2014, arXiv:1412.6806). Max pooling passes it on to where the maxima were, which are
        the deconvnet's switches. Zeiler and Fergus send an activation back instead of 1: give half
        its square as the score.

    Raises:
      UserError: a network without ReLU, where `backward` is not 'gradient'.
    """
    if backward != "gradient":
        score = with_relu(score, {"guided": _guided_relu, "deconvnet": _deconvnet_relu}[backward])
    return jax.grad(lambda x: score(x).sum())(images)


def saliency(score: Score, images: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
    """Computes how strongly each pixel acts on the score: the largest magnitude over its channels.

    Simonyan et al. 2013, section 3.1.
    """
    return jnp.abs(image_gradient(score, images)).max(-1)


def grad_cam(
    network: Network,
    score: Callable[[Outputs], Float[Array, "b"]],
    images: Float[Array, "b h w c"],
    endpoint: str,
) -> Float[Array, "b i j"]:
    """Computes where in a map evidence for the score lies.

    Selvaraju et al. 2016 (arXiv:1610.02391), eq. 1 and 2: the map's channels are weighted by the
    score's mean gradient, and what is positive of the sum is kept, at the map's own size.

    Args:
      network: images to a dict of arrays.
      score: one number per image from that dict.
      images: to look at.
      endpoint: the map's name; the score must be computed from it.

    Raises:
      UserError: there is no such endpoint.
    """
    shapes = jax.eval_shape(network, images)
    if endpoint not in shapes:
        raise UserError(f"endpoint {endpoint!r} is no map{suggest(endpoint, shapes)}")
    nothing = jnp.zeros(shapes[endpoint].shape, shapes[endpoint].dtype)

    def total(addition: Float[Array, "b i j d"]) -> tuple[Array, Array]:
        outputs = with_addition(network, endpoint, addition)(images)
        return score(outputs).sum(), outputs[endpoint]

    gradient, maps = jax.grad(total, has_aux=True)(nothing)
    weights = gradient.mean((1, 2))
    return jax.nn.relu(jnp.einsum("bijd,bd->bij", maps, weights))


def occlusion(
    score: Score,
    images: Float[Array, "b h w c"],
    window: tuple[int, int],
    stride: tuple[int, int] | None = None,
    fill: float = 0.0,
) -> Float[Array, "b i j"]:
    """Computes the score of each image while a window of it is covered, for every place.

    Zeiler & Fergus 2013, section 4.2: where the score falls, there is what it rests on. Windows
    begin at every `stride` pixels and lie within the image.

    Args:
      score: one number per image; it runs once per place.
      images: to look at.
      window: rows and columns that are covered.
      stride: from place to place; None is the window's own size.
      fill: the value that covers, such as that of gray.

    Raises:
      UserError: a window that is larger than the images.
    """
    (h, w), (rows, columns) = images.shape[1:3], window
    down, across = window if stride is None else stride
    if rows > h or columns > w:
        raise UserError(f"window={window} is larger than the images, which have {h}x{w} pixels")
    tops, lefts = jnp.arange(0, h - rows + 1, down), jnp.arange(0, w - columns + 1, across)
    y, x = jnp.arange(h)[:, None], jnp.arange(w)[None, :]

    def covered(place: Int[Array, "2"]) -> Float[Array, "b"]:
        top, left = place
        is_inside = (y >= top) & (y < top + rows) & (x >= left) & (x < left + columns)
        return score(jnp.where(is_inside[None, :, :, None], fill, images))

    places = jnp.stack(jnp.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
    scores = lax.map(covered, places)
    return scores.T.reshape(-1, len(tops), len(lefts))


@jax.custom_vjp
def _guided_relu(x):
    return jnp.maximum(x, 0)


def _guided_forward(x):
    return jnp.maximum(x, 0), x > 0


def _guided_backward(is_positive, gradient):
    return (jnp.where(is_positive, jnp.maximum(gradient, 0), 0),)


@jax.custom_vjp
def _deconvnet_relu(x):
    return jnp.maximum(x, 0)


def _deconvnet_forward(x):
    return jnp.maximum(x, 0), None


def _deconvnet_backward(_, gradient):
    return (jnp.maximum(gradient, 0),)


_guided_relu.defvjp(_guided_forward, _guided_backward)
_deconvnet_relu.defvjp(_deconvnet_forward, _deconvnet_backward)
