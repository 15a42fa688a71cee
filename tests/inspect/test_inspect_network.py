"""Networks as functions with their maps, and the deconvnet of ZFNet's form written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from tests.models.detectors.tiny_detectors import retinanet
from vision_jax import inspect, models
from vision_jax.config import UserError
from vision_jax.inspect.activations import window_of
from vision_jax.models import Classifier, PoolHead
from vision_jax.ops import conv2d, conv_transpose2d, max_pool
from vision_jax.ops.conv import pair

EDGE = jnp.asarray([[1, 0, -1], [2, 0, -2], [1, 0, -1]], jnp.float32)[:, :, None, None]


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 1, shape), jnp.float32)


def narrow_zfnet() -> models.AlexNetBackbone:
    """ZFNet's geometry (7x7 and 5x5 at stride 2, overlapping pools) with few channels."""
    return models.AlexNetBackbone(
        features=(4, 5, 6, 6, 5),
        kernels=(7, 5, 3, 3, 3),
        steps=(2, 2, 1, 1, 1),
        paddings=(1, 0, 1, 1, 1),
        groups=(1,) * 5,
        biases=(0.0,) * 5,
        std=0.3,
        lrn=(False,) * 5,
        pools=(1, 1, None, None, 0),
    )


def network_of(model, *others, size=64, channels=3):
    images = drawn(1, size, size, channels)
    variables = models.init(model, jax.random.key(0), images, *others)
    return inspect.Network(model, variables, others), images


def shapes_of(model, *others):
    """A network whose variables are all zero: enough to be asked for shapes."""
    images = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, *others)
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return inspect.Network(model, variables, others), images


def switches(x, signal, window, stride, padding):
    """Puts each window's value where its maximum was, one window after the other."""
    x, signal = np.asarray(x), np.asarray(signal)
    (rows, columns), padded = (
        pair(stride),
        np.pad(
            x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=-np.inf
        ),
    )
    out = np.zeros_like(padded)
    for i, j, c in np.ndindex(*signal.shape[1:]):
        part = padded[0, i * rows : i * rows + window, j * columns : j * columns + window, c]
        y, z = np.unravel_index(part.argmax(), part.shape)
        out[0, i * rows + y, j * columns + z, c] += signal[0, i, j, c]
    end = (slice(padding, n - padding or None) for n in out.shape[1:3])
    return out[(slice(None), *end)]


def test_a_response_of_zfnet_comes_back_as_the_papers_deconvnet_sends_it():
    network, images = network_of(narrow_zfnet())
    params = network.variables["params"]
    outputs = jax.jit(network)(images)
    channel = int(np.asarray(outputs["conv3"]).max((0, 1, 2)).argmax())
    (got,) = inspect.project(network, images, {"conv3": [channel]})
    kernels = {name: params[name]["kernel"] for name in ("conv1", "conv2", "conv3")}
    first, pool1 = outputs["conv1"], max_pool(outputs["conv1"], 3, 2, 1)
    before2 = conv2d(pool1, kernels["conv2"], 2, 0)
    second = outputs["conv2"]
    np.testing.assert_allclose(jnp.maximum(before2, 0), second, atol=1e-4)

    third = np.asarray(outputs["conv3"])
    signal = np.zeros_like(third)
    place = np.unravel_index(third[0, ..., channel].argmax(), third.shape[1:3])
    signal[0, place[0], place[1], channel] = third[0, place[0], place[1], channel]
    # Filter transposed, unpool at the switches, rectify; from conv3 down to the image.
    signal = conv_transpose2d(jnp.asarray(signal), kernels["conv3"].swapaxes(2, 3), 1, 1)
    signal = np.maximum(switches(second, signal, 3, 2, 1), 0)
    rest = pool1.shape[1] - ((second.shape[1] - 1) * 2 + 5)
    signal = conv_transpose2d(jnp.asarray(signal), kernels["conv2"].swapaxes(2, 3), 2, 0, rest)
    signal = np.maximum(switches(first, signal, 3, 2, 1), 0)
    rest = images.shape[1] + 2 - ((first.shape[1] - 1) * 2 + 7)
    signal = conv_transpose2d(jnp.asarray(signal), kernels["conv1"].swapaxes(2, 3), 2, 1, rest)
    np.testing.assert_allclose(got.signal, signal[0], atol=1e-4 * np.abs(signal).max())
    assert got.activation == pytest.approx(float(third[0, ..., channel].max()), rel=1e-5)
    assert np.abs(got.signal).max() > 0


class Edges(nn.Module):
    """One filter of a known pattern, and its mirror image."""

    @nn.compact
    def __call__(self, images):
        kernel = jnp.concatenate([EDGE, EDGE[:, ::-1]], -1)
        return {"edges": nn.relu(conv2d(images, kernel))}


def test_a_planted_filter_comes_back_at_its_place():
    images = jnp.zeros((1, 12, 12, 1)).at[0, 4:7, 6:9].set(EDGE[..., 0])
    network = inspect.Network(Edges(), {})
    assert inspect.strongest_channels(network(images)["edges"], 5).tolist() == [[0, 1]]
    (found,) = inspect.project(network, images, {"edges": [0]}, "guided")
    assert found.activation == pytest.approx(12)
    np.testing.assert_allclose(found.signal, 12 * images[0], atol=1e-5)
    assert found.window == (4, 6, 7, 9)


def test_windows():
    signal = np.zeros((6, 8, 3), np.float32)
    assert window_of(signal) == (0, 0, 6, 8)
    signal[2, 3, 1], signal[5, 4, 0], signal[0, 0] = -4, 2, 0.01
    assert window_of(signal) == (2, 3, 6, 5)


def test_maps_are_listed_from_large_to_small():
    network, images = shapes_of(narrow_zfnet())
    assert list(network.maps(images)) == ["conv1", "conv2", "conv3", "conv4", "conv5", "pool5"]
    assert network.maps(images)["conv1"] == (30, 30, 4)
    classifier = Classifier(models.ResNet((1, 1), "basic", 4), PoolHead(3))
    network, images = shapes_of(classifier)
    assert list(network.maps(images)) == ["conv1", "conv2_x", "conv3_x"]
    assert jax.eval_shape(network, images)["logits"].shape == (1, 3)


def test_a_detectors_backbone_and_pyramid_are_maps_its_answers_are_not():
    sizes = jnp.array([[64.0, 64.0]])
    network, images = shapes_of(retinanet(), sizes)
    maps = network.maps(images)
    assert list(maps)[:3] == ["conv1", "conv2_x", "pyramid_0"]
    assert not any("subnet" in name or "logits" in name for name in maps)


def test_the_first_convolution_is_the_one_that_reads_the_image():
    network, images = network_of(narrow_zfnet())
    path, kernel = network.first_convolution(images)
    assert (path, kernel.shape) == ("conv1", (7, 7, 3, 4))
    np.testing.assert_array_equal(kernel, network.variables["params"]["conv1"]["kernel"])
    classifier, images = shapes_of(Classifier(models.ResNet((1, 1), "basic", 4), PoolHead(3)))
    assert classifier.first_convolution(images)[0].startswith("backbone/conv1")
    with pytest.raises(UserError, match="no convolution"):
        inspect.Network(Edges(), {}).first_convolution(drawn(1, 8, 8, 1))
