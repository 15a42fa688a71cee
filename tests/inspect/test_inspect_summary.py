import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from tests.models.detectors import tiny_detectors
from vision_jax import models
from vision_jax.inspect import summarize
from vision_jax.models.layers import Conv, Dense
from vision_jax.ops.conv import conv_transpose2d
from vision_jax.ops.pool import global_avg_pool, max_pool

pytestmark = pytest.mark.core


class Small(nn.Module):
    """One of each: grouped convolution, scope, helper method, product, scan, transposed."""

    @nn.compact
    def __call__(self, image):
        x = self.helper(image)
        with jax.named_scope("pool1"):
            x = max_pool(x, 2)
        up = conv_transpose2d(x, jnp.ones((2, 2, 8, 3)), 2)
        matrix = self.param("matrix", nn.initializers.ones, (8, 8))
        x, _ = jax.lax.scan(lambda c, _: (c @ matrix, None), global_avg_pool(x), length=5)
        return Dense(10, name="fc")(x), up

    def helper(self, x):
        return Conv(8, 3, padding=1, groups=2, name="conv1")(x)


def test_every_kind_of_operation_is_counted_where_it_is_written():
    summary = summarize(Small(), jax.ShapeDtypeStruct((1, 6, 6, 4), jnp.float32))
    layers = {layer.path: layer for layer in summary.layers}
    assert layers["conv1"].multiply_adds == 6 * 6 * 8 * 9 * 2
    assert layers["conv1"].parameters == 9 * 2 * 8 + 8
    assert layers["conv1"].output == (1, 6, 6, 8)
    assert layers["conv1"].activation_bytes == 6 * 6 * 8 * 4
    assert layers["pool1"].output == (1, 3, 3, 8) and layers["pool1"].multiply_adds == 0
    assert layers["fc"].multiply_adds == 80 and layers["fc"].parameters == 90
    # Outside any module: the scan's five products and the transposed convolution, in which each of
    # the 3x3x8 inputs meets 2x2x3 weights.
    loose = 5 * 64 + 3 * 3 * 8 * 2 * 2 * 3
    assert summary.multiply_adds == 6 * 6 * 8 * 9 * 2 + 80 + loose
    assert summary.parameters == 152 + 90 + 64


@pytest.mark.parametrize(
    "model, size, parameters, multiply_adds",
    [
        (models.ResNet50, 224, 25_557_032, 4.089e9),
        (models.ResNet18, 224, 11_689_512, 1.814e9),
        (lambda: models.CifarResNet(20), 32, 269_722, 40.6e6),
    ],
)
def test_totals_are_the_published_ones(model, size, parameters, multiply_adds):
    summary = summarize(model(), jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32))
    assert summary.parameters == parameters
    assert summary.multiply_adds == pytest.approx(multiply_adds, rel=2e-3)


def test_groups_keep_the_totals_and_the_table_prints_them():
    summary = summarize(models.CifarResNet(8), jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32))
    grouped = summary.grouped(2)
    assert [layer.path for layer in grouped.layers] == [
        "backbone/conv1", "backbone/stage1_1", "backbone/stage2_1", "backbone/stage3_1", "head/fc"
    ]  # fmt: skip
    assert grouped.multiply_adds == summary.multiply_adds
    lines = str(grouped).splitlines()
    assert lines[2].split()[:2] == ["backbone/conv1", "1x32x32x16"]
    assert f"{summary.parameters:,}" in lines[-1]


class Writer(nn.Module):
    """A part that a scan calls by methods, step by step, and whose last carry nobody reads."""

    def setup(self):
        self.first, self.part = Dense(4), Part()

    def __call__(self, x):
        return self.write(self.first(x))

    def write(self, x):
        scan = nn.scan(Writer._one, variable_broadcast="params", split_rngs={"params": False})
        return scan(self, x, jnp.arange(5))[1]

    def _one(self, x, index):
        x = self.part.step(x)
        return x, x * index.astype(x.dtype)


class Part(nn.Module):
    def setup(self):
        self.inner = Dense(4)

    def step(self, x):
        return self.read(x)

    def read(self, x):
        return self.inner(x)


def test_methods_that_a_scan_calls_are_counted_where_their_modules_are():
    layers = {x.path: x for x in summarize(Writer(), jnp.zeros((1, 4))).layers}
    assert {path: layer.multiply_adds for path, layer in layers.items() if path != "."} == {
        "first": 16,
        "part/inner": 5 * 16,
    }
    model = tiny_detectors.pix2seq()
    summary = summarize(model, jnp.zeros((1, 64, 64, 3)), jnp.full((1, 2), 64.0))
    counts = {layer.path: layer.multiply_adds for layer in summary.layers}
    assert counts["decoder/layer_1/fc1"] == 20 * 32 * 64  # tokens, one after the other
    assert counts["decoder/layer_0/self_attention/query"] == 20 * 32 * 32
    assert not {*counts} & {"fc1", "query"}
