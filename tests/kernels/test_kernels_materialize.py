import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import Mesh, PartitionSpec

from vision_jax.kernels.materialize import materialize, materialize_relu

pytestmark = pytest.mark.core

X = np.array([[-1.5, 0.0, 2.0], [3.0, -0.0, np.nan]], np.float32)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "bool"])
def test_values_are_as_they_were(dtype):
    x = jnp.asarray(np.nan_to_num(X), dtype)
    for found in (
        materialize(x),
        jax.jit(materialize)(x),
        jax.vmap(materialize)(x),
        materialize(x[:0]),
    ):
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x[: len(found)])


def test_what_went_in_is_left_alone():
    @jax.jit
    def run(x):
        y = x * 2
        z = materialize(y)
        return y, z + 1, materialize(x)

    x = jnp.arange(5.0)
    for found, expected in zip(run(x), (x * 2, x * 2 + 1, x), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(x, np.arange(5.0))


def test_relu_is_jax_s_in_value_and_derivatives():
    x = jnp.asarray(np.nan_to_num(X))
    t = jnp.asarray(np.random.default_rng(0).normal(size=x.shape), jnp.float32)

    def both(relu):
        pull = jax.vjp(relu, x)[1](t)
        second = jax.grad(lambda x: jax.grad(lambda x: (relu(x) ** 3).sum())(x).sum())(x)
        batched = jax.vmap(jax.grad(lambda x: (relu(x) ** 2).sum()))(x)
        return jax.jvp(relu, (x,), (t,)), pull, second, batched, jax.jit(relu)(jnp.asarray(X))

    jax.tree.map(np.testing.assert_array_equal, both(materialize_relu), both(jax.nn.relu))


def test_loops_branches_and_checkpoints():
    def run(one):
        def body(x, _):
            return lax.cond(x.sum() > 0, one, lambda x: -one(x), x) - 0.5, None

        checkpointed = jax.checkpoint(lambda x: lax.scan(body, x, None, 3)[0])
        return jax.jit(jax.value_and_grad(lambda x: checkpointed(x).sum()))(jnp.arange(3.0))

    jax.tree.map(np.testing.assert_array_equal, run(materialize_relu), run(jax.nn.relu))


def test_shard_map_knows_what_varies():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    spec = PartitionSpec("data")
    run = jax.shard_map(lambda x: materialize_relu(x) - 1, mesh=mesh, in_specs=spec, out_specs=spec)
    x = jnp.arange(8.0) - 4
    np.testing.assert_array_equal(jax.jit(run)(x), np.maximum(x, 0) - 1)


def test_what_two_operations_read_is_computed_once():
    """A value that two operations read is computed once on CPU."""

    def calls(barrier):
        def run(x, w):
            y = barrier(jnp.sin(x))
            return y @ w, y + 1

        shapes = (
            jax.ShapeDtypeStruct((8, 8), jnp.float32),
            jax.ShapeDtypeStruct((8, 8), jnp.float32),
        )
        return jax.jit(run).lower(*shapes).compile().as_text().count(" sine(")

    assert calls(materialize) == 1
    assert calls(lambda x: x) == 2  # or it is no longer needed


def test_a_tree_is_computed_before_any_of_it_is_read():
    @jax.jit
    def run(tree):
        doubled = jax.tree.map(lambda x: 2 * x, tree)
        return jax.tree.map(lambda x: x + 1, materialize(doubled))

    tree = {"a": jnp.arange(3.0), "b": (jnp.ones((2, 2), jnp.int32), None)}
    jax.tree.map(np.testing.assert_array_equal, run(tree), jax.tree.map(lambda x: 2 * x + 1, tree))
    mixed = jax.vmap(lambda x, y: materialize((x, y)), (0, None))(jnp.arange(4.0), jnp.ones(2))
    np.testing.assert_array_equal(mixed[1], np.ones((4, 2)))
    text = run.lower(tree).compile().as_text()
    assert text.count('custom_call_target="vision_jax_materialize"') == 1


def test_exported_programs_call_nothing():
    shape = jax.ShapeDtypeStruct((4,), jnp.float32)
    program = export.export(jax.jit(materialize_relu), platforms=("cpu", "cuda"))(shape)
    assert "custom_call" not in program.mlir_module()
    np.testing.assert_array_equal(program.call(jnp.array([-1.0, 0, 1, 2])), [0, 0, 1, 2])
