"""Receptive fields: published sizes, formulas, and what gradients really show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.inspect import receptive_field as rf
from vision_jax.models.layers import Conv
from vision_jax.ops.pool import avg_pool, max_pool
from vision_jax.ops.reach import Field

CHANNELS = 6


class Stack(nn.Module):
    """Convolutions of these kernel sizes, all of the same width, with ReLU between."""

    kernels: tuple = (3, 3, 3)

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        x = image
        for i, kernel in enumerate(self.kernels, start=1):
            x = Conv(CHANNELS, kernel, padding=kernel // 2, use_bias=False, name=f"conv{i}")(x)
            x = nn.relu(x) if i < len(self.kernels) else x
        return {"out": x}


class Mixed(nn.Module):
    """Strides, dilation, padding on one side, both poolings, a shortcut and a global gate."""

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        a = Conv(4, 5, stride=2, padding=((2, 1), (0, 2)), name="conv1")(image)
        b = max_pool(nn.relu(a), 3, 2, padding=1)
        c = Conv(4, 3, padding=2, dilation=2, name="conv2")(b)
        d = b[:, ::2, ::2] + avg_pool(c, 2)
        gate = nn.sigmoid(d.mean((1, 2), keepdims=True))
        return {"conv1": a, "pool": b, "dilated": c, "sum": d, "gated": d * gate}


def variables(model, shape, seed=0):
    return models.init(model, jax.random.key(seed), jnp.zeros((1, *shape)))


def test_three_3x3_see_what_one_7x7_sees_with_27_of_49_parts_of_the_parameters():
    shape, fields, counts = (15, 15, CHANNELS), [], []
    for kernels in ((3, 3, 3), (7,)):
        model = Stack(kernels)
        given = variables(model, shape)
        counts.append(sum(x.size for x in jax.tree.leaves(given)))
        seen = np.asarray(rf.exact(model, given, shape, "out", draws=4))
        expected = np.zeros((15, 15), bool)
        expected[4:11, 4:11] = True
        np.testing.assert_array_equal(seen, expected)
        fields.append(rf.theoretical(model, shape)["out"])
    assert fields[0] == fields[1] == Field((7, 7), (1, 1), (-3, -3))
    assert counts == [27 * CHANNELS**2, 49 * CHANNELS**2]


@pytest.mark.parametrize(
    "model, endpoint, size",
    [
        # Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks", table 1
        (models.AlexNet2014, "pool5", 195),
        (models.VGG16, "pool5", 212),
        (models.MobileNetV1, "block13", 315),
        (models.InceptionV3, "Mixed_7c", 1311),
    ],
)
def test_published_sizes(model, endpoint, size):
    fields = rf.theoretical(model(), (299, 299, 3))
    assert fields[endpoint].size == (size, size)
    assert fields[endpoint].stride == (32, 32)


def test_theory_is_the_formula_through_strides_dilation_and_padding():
    fields = rf.theoretical(Mixed(), (40, 40, 2))
    assert fields["conv1"] == Field((5, 5), (2, 2), (-2, 0))
    assert fields["pool"] == Field((9, 9), (4, 4), (-4, -2))
    assert fields["dilated"] == Field((25, 25), (4, 4), (-12, -10))
    assert fields["sum"] == Field((29, 29), (8, 8), (-12, -10))
    assert fields["gated"].size == (None, None)
    assert fields["sum"].box(0, 1, 40, 40) == (0, 0, 27, 17)
    assert fields["gated"].box(3, 3, 40, 30) == (0, 0, 30, 40)


@pytest.mark.parametrize("endpoint, pixel", [("dilated", (5, 5)), ("sum", (1, 3)), ("pool", None)])
def test_gradients_reach_the_theoretical_borders_and_no_further(endpoint, pixel):
    model, shape = Mixed(), (40, 40, 2)
    seen = np.asarray(rf.exact(model, variables(model, shape), shape, endpoint, pixel, draws=16))
    field = rf.theoretical(model, shape)[endpoint]
    i, j = pixel or (5, 5)
    x0, y0, x1, y1 = field.box(i, j, 40, 40)
    inside = np.zeros((40, 40), bool)
    inside[y0:y1, x0:x1] = True
    assert not (seen & ~inside).any()
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (x0, y0, x1, y1)


def test_a_residual_networks_field():
    """Every convolution counts on the longest way; the shortcuts see less."""
    fields = rf.theoretical(models.CifarResNet(8), (32, 32, 3))
    # Each 3x3 adds 2 pixels of its input; a stage's first one still reads the finer map.
    assert fields["stage1"].size == (7, 7)
    assert fields["stage2"].size == (7 + 2 + 4, 7 + 2 + 4)
    assert fields["stage3"].size == (13 + 4 + 8, 13 + 4 + 8)


class Linear(nn.Module):
    """Four 3x3 convolutions of ones."""

    @nn.compact
    def __call__(self, image, train=False, keys=None):
        x = image
        for i in range(4):
            ones = nn.initializers.ones
            x = Conv(1, 3, padding=1, use_bias=False, kernel_init=ones, name=f"conv{i}")(x)
        return {"out": x}


def test_the_effective_field_of_a_linear_stack_is_the_kernel_that_it_amounts_to():
    shape = (15, 15, 1)
    strength = rf.effective(Linear(), variables(Linear(), shape), shape, "out", draws=2)
    ramp = np.array([1, 4, 10, 16, 19, 16, 10, 4, 1], float)  # (1, 1, 1) four times
    expected = np.outer(ramp, ramp) / 361
    np.testing.assert_allclose(strength[3:12, 3:12], expected, rtol=1e-5)
    assert rf.effective_size(strength) == np.sqrt((expected >= 0.0455).sum())
    assert rf.effective_size(strength) < 9 == rf.theoretical(Linear(), shape)["out"].size[0]


def test_pictures():
    strength = np.zeros((9, 11))
    strength[4, 5] = 1
    shown = rf.picture(strength, Field((3, 5), (1, 1), (-1, -2)))
    assert shown.shape == (9, 11, 3) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[4, 5], 255)
    orange = (shown == np.array([255, 140, 0])).all(-1)
    rows, columns = np.nonzero(orange)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 5, 3, 7)
    assert orange.sum() == 2 * 5 + 2 * 3 - 4
    assert rf.picture(strength > 0).sum() == 3 * 255


@pytest.mark.parametrize(
    "endpoint, pixel, message",
    [("ouT", None, "is no map - did you mean out?"), ("out", (15, 0), "outside of out, which has")],
)
def test_a_mistake_is_one_line(endpoint, pixel, message):
    model, shape = Stack(), (15, 15, CHANNELS)
    with pytest.raises(UserError) as caught:
        rf.exact(model, variables(model, shape), shape, endpoint, pixel)
    assert message in str(caught.value)
