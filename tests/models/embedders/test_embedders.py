"""Every embedder, walked over: published sizes, lengths of 1, gradients, half precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.models.embedders.deepid import LocallySharedConv
from vision_jax.models.layers import NO_NORM

# name: (network, images' height and width, published parameters, a small one).
EMBEDDERS = {
    "InceptionResNetV1": (
        models.InceptionResNetV1, (160, 160), 23_482_624,
        functools.partial(models.InceptionResNetV1, 16, repeats=(1, 1, 1), multiplier=0.1),
    ),
    "FaceNetNN1": (
        models.FaceNetNN1, (220, 220), 140_025_664,
        functools.partial(models.FaceNetNN1, 16, multiplier=0.1, hidden=(8, 8)),
    ),
    "FaceNetNN2": (
        models.FaceNetNN2, (224, 224), 7_464_224,
        functools.partial(models.FaceNetNN2, 16, multiplier=0.1),
    ),
    "DlibResNet": (
        functools.partial(models.DlibResNet, layers=NO_NORM), (150, 150), 5_607_488,
        functools.partial(models.DlibResNet, 16, stages=((4, 1), (8, 1), (8, 1)), layers=NO_NORM),
    ),
    "DeepID": (models.DeepID, (55, 47), 1_018_540, functools.partial(models.DeepID, 16)),
}  # fmt: skip


def image(size, batch=1):
    return jax.ShapeDtypeStruct((batch, *size, 3), jnp.float32)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_every_embedder_has_its_parameters_and_strides(name):
    network, size, parameters, _ = EMBEDDERS[name]
    model = network()
    variables = jax.eval_shape(model.init, jax.random.key(0), image(size))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters
    outputs = jax.eval_shape(model.apply, variables, image(size, 2))
    assert outputs["embedding"].shape == outputs["features"].shape == (2, model.head.features)
    for endpoint, stride in model.strides.items():
        assert abs(outputs[endpoint].shape[1] - size[0] / stride) <= 6
    assert "logits" not in outputs
    classified = network(num_classes=7)
    with_classes = jax.eval_shape(classified.init, jax.random.key(0), image(size))
    assert jax.eval_shape(classified.apply, with_classes, image(size))["logits"].shape == (1, 7)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_every_embedder_trains_and_runs_in_half_precision(name):
    _, size, _, small = EMBEDDERS[name]
    model = small()
    variables = jax.eval_shape(model.init, jax.random.key(0), image(size))

    def loss(params, collections):
        outputs, _ = model.apply(
            {**collections, "params": params}, jnp.zeros((2, *size, 3)), train=True,
            keys=jax.random.split(jax.random.key(0)), mutable=["batch_stats"],
        )  # fmt: skip
        return outputs["embedding"].sum()

    gradient = jax.eval_shape(jax.grad(loss), variables["params"], variables)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, variables["params"])
    half = small(layers=model.backbone.layers.replace(dtype="bfloat16"))
    dtypes = {x.dtype for x in jax.tree.leaves(jax.eval_shape(half.apply, variables, image(size)))}
    assert dtypes == {jnp.dtype("bfloat16")}


def test_embeddings_have_length_one():
    model = models.DeepID(8, widths=(2, 3, 4, 5))
    maps = {"pool3": (3, 5, 4, 4), "conv4": (3, 4, 3, 5)}
    endpoints = {k: jax.random.normal(jax.random.key(1), shape) for k, shape in maps.items()}
    outputs, _ = model.head.init_with_output(jax.random.key(0), endpoints)
    np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("region", [1, 2, 3])
def test_weights_are_shared_within_regions_alone(region):
    conv = LocallySharedConv(2, 3, region)
    x = jax.random.normal(jax.random.key(0), (2, 7, 6, 3))
    variables = conv.init(jax.random.key(1), x)
    shapes = {"kernel": (-(-5 // region), -(-4 // region), 27, 2)}
    assert variables["params"]["kernel"].shape == shapes["kernel"]
    bias = jax.random.normal(jax.random.key(2), variables["params"]["bias"].shape)
    variables["params"]["bias"] = bias
    got = conv.apply(variables, x)
    kernel = variables["params"]["kernel"]
    for row in range(5):
        for column in range(4):
            window = x[:, row : row + 3, column : column + 3].transpose(0, 3, 1, 2).reshape(2, 27)
            place = row // region, column // region
            expected = window @ kernel[place] + bias[place][None]
            np.testing.assert_allclose(got[:, row, column], expected, atol=1e-5)
