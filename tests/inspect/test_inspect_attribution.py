"""Saliency, guided backpropagation, deconvnet, Grad-CAM and occlusion where the answer is known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import inspect, models
from vision_jax.config import UserError
from vision_jax.models import Classifier, PoolHead
from vision_jax.ops import conv2d, conv_transpose2d, max_pool, max_pool_indices
from vision_jax.ops.upsample import max_unpool

EDGE = jnp.asarray([[1, 0, -1], [2, 0, -2], [1, 0, -1]], jnp.float32)[:, :, None, None]


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def planted(top, left, size=12):
    """An image that is nothing but the edge filter's own pattern at one place."""
    return jnp.zeros((1, size, size, 1)).at[0, top : top + 3, left : left + 3].set(EDGE[..., 0])


def strongest(images):
    """A network of one filter: the strongest response in a window of a window."""
    return max_pool(nn.relu(conv2d(images, EDGE)), 2).max((1, 2, 3))


@pytest.mark.parametrize("backward", ["gradient", "guided", "deconvnet"])
@pytest.mark.parametrize("place", [(2, 3), (6, 8)])
def test_a_planted_filter_is_found_where_it_lies(backward, place):
    got = inspect.image_gradient(strongest, planted(*place), backward)
    np.testing.assert_allclose(got, planted(*place), atol=1e-6)


def test_saliency_of_a_linear_score_is_the_weights_magnitude():
    weights = drawn(4, 5, 3)
    got = inspect.saliency(lambda x: (x * weights[None]).sum((1, 2, 3)), drawn(2, 4, 5, 3))
    np.testing.assert_allclose(got, np.broadcast_to(np.abs(weights).max(-1), (2, 4, 5)), rtol=1e-6)


@pytest.mark.parametrize("backward", ["gradient", "guided", "deconvnet"])
def test_two_layers_equal_the_papers_passes_written_out(backward):
    """Unpooling with switches, the rectified signal, transposed filters: one layer at a time."""
    x, one, two = drawn(1, 9, 9, 2), drawn(3, 3, 2, 4, seed=1), drawn(3, 3, 4, 3, seed=2)
    seed = drawn(1, 1, 1, 3, seed=3)

    def score(images):
        maps = max_pool(nn.relu(conv2d(images, one)), 2)
        return (nn.relu(conv2d(maps, two)) * seed).sum((1, 2, 3))

    def rectified(signal, before):
        passed = signal if backward == "gradient" else jnp.maximum(signal, 0)
        return passed if backward == "deconvnet" else jnp.where(before > 0, passed, 0)

    first = conv2d(x, one)
    pooled, switches = max_pool_indices(nn.relu(first), 2)
    second = conv2d(pooled, two)
    signal = rectified(jnp.broadcast_to(seed, second.shape), second)
    signal = max_unpool(conv_transpose2d(signal, two.swapaxes(2, 3)), switches, (7, 7))
    wanted = conv_transpose2d(rectified(signal, first), one.swapaxes(2, 3))
    got = inspect.image_gradient(score, x, backward)
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    plain = inspect.image_gradient(score, x)
    assert (np.abs(got - plain).max() > 1e-2) == (backward != "gradient")


@functools.cache
def small_resnet():
    model = Classifier(models.ResNet((1, 1), "basic", 4), PoolHead(3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    draw = np.random.default_rng(0)
    variables = jax.tree.map(lambda a: jnp.asarray(draw.uniform(-1, 1, a.shape), a.dtype), shapes)
    variables["batch_stats"] = jax.tree.map(jnp.ones_like, variables["batch_stats"])
    return model, variables


@pytest.mark.parametrize("is_jitted", [False, True])
def test_grad_cam_above_an_average_is_the_class_activation_map(is_jitted):
    """Selvaraju et al., section 3: with average pooling and one layer it is that of Zhou et al."""
    model, variables = small_resnet()
    images, labels = drawn(2, 32, 32, 3), jnp.asarray([2, 0])
    network = functools.partial(model.apply, variables)
    network = jax.jit(network) if is_jitted else network

    def score(outputs):
        return jnp.take_along_axis(outputs["logits"], labels[:, None], axis=1)[:, 0]

    got = jax.jit(lambda x: inspect.grad_cam(network, score, x, "conv3_x"))(images)
    maps = model.apply(variables, images)["conv3_x"]
    kernel = variables["params"]["head"]["fc"]["kernel"][:, labels]
    wanted = jnp.einsum("bijd,db->bij", maps, kernel) / (maps.shape[1] * maps.shape[2])
    np.testing.assert_allclose(got, np.maximum(wanted, 0), rtol=1e-3, atol=1e-4 * wanted.max())
    assert got.any()


def test_guided_backpropagation_runs_through_a_whole_network():
    """Residual sums have a ReLU of their own, which is replaced too."""
    model, variables = small_resnet()
    score = inspect.class_score(model, variables, jnp.asarray([1]))
    images = drawn(1, 32, 32, 3)
    passes = {
        b: np.asarray(jax.jit(inspect.image_gradient, static_argnums=(0, 2))(score, images, b))
        for b in ("gradient", "guided")
    }
    assert np.isfinite(passes["guided"]).all() and passes["guided"].any()
    assert np.abs(passes["guided"] - passes["gradient"]).max() > 1e-3


def test_the_blob_that_decides_is_where_occlusion_hurts():
    images = jnp.ones((2, 8, 12, 1)) * 0.1
    images = images.at[0, 2:4, 6:9].set(1.0).at[1, 6:8, 0:3].set(1.0)

    def score(x):
        return x.max((1, 2, 3))

    got = inspect.occlusion(score, images, (2, 3))
    assert got.shape == (2, 4, 4)
    wanted = np.ones((2, 4, 4), np.float32)
    wanted[0, 1, 2] = wanted[1, 3, 0] = 0.1
    np.testing.assert_allclose(got, wanted)
    fine = np.asarray(inspect.occlusion(score, images, (3, 3), (1, 1), fill=0.5))
    assert fine.shape == (2, 6, 10)
    np.testing.assert_array_equal(np.argwhere(fine[0] < 1), [[1, 6], [2, 6]])
    np.testing.assert_allclose(fine[0][fine[0] < 1], 0.5)


def test_activation_scores():
    model, variables = small_resnet()
    images = drawn(2, 32, 32, 3)
    maps = model.apply(variables, images)["conv2_x"]
    best = inspect.activation_score(model, variables, "conv2_x", 3)(images)
    np.testing.assert_allclose(best, maps[..., 3].max((1, 2)), rtol=1e-5)
    one = inspect.activation_score(model, variables, "conv2_x", 1, (2, 5))(images)
    np.testing.assert_allclose(one, maps[:, 2, 5, 1], rtol=1e-5)


def test_what_does_not_fit_is_named():
    model, variables = small_resnet()
    images, network = drawn(1, 32, 32, 3), functools.partial(model.apply, variables)
    with pytest.raises(UserError, match=r"endpoint 'conv3x' is no map - did you mean conv3_x\?"):
        inspect.grad_cam(network, lambda o: o["logits"][:, 0], images, "conv3x")
    with pytest.raises(UserError, match=r"endpoint 'conv3x' is no map - did you mean conv3_x\?"):
        inspect.activation_score(model, variables, "conv3x", 0)(images)
    with pytest.raises(UserError, match="no ReLU"):
        inspect.image_gradient(lambda x: jnp.tanh(x).sum((1, 2, 3)), images, "guided")
    with pytest.raises(UserError, match=r"window=\(40, 3\) is larger than the images"):
        inspect.occlusion(lambda x: x.sum((1, 2, 3)), images, (40, 3))
