import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from vision_jax.config import UserError
from vision_jax.models.layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    Dropout,
    GroupNorm,
    Layers,
    StochasticDepth,
    norm,
)

pytestmark = pytest.mark.core


def _images(shape=(8, 3, 4, 6), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(2.0, 3.0, shape), jnp.float32)


def _variables(module, x):
    """Initialised, with scale, bias and statistics that are not 0 and 1."""
    rng = np.random.default_rng(1)
    variables = module.init(jax.random.key(0), x)
    return jax.tree.map(lambda a: jnp.asarray(rng.uniform(0.5, 1.5, a.shape), a.dtype), variables)


def test_batch_norm_in_training_follows_its_formula():
    x, layer = _images(), BatchNorm()
    variables = _variables(layer, x)
    y, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    a = np.asarray(x, np.float64).reshape(-1, 6)
    p, s = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    expected = (np.asarray(x) - a.mean(0)) / np.sqrt(a.var(0) + 1e-5) * p["scale"] + p["bias"]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(
        new["batch_stats"]["mean"], 0.9 * s["mean"] + 0.1 * a.mean(0), rtol=1e-6
    )
    np.testing.assert_allclose(
        new["batch_stats"]["var"], 0.9 * s["var"] + 0.1 * a.var(0, ddof=1), rtol=1e-5
    )


@pytest.mark.parametrize("kind, train", [("sync", False), ("frozen", True)])
def test_batch_norm_with_running_statistics(kind, train):
    x, layer = _images(), BatchNorm(layers=Layers(norm=kind))
    variables = _variables(layer, x)
    y, new = layer.apply(variables, x, train=train, mutable=["batch_stats"])
    p, s = variables["params"], variables["batch_stats"]
    expected = (x - s["mean"][None, None, None]) * p["scale"][None, None, None]
    expected = expected / np.sqrt(s["var"] + 1e-5)[None, None, None] + p["bias"][None, None, None]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], s)


def test_frozen_norm_gives_its_scale_no_gradient():
    x, layer = _images(), BatchNorm(layers=Layers(norm="frozen"))
    variables = _variables(layer, x)
    gradient = jax.grad(lambda v: layer.apply(v, x).sum())(variables)["params"]
    assert not any(np.any(g) for g in jax.tree.leaves(gradient))


@pytest.mark.parametrize("devices", [2, 8])
def test_synchronised_statistics_do_not_depend_on_the_devices(devices):
    x, layer = _images(), BatchNorm(layers=Layers(norm="sync"))
    variables = _variables(layer, x)

    def run(variables, x):
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])

    mesh = Mesh(np.array(jax.devices()[:devices]), ("data",))
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P("data"), P()))
    (y, new), (expected, expected_new) = jax.jit(mapped)(variables, x), run(variables, x)
    np.testing.assert_allclose(y, expected, atol=2e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), new, expected_new)


def test_local_statistics_are_each_devices_own():
    x, layer = _images(), BatchNorm(layers=Layers(norm="local"))
    variables = _variables(layer, x)

    def run(variables, x):
        return layer.apply(variables, x, train=True, mutable=["batch_stats"])[0]

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    y = jax.jit(mapped)(variables, x)
    np.testing.assert_allclose(y[:4], run(variables, x[:4]), atol=1e-6)
    np.testing.assert_allclose(y[4:], run(variables, x[4:]), atol=1e-6)


def test_statistics_are_float32_whatever_the_compute_dtype():
    x, layer = _images().astype(jnp.bfloat16), BatchNorm(layers=Layers(dtype="bfloat16"))
    variables = layer.init(jax.random.key(0), x)
    y, new = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(new)} == {jnp.dtype("float32")}
    mean = np.asarray(x.astype(jnp.float32)).mean((0, 1, 2))
    np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)


def test_statistics_per_position():
    """Each place of the map is normalised over the batch alone; running statistics are its own."""

    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return norm(Layers(norm="position"), "norm")(x, train=train)

    x = _images()
    params = {"norm": {"scale": jnp.full(72, 2.0), "bias": jnp.full(72, 0.5)}}
    stats = {"norm": {"mean": jnp.zeros(72), "var": jnp.ones(72)}}
    variables = {"params": params, "batch_stats": stats}
    y, new = Layer().apply(variables, x, train=True, mutable=["batch_stats"])
    a = np.asarray(x, np.float64)
    expected = (a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5) * 2 + 0.5
    np.testing.assert_allclose(y, expected, atol=1e-4)
    mean = new["batch_stats"]["norm"]["mean"].reshape(3, 4, 6)
    np.testing.assert_allclose(mean, 0.1 * a.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        Layer().apply(variables, x), 2 * a / np.sqrt(1 + 1e-5) + 0.5, rtol=1e-5, atol=1e-5
    )


