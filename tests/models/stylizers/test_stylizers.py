"""Fast style transfer's and super-resolution's networks: sizes, ranges, gradients, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models import Layers
from vision_jax.models.stylizers.johnson import reflected

INSTANCE = Layers(norm="instance")
SMALL = {
    "style": functools.partial(models.JohnsonStyle, 2, 1),
    "style-instance": functools.partial(models.JohnsonStyle, 2, 1, layers=INSTANCE),
    "transformer-net": functools.partial(models.transformer_net, 2, 1),
    "super-resolution": functools.partial(models.JohnsonSuperResolution, 2, 3, 1),
}


def image(size, batch=1):
    return jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)


def drawn(model, size):
    """Returns variables that need no compiled initialisation."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), image(size))
    draw = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(draw.uniform(0.1, 0.5, a.shape), a.dtype), shapes)


@pytest.mark.parametrize("model, parameters, factor", [
    (models.JohnsonStyle(), 1_679_235, 1),
    (models.JohnsonStyle(layers=INSTANCE), 1_679_235, 1),
    (models.transformer_net(), 1_679_235, 1),
    (models.JohnsonSuperResolution(4), 401_859, 4),
    (models.JohnsonSuperResolution(8), 438_915, 8),
], ids=["style", "style-instance", "transformer-net", "x4", "x8"])  # fmt: skip
def test_parameters_and_sizes_are_the_published_ones(model, parameters, factor):
    variables = jax.eval_shape(model.init, jax.random.key(0), image((44, 48)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    for size in ((44, 48), (45, 51), (33, 90)):
        outputs = jax.eval_shape(model.apply, variables, image(size, 2))
        assert outputs["image"].shape == (2, size[0] * factor, size[1] * factor, 3)


def test_the_first_padding_is_what_the_blocks_cut_off():
    """Table 1: 256 pixels become 336, a quarter of which is 84, and five blocks leave 64."""
    model = models.JohnsonStyle()
    outputs = jax.eval_shape(model.init_with_output, jax.random.key(0), image((256, 256)))[0]
    sides = {name: x.shape[1] for name, x in outputs.items()}
    assert (sides["conv1"], sides["conv2"], sides["conv3"]) == (336, 168, 84)
    assert (sides["block1"], sides["block5"], sides["up2"]) == (80, 64, 256)


def test_reflection_leaves_the_border_pixel_alone():
    row = jnp.arange(4.0).reshape(1, 1, 4, 1) + jnp.zeros((1, 3, 4, 1))
    assert reflected(row, 2)[0, 0, :, 0].tolist() == [2, 1, 0, 1, 2, 3, 2, 1]


SLOW = {"style", "transformer-net"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in SMALL]
)
def test_small_ones_train(name):
    model = SMALL[name]()
    variables = drawn(model, (8, 9))
    params = variables.pop("params")
    x, probe = (jax.random.uniform(jax.random.key(i), (2, 8, 9, 3)) for i in (0, 1))

    @jax.jit
    @jax.grad
    def gradient(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return (outputs["image"][:, :8, :9] * probe).mean()

    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
        assert jnp.isfinite(leaf).all() and leaf.any(), path


@pytest.mark.parametrize("name", SMALL)
def test_half_precision_gives_the_same_shapes(name):
    model = SMALL[name]()
    variables = jax.eval_shape(model.init, jax.random.key(0), image((12, 13)))
    half = model.clone(layers=model.layers.replace(dtype="bfloat16"))
    full, coarse = (jax.eval_shape(m.apply, variables, image((12, 13), 2)) for m in (model, half))
    assert coarse["image"].dtype == jnp.bfloat16 and full["image"].dtype == jnp.float32
    assert {k: x.shape for k, x in full.items()} == {k: x.shape for k, x in coarse.items()}


def test_the_last_tanh_bounds_the_image():
    x, images = 1e3 * jax.random.normal(jax.random.key(1), (1, 6, 6, 3)), {}
    for limit in (150.0, None):
        model = models.JohnsonSuperResolution(1, 2, 0, limit)
        images[limit] = np.asarray(jax.jit(model.apply)(drawn(model, (6, 6)), x)["image"])
    assert np.abs(images[None]).max() > 150
    np.testing.assert_allclose(images[150.0], 150 * np.tanh(images[None]), rtol=1e-5)


def test_a_last_layer_of_zeros_begins_with_the_mean_colour():
    """The image is 0, in units around the mean colour; the map that it is made of is not.

    So the last kernel has a slope, and learns.
    """
    model = models.JohnsonStyle(2, 0, zero_last=True, layers=INSTANCE)
    x = jax.random.uniform(jax.random.key(1), (1, 4, 5, 3))
    outputs, variables = jax.jit(model.init_with_output)(jax.random.key(0), x)
    params = variables["params"]
    assert outputs["up2"].any() and not outputs["image"].any()
    assert params["up2"]["conv"]["kernel"].any() and not params["conv4"]["conv"]["kernel"].any()


def test_instance_norm_sees_one_picture_alone():
    model = SMALL["style-instance"]()
    variables = drawn(model, (8, 8))
    assert set(variables) == {"params"}
    x = jax.random.uniform(jax.random.key(1), (3, 8, 8, 3))
    apply = jax.jit(functools.partial(model.apply, train=True))
    one, other = (apply(variables, y)["image"] for y in (x, x.at[0].mul(9.0)))
    np.testing.assert_allclose(one[1:], other[1:], rtol=1e-5)
    assert np.abs(one[0] - other[0]).max() < 0.1  # nor how bright it is, but for eps


@pytest.mark.parametrize("factor", [0, 3, -2])
def test_factors_are_powers_of_two(factor):
    model = models.JohnsonSuperResolution(factor)
    with pytest.raises(UserError, match=rf"factor={factor}: give a power of two"):
        jax.eval_shape(model.init, jax.random.key(0), image((8, 8)))
