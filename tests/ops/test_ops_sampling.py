import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import sampling

RNG = np.random.default_rng(0)
hard_negatives = jax.jit(sampling.hard_negatives, static_argnums=(2, 4))
sample = jax.jit(sampling.sample_balanced, static_argnums=(2, 3))


def check_sample(matching, got, count, fraction):
    index, positive, valid = (np.asarray(x) for x in (got.index, got.positive, got.valid))
    positives = min(int((matching >= 0).sum()), int(count * fraction))
    negatives = min(int((matching == -1).sum()), count - positives)
    assert positive.sum() == positives and valid.sum() == positives + negatives
    assert valid[: positives + negatives].all() and positive[:positives].all()
    assert len(set(index[valid])) == valid.sum()  # nothing is drawn twice
    assert (matching[index[positive]] >= 0).all()
    assert (matching[index[valid & ~positive]] == -1).all()
    assert (index[~valid] == 0).all()


@pytest.mark.parametrize("length", [1, 7, 28, 500])
@pytest.mark.parametrize("share", [(0.0, 0.5), (0.02, 0.9), (0.5, 0.5), (1.0, 0.0), (0.0, 0.0)])
def test_sample_has_exact_counts_of_the_right_kinds(length, share):
    positive, negative = share
    odds = [positive / 2, positive / 2, negative, 1 - positive - negative]
    matching = RNG.choice([0, 3, -1, -2], length, p=odds).astype(np.int32)
    for seed in range(3):
        got = sample(jax.random.key(seed), jnp.asarray(matching), 16, 0.25)
        check_sample(matching, got, 16, 0.25)


def test_sample_of_nothing():
    got = sampling.sample_balanced(jax.random.key(0), jnp.zeros(0, jnp.int32), 4, 0.5)
    assert not got.valid.any()


def test_sample_is_uniform():
    matching = np.array([0] * 6 + [-1] * 10 + [-2] * 3, np.int32)
    draws = jax.jit(jax.vmap(lambda key: sample(key, jnp.asarray(matching), 8, 0.5)))(
        jax.random.split(jax.random.key(0), 4000)
    )
    taken = np.bincount(np.asarray(draws.index).ravel(), minlength=19) / 4000
    # 4 of 6 and 4 of 10; five standard errors of a share over 4,000 draws are 0.04.
    np.testing.assert_allclose(taken[:6], 4 / 6, atol=0.04)
    np.testing.assert_allclose(taken[6:16], 4 / 10, atol=0.04)
    assert taken[16:].sum() == 0


def test_sample_pairs_are_uniform_too():
    matching = jnp.full(5, -1, jnp.int32)
    draws = jax.jit(jax.vmap(lambda key: sample(key, matching, 2, 0.5).index))(
        jax.random.split(jax.random.key(1), 4000)
    )
    draws = np.sort(np.asarray(draws), 1)
    share = np.bincount(draws[:, 0] * 5 + draws[:, 1], minlength=25) / 4000
    assert (share > 0).sum() == 10
    np.testing.assert_allclose(share[share > 0], 0.1, atol=0.024)


def test_sample_vmap_is_a_loop():
    matching = jnp.asarray(RNG.choice([0, -1, -2], (3, 40)).astype(np.int32))
    keys = jax.random.split(jax.random.key(0), 3)
    got = jax.jit(jax.vmap(lambda k, m: sampling.sample_balanced(k, m, 8, 0.5)))(keys, matching)
    for i in range(3):
        wanted = sample(keys[i], matching[i], 8, 0.5)
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=i: x[i], got), wanted)


@pytest.mark.golden
def test_sample_at_the_size_of_a_pyramid():
    matching = RNG.choice([0, -1, -2], 242_991, p=[0.001, 0.9, 0.099]).astype(np.int32)
    for seed in range(20):
        got = sample(jax.random.key(seed), jnp.asarray(matching), 256, 0.5)
        check_sample(matching, got, 256, 0.5)


def slow_hard_negatives(loss, positive, ratio, valid, least=0):
    negatives = [i for i in range(len(loss)) if not positive[i] and valid[i]]
    count = min(max(int(positive.sum() * ratio), least), len(negatives))
    chosen = sorted(negatives, key=lambda i: (-loss[i], i))[:count]
    return np.isin(np.arange(len(loss)), chosen)


@pytest.mark.parametrize("steps", [None, 1, 4])
@pytest.mark.parametrize("ratio", [0.5, 3.0, 100.0])
def test_hard_negatives_equal_a_sort(steps, ratio):
    for _ in range(6):
        loss = RNG.exponential(size=90).astype(np.float32)
        if steps:  # many ties
            loss = np.round(loss * steps) / steps
        positive, valid = RNG.uniform(size=90) < 0.1, RNG.uniform(size=90) < 0.9
        got = hard_negatives(jnp.asarray(loss), jnp.asarray(positive), ratio, jnp.asarray(valid))
        np.testing.assert_array_equal(got, slow_hard_negatives(loss, positive, ratio, valid))


def test_hard_negatives_in_float64_see_the_last_bit():
    with jax.enable_x64(True):
        loss = jnp.array([1.0, 1.0 + 2**-50, 1.0, 5.0])
        got = sampling.hard_negatives(loss, jnp.array([False, False, False, True]), 1.0)
    assert got.tolist() == [False, True, False, False]


def test_hard_negatives_of_odd_losses():
    loss = jnp.array([0.0, jnp.inf, -1.0, jnp.nan, 2.0, -0.0])
    none = jnp.zeros(6, bool)
    assert not sampling.hard_negatives(loss, none).any()
    assert not sampling.hard_negatives(loss, ~none).any()
    for count, wanted in ((1, [3]), (2, [1, 3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4])):
        got = hard_negatives(loss, none, 3.0, None, count)
        assert np.flatnonzero(got).tolist() == wanted
    assert sampling.hard_negatives(jnp.zeros(0), jnp.zeros(0, bool)).shape == (0,)


def test_hard_negatives_vmap_is_a_loop_and_passes_no_gradient():
    loss = jnp.asarray(RNG.exponential(size=(3, 50)).astype(np.float32))
    positive = jnp.asarray(RNG.uniform(size=(3, 50)) < 0.1)
    got = jax.vmap(lambda x, p: hard_negatives(x, p))(loss, positive)
    wanted = [hard_negatives(x, p) for x, p in zip(loss, positive, strict=True)]
    np.testing.assert_array_equal(got, jnp.stack(wanted))

    def total(loss):
        chosen = hard_negatives(loss, positive[0])
        return jnp.sum(jnp.where(chosen, loss, 0))

    np.testing.assert_array_equal(jax.grad(total)(loss[0]), wanted[0].astype(np.float32))