def test_group_norm_follows_its_formula():
    x, layer = _images((2, 3, 4, 6)), GroupNorm(groups=4)  # lowered to 3
    variables = _variables(layer, x)
    a = np.asarray(x, np.float64).reshape(2, 12, 3, 2)
    a = (a - a.mean((1, 3), keepdims=True)) / np.sqrt(a.var((1, 3), keepdims=True) + 1e-5)
    p = jax.tree.map(np.asarray, variables["params"])
    np.testing.assert_allclose(
        layer.apply(variables, x), a.reshape(2, 3, 4, 6) * p["scale"] + p["bias"], atol=1e-5
    )


@pytest.mark.parametrize(
    "shape, groups, mean, torchs",
    [
        ((2, 5, 7, 6), 3, 0, 2.04e-6),
        ((2, 5, 7, 6), 3, 3, 2.12e-5),
        ((4, 9, 11, 6), 2, 0, 6.47e-6),
        ((4, 9, 11, 6), 2, 3, 3.72e-5),
        ((2, 40, 40, 6), 3, 0, 1.38e-4),
    ],
)
def test_group_norms_gradient_of_the_scale_is_as_exact_as_torchs(shape, groups, mean, torchs):
    """`torchs` is the error of torch 2.13's float32 gradient for these arrays, as measured."""
    rng = np.random.default_rng(0)
    x, g = (rng.normal(size=shape).astype(np.float32) + np.float32(k) for k in (mean, 0))
    scale = rng.uniform(0.5, 1.5, shape[-1]).astype(np.float32)
    params = {"scale": scale, "bias": np.zeros_like(scale)}
    layer, images = GroupNorm(groups), jnp.asarray(x)
    run = jax.jit(lambda p: jax.vjp(lambda p: layer.apply({"params": p}, images), p)[1](g))
    found = np.asarray(run(params)[0]["scale"])
    width = shape[-1] // groups
    expected = np.zeros(shape[-1])
    for image, of_output in zip(np.float64(x), np.float64(g), strict=True):
        for c in range(shape[-1]):
            group = image[..., c // width * width :][..., :width]
            centred = (image[..., c] - group.mean()) / np.sqrt(group.var() + 1e-5)
            expected[c] += (centred * of_output[..., c]).sum()
    assert np.abs(found - expected).max() <= 3 * torchs


@pytest.mark.parametrize(
    "layer, shape",
    [(Dropout(0.25), (64, 500)), (StochasticDepth(0.25), (4000, 1, 1, 2))],
)
def test_drawing_layers_keep_the_mean_and_follow_the_example(layer, shape):
    x, keys = jnp.ones(shape), jax.random.split(jax.random.key(0), shape[0])
    y = layer.apply({}, x, train=True, keys=keys)
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs(float(y.mean()) - 1) < 0.03
    half = shape[0] // 2
    second = layer.apply({}, x[half:], train=True, keys=keys[half:])
    np.testing.assert_array_equal(second, y[half:])
    np.testing.assert_array_equal(layer.apply({}, x), x)
    other = layer.clone(layer=1).apply({}, x, train=True, keys=keys)
    assert np.any(other != y)
    with pytest.raises(ValueError, match="needs keys"):
        layer.apply({}, x, train=True)


def test_stochastic_depth_drops_whole_examples():
    x, keys = jnp.ones((50, 2, 2, 3)), jax.random.split(jax.random.key(0), 50)
    y = np.asarray(StochasticDepth(0.5).apply({}, x, train=True, keys=keys)).reshape(50, -1)
    assert np.all(y == y[:, :1]) and 0 < (y[:, 0] == 0).sum() < 50


def test_wrong_channels_and_small_images_are_one_line():
    conv = Conv(4, 3)
    variables = conv.init(jax.random.key(0), jnp.ones((1, 5, 5, 3)))
    with pytest.raises(UserError, match="input of 1 channels") as error:
        conv.apply(variables, jnp.ones((1, 5, 5, 1)))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="larger image"):
        conv.apply(variables, jnp.ones((1, 2, 5, 3)))


def test_float64_parameters_compute_in_float64():
    with jax.enable_x64(True):
        layer = ConvNorm(4, 3)
        x = jnp.ones((1, 5, 5, 3), jnp.float64)
        variables = jax.tree.map(lambda a: a.astype(jnp.float64), layer.init(jax.random.key(0), x))
        assert layer.apply(variables, x).dtype == jnp.float64
