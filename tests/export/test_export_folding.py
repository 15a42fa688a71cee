import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.export import fold_norms
from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.classifiers.darknet import DARKNET as DARKNET_LAYERS
from vision_jax.models.classifiers.darknet import Darknet
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.classifiers.resnet_v2 import ResNetV2
from vision_jax.models.layers import NO_NORM, BatchNorm, Conv, ConvNorm, Layers
from vision_jax.models.segmenters.deconvnet import DeconvNorm

DARKNET = (((3, 8),), ((3, 16), (1, 8)))
# name: (network, image size, norms that stay).
NETWORKS = {
    "v1": (ResNet((1, 1), "bottleneck", 4, version="v1"), 32, 0),
    "v1.5, frozen": (ResNet((1, 2), "bottleneck", 4, layers=Layers("frozen", eps=0.0)), 32, 0),
    "C, dilated": (ResNet((1, 1), "basic", 8, stem="deep", dilate=(True,)), 32, 0),
    "D": (ResNet((1, 1), "bottleneck", 4, shortcut="pool"), 32, 0),
    "group": (ResNet((1,), "basic", 8, layers=Layers("group")), 32, 0),
    # conv2_1/norm1, conv3_1/norm1 and the last read sums or a pooled map.
    "pre-activation": (ResNetV2((1, 1), "bottleneck", 4), 32, 3),
    "CIFAR": (models.ResNetCifar(1, 4), 16, 0),
    "VGG": (models.VGG(((3, 3), (3,)), 8, layers=Layers()), 32, 0),
    "MobileNet v1": (models.MobileNetV1(4, 0.125).backbone, 32, 0),
    "MobileNet v2": (models.MobileNetV2(4, 0.25).backbone, 32, 0),
    "Darknet": (Darknet(DARKNET), 32, 0),
    "Darknet's own": (Darknet(DARKNET, layers=DARKNET_LAYERS), 32, 0),
}


def _random(model, *inputs):
    """Variables with scales, shifts and statistics that are not 0 and 1."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)

    def draw(path, shape):
        kernel = path[-1].key == "kernel"
        draws = rng.normal(0, 0.3, shape.shape) if kernel else rng.uniform(0.5, 1.5, shape.shape)
        return jnp.asarray(draws, inputs[0].dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _image(size, dtype):
    return jnp.asarray(np.random.default_rng(1).normal(size=(2, size, size, 3)), dtype)


def _check(model, variables, folded, inputs, tolerance):
    expected = jax.jit(model.apply)(variables, *inputs)
    found = jax.jit(model.apply)(folded, *inputs)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_networks_compute_the_same(name):
    model, size, stay = NETWORKS[name]
    with jax.enable_x64(True):
        image = _image(size, jnp.float64)
        variables = _random(model, image)
        folded = fold_norms(model, variables, image)
        _check(model, variables, folded, (image,), 1e-9)
    left = len(jax.tree.leaves(folded["batch_stats"])) // 2
    assert left == stay
    had = len(jax.tree.leaves(variables.get("batch_stats", {}))) // 2
    assert len(jax.tree.leaves(folded["folded"])) == had - stay


class Twice(nn.Module):
    """A convolution whose result is read beside its norm, and one that reads two norms in turn."""

    @nn.compact
    def __call__(self, x):
        y = Conv(4, 3, name="read_twice")(x)
        z = BatchNorm(name="norm")(y)
        shared = ConvNorm(4, act=None, layers=NO_NORM, name="shared")
        return y + z, BatchNorm(name="a")(shared(y)), BatchNorm(name="b")(shared(z))


def test_what_cannot_be_folded_stays():
    image = _image(8, jnp.float32)
    variables = _random(Twice(), image)
    folded = fold_norms(Twice(), variables, image)
    assert not folded["folded"]
    _check(Twice(), variables, folded, (image,), 0)


class Shared(nn.Module):
    """One convolution and its norm over two maps, as a detector's subnets over a pyramid."""

    @nn.compact
    def __call__(self, x):
        layer = ConvNorm(4, 3, padding=1, use_bias=True, name="layer")
        return layer(x), layer(x[:, ::2]), DeconvNorm(4, name="up")(x)


def test_layers_that_are_called_twice_are_folded_once():
    image = _image(8, jnp.float32)
    variables = _random(Shared(), image)
    folded = fold_norms(Shared(), variables, image)
    assert set(folded["folded"]) == {"layer", "up"}
    _check(Shared(), variables, folded, (image,), 1e-5)


def test_inputs_may_be_shapes_and_nothing_given_changes():
    model = Classifier(ResNet((1,), "basic", 8), PoolHead(3))
    image = _image(32, jnp.float32)
    variables = _random(model, image)
    before = jax.tree.map(np.asarray, variables)
    folded = fold_norms(model, variables, jax.ShapeDtypeStruct(image.shape, image.dtype))
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    _check(model, variables, folded, (image,), 1e-5)
    with pytest.raises(UserError, match="folded cannot train"):
        model.apply(folded, image, train=True)
