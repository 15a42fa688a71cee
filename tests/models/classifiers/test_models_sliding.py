"""Fully convolutional classifiers equal the classifier at every window."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.classifiers.sliding import fully_convolutional, over_scales
from vision_jax.models.layers import Conv, last_map
from vision_jax.ops.initial import init
from vision_jax.ops.pool import max_pool


class Unpadded(nn.Module):
    """Two convolutions and two poolings that see nothing beyond the image; stride 4."""

    @nn.compact
    def __call__(self, images, *, train=False, keys=None):
        x = max_pool(nn.relu(Conv(5, 3, name="conv1")(images)), 2)
        return {"pool2": max_pool(nn.relu(Conv(6, 3, name="conv2")(x)), 2)}

    @property
    def strides(self):
        return {"pool2": 4}


CASES = {
    "lenet": (lambda: models.LeNet5(), (32, 32, 1)),
    "lenet-relu": (lambda: models.LeNet5(act="relu", pool="max"), (32, 32, 1)),
    "fc": (lambda: models.Classifier(Unpadded(), models.FcHead(7, (9, 8), grid=4)), (22, 22, 3)),
    "fc-any": (lambda: models.Classifier(Unpadded(), models.FcHead(7, (9,), grid=0)), (18, 22, 3)),
    "pool": (lambda: models.Classifier(Unpadded(), models.PoolHead(7)), (18, 22, 3)),
}


@functools.cache
def converted(name):
    make, size = CASES[name]
    model = make()
    variables = init(model, jax.random.key(0), jnp.zeros((1, *size)))
    # Biases start at zero, and N(0, 0.01) weights give scores of no size.
    rng = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: x + np.float32(0.1 * rng.normal(size=x.shape)), variables)
    return model, variables, *fully_convolutional(model, variables, size)


def image(size, extra=(0, 0), seed=0):
    h, w, c = size
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(2, h + extra[0], w + extra[1], c)), jnp.float32)


@pytest.mark.parametrize("name", CASES)
def test_every_window_of_a_larger_image_has_the_classifiers_answer(name):
    model, variables, sliding, changed = converted(name)
    size = CASES[name][1]
    x = image(size, (8, 4))
    outputs = jax.jit(sliding.apply)(changed, x)
    logits = outputs["logits"]
    assert logits.shape[1:3] == (3, 2)
    classify = jax.jit(model.apply)
    for i in range(3):
        for j in range(2):
            window = x[:, 4 * i : 4 * i + size[0], 4 * j : 4 * j + size[1]]
            expected = classify(variables, window)
            np.testing.assert_allclose(logits[:, i, j], expected["logits"], atol=2e-5)
            if name == "fc":
                features = outputs["features"][:, i, j]
                np.testing.assert_allclose(features, expected["features"], atol=2e-5)
    assert float(jnp.abs(logits[:, 0, 0] - logits[:, 2, 1]).max()) > 1e-2


def test_weights_are_reshaped_and_counted_alike():
    _, variables, _, changed = converted("fc")
    old, new = (
        variables["params"]["head"]["fc6"]["kernel"],
        changed["params"]["head"]["fc6"]["kernel"],
    )
    assert new.shape == (4, 4, 6, 9)
    np.testing.assert_array_equal(old, new.reshape(-1, 9))
    count = [sum(x.size for x in jax.tree.leaves(v)) for v in (variables, changed)]
    assert count[0] == count[1]


def test_a_backbone_that_pads_is_equal_at_every_window_of_its_map():
    model = models.vgg("A", num_classes=5, width=4, hidden=(8, 8), grid=2)
    x = image((64, 64, 3), (64, 32))
    variables = init(model, jax.random.key(0), x[:, :64, :64])
    sliding, changed = fully_convolutional(model, variables, (64, 64, 3))
    outputs = jax.jit(sliding.apply)(changed, x)
    backbone_map = last_map({k: v for k, v in outputs.items() if k.startswith("pool")})
    assert backbone_map.shape[1:3] == (4, 3) and outputs["logits"].shape[1:3] == (3, 2)
    for i in range(3):
        for j in range(2):
            window = {"pool5": backbone_map[:, i : i + 2, j : j + 2]}
            expected = model.head.apply({"params": variables["params"]["head"]}, window)["logits"]
            np.testing.assert_allclose(outputs["logits"][:, i, j], expected, rtol=1e-4, atol=1e-9)
    at_once = jax.jit(model.apply)(variables, x[:, :64, :64])["logits"]
    exact = jax.jit(sliding.apply)(changed, x[:, :64, :64])["logits"]
    np.testing.assert_allclose(exact[:, 0, 0], at_once, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_several_scales_are_combined_as_a_loop_would(combine):
    _, _, sliding, changed = converted("pool")
    x = image((18, 22, 3), (8, 8))

    @jax.jit
    def apply(images):
        return sliding.apply(changed, images)["logits"]

    probabilities = over_scales(apply, x, (1.0, 1.5), combine)
    expected = np.zeros((2, 7))
    larger = jax.image.resize(x, (2, 39, 45, 3), "bilinear")
    for images in (x, larger):
        shares = np.asarray(jax.nn.softmax(apply(images)), np.float64).reshape(2, -1, 7)
        one = shares.mean(1) if combine == "mean" else shares.max(1)
        expected += one / one.sum(-1, keepdims=True) / 2
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_a_map_that_the_head_pools_is_one_line():
    model, variables, *_ = converted("fc")
    with pytest.raises(UserError, match="pools a map of 3x4 into 4x4"):
        fully_convolutional(model, variables, (18, 22, 3))


def test_a_head_without_layers_is_one_line():
    model = models.Classifier(Unpadded(), models.PoolHead(0))
    variables = init(model, jax.random.key(0), jnp.zeros((1, 18, 22, 3)))
    with pytest.raises(UserError, match="PoolHead has no form as convolutions"):
        fully_convolutional(
            model, {**variables, "params": {**variables["params"], "head": {}}}, (18, 22, 3)
        )
