"""First variables: of the distributions that are stated, and the same however they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.ops import initializers
from vision_jax.ops.initial import _room, init

KEY = jax.random.key(3)
SIX = initializers.Distribution("cut normal", 2.0, "in", leading=2)


@pytest.mark.parametrize(
    ("ours", "flax", "shape"),
    [
        (initializers.he_fan_in, nn.initializers.kaiming_normal, (3, 3, 16, 24)),
        (initializers.normal(0.02), lambda: nn.initializers.normal(0.02), (5, 70)),
        (initializers.cut_normal(0.1), lambda: nn.initializers.truncated_normal(0.1), (7, 70)),
        (initializers.xavier, nn.initializers.xavier_uniform, (3, 3, 8, 4)),
        (initializers.uniform(2.0), lambda: nn.initializers.uniform(2.0), (31,)),
        (SIX, lambda: nn.initializers.he_normal(2, 3, (0, 1)), (2, 3, 18, 4)),
        (initializers.constant(0.25), lambda: nn.initializers.constant(0.25), (4,)),
    ],
    ids=lambda value: value.kind if isinstance(value, initializers.Distribution) else None,
)
def test_a_distribution_is_flaxs(ours, flax, shape):
    expected = flax()(KEY, shape)
    drawn = ours(KEY, shape)
    assert drawn.dtype == expected.dtype and drawn.shape == shape
    # flax's kaiming_normal is cut; the papers' is not.
    if ours is initializers.he_fan_in:
        expected = nn.initializers.variance_scaling(2.0, "fan_in", "normal")(KEY, shape)
    np.testing.assert_allclose(drawn, expected, rtol=3e-7)


def test_factors_by_hand():
    shape = (3, 3, 16, 25)
    assert initializers.he_fan_in.factor(shape) == np.float32(np.sqrt(2 / 144))
    assert initializers.he_fan_out.factor(shape) == pytest.approx(np.sqrt(2 / 225))
    assert initializers.torch_linear.factor((64, 7)) == pytest.approx(1 / 8)
    assert initializers.xavier.factor((10, 20)) == pytest.approx(np.sqrt(6 / 30))
    wide = initializers.cut_normal(0.1)(KEY, (100_000,))
    assert float(jnp.abs(wide).max()) <= 0.2
    assert float(wide.std()) == pytest.approx(0.1 * initializers._CUT_STD, rel=0.01)


def test_equal_settings_are_equal_distributions():
    assert initializers.normal(0.5) == initializers.normal(0.5) != initializers.normal(0.25)


class _Everything(nn.Module):
    """Variables of every kind, some of which the module changes before it returns them."""

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", initializers.he_fan_out, (3, 3, 3, 5))
        x = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).mean((1, 2))
        x = x @ self.param("turn", initializers.orthogonal, (5, 5))
        x = x + self.param("own", lambda key: jax.random.gumbel(key, (1, 5)))
        x = x + self.param("given", lambda key: np.arange(5.0, dtype=np.float32)[None])
        x = x * self.param("doubled", lambda key: 2 * initializers.ones(key, (1, 5)))
        x = nn.remat(nn.Dense)(4, kernel_init=initializers.normal(0.1), name="again")(x)
        count = self.variable("counters", "seen", jnp.zeros, (), jnp.int32)
        count.value = count.value + 1
        return {"logits": x}


class _Text(nn.Module):
    @nn.compact
    def __call__(self, images, tokens, sizes):
        table = self.param("table", initializers.normal(0.1), (9, images.shape[1]))
        return table[tokens].sum() + sizes.sum()


def _in_one_program(model, *inputs):
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(model.init, compiler_options=options)(KEY, *inputs)


@pytest.mark.parametrize(
    "model",
    [
        _Everything(),
        models.CifarResNet(8),
    ],
    ids=["everything", "resnet"],
)
def test_variables_are_those_of_the_network_in_one_program(model):
    x = jnp.zeros((1, 32, 32, 3))
    expected = _in_one_program(model, x)
    found = init(model, KEY, jax.ShapeDtypeStruct(x.shape, x.dtype))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert not any(leaf.committed for leaf in jax.tree.leaves(found))  # they may go anywhere
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, expected)
    kernels = (init(model, jax.random.key(seed), x)["params"] for seed in (3, 4))
    pairs = zip(*map(jax.tree.leaves, kernels), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


def test_a_side_stands_for_what_a_network_is_given():
    found = init(_Text(), KEY, (24, 32))
    assert found["params"]["table"].shape == (9, 24)
    assert init(_Text(), KEY, 16)["params"]["table"].shape == (9, 16)

    class Needy(nn.Module):
        def __call__(self, images, proposals):
            return images

    with pytest.raises(UserError, match="Needy needs proposals; give all its inputs"):
        init(Needy(), KEY, 16)


def test_a_variable_may_depend_on_the_inputs():
    class Centre(nn.Module):
        @nn.compact
        def __call__(self, images):
            return images - self.param("mean", lambda key: images.mean((0, 1, 2), keepdims=True))

    images = jnp.arange(12.0).reshape(1, 2, 2, 3)
    assert init(Centre(), KEY, images)["params"]["mean"].ravel().tolist() == [4.5, 5.5, 6.5]
    with pytest.raises(UserError, match="variables of Centre depend on its inputs; give arrays"):
        init(Centre(), KEY, jax.eval_shape(lambda: images))


def test_within_a_program_the_network_draws_by_itself():
    shapes = jax.eval_shape(lambda key: init(_Text(), key, 16), KEY)
    assert shapes["params"]["table"].shape == (9, 16)


def test_rooms_are_few_and_waste_little():
    counts = [1, 16_384, 16_385, 70_000, 1 << 20, (1 << 20) + 1, 23_000_000, 102_760_448]
    rooms = [_room(count) for count in counts]
    assert rooms[:5] == [1 << 14, 1 << 14, 1 << 16, 1 << 18, 1 << 20]
    assert all(
        count <= room <= 1.5 * count for count, room in zip(counts[4:], rooms[4:], strict=True)
    )
    assert len({_room(count) for count in range(1, 1 << 24, 997)}) <= 12
