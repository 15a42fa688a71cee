"""Mining of triplets against loops over all of them; alignment against what it undoes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import alignment, losses, triplets

RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 4, 14)
VALID = RNG.random(14) < 0.85
POINTS = RNG.normal(size=(14, 3)).astype(np.float32)


def all_triplets():
    """Yields (anchor, positive, negative) of valid examples."""
    for a, p, n in itertools.product(range(14), repeat=3):
        if VALID[[a, p, n]].all() and a != p and LABELS[a] == LABELS[p] != LABELS[n]:
            yield a, p, n


def squared():
    return ((POINTS[:, None] - POINTS[None]) ** 2).sum(-1)


@pytest.mark.parametrize("rule", ["all", "semihard", "hard"])
def test_mined_triplets_equal_a_loop(rule):
    distance, labels, valid = squared(), jnp.asarray(LABELS), jnp.asarray(VALID)
    mine = jax.jit(triplets.mined_triplets, static_argnums=(2, 3))
    found = {
        tuple(row) for row in np.argwhere(mine(jnp.asarray(distance), labels, 1.0, rule, valid))
    }
    expected = set()
    for a, p, n in all_triplets():
        gap = distance[a, n] - distance[a, p]
        if {"all": gap <= 1.0, "semihard": 0 < gap <= 1.0, "hard": gap <= 0}[rule]:
            expected.add((a, p, n))
    assert found == expected and len(expected) > 5


def test_hardest_triplets_equal_a_loop():
    distance = squared()
    found = triplets.hardest_triplets(
        jnp.asarray(distance), jnp.asarray(LABELS), jnp.asarray(VALID)
    )
    for a in range(14):
        own = [(p, n) for b, p, n in all_triplets() if b == a]
        assert bool(found.valid[a]) == bool(own)
        if own:
            assert int(found.positive[a]) == max((p for p, _ in own), key=lambda p: distance[a, p])
            assert int(found.negative[a]) == min((n for _, n in own), key=lambda n: distance[a, n])


def test_verification_loss_is_the_definition_and_has_a_gradient_at_zero():
    one, two = POINTS[:7], POINTS[7:]
    same = np.arange(7) % 2 == 0
    got = losses.verification(jnp.asarray(one), jnp.asarray(two), jnp.asarray(same), 2.0)
    for i in range(7):
        distance = np.linalg.norm(one[i] - two[i])
        expected = 0.5 * (distance**2 if same[i] else max(0, 2 - distance) ** 2)
        np.testing.assert_allclose(got[i], expected, rtol=1e-5)
    different = jnp.zeros(7, bool)
    equal = jax.grad(lambda x: losses.verification(x, jnp.asarray(one), different).sum())(
        jnp.asarray(one)
    )
    assert np.isfinite(equal).all()


def test_a_similarity_transform_is_found_again_and_undone():
    template = jnp.asarray(RNG.normal(size=(5, 2)) * 20 + 50, jnp.float32)
    angle, scale, shift = 0.7, 1.8, np.array([3.0, -9.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = jnp.asarray(np.asarray(template) @ turn.T + shift, jnp.float32)
    matrix = alignment.similarity_transform(template, moved)
    np.testing.assert_allclose(matrix[:, :2], turn, rtol=1e-4)
    back = alignment.invert(matrix)
    np.testing.assert_allclose(moved @ back[:, :2].T + back[:, 2][None], template, rtol=1e-4)


def test_points_that_are_one_are_only_shifted():
    points, template = jnp.ones((5, 2)), jnp.arange(10.0).reshape(5, 2)
    matrix = alignment.similarity_transform(points, template)
    np.testing.assert_allclose(matrix, [[1, 0, 3], [0, 1, 4]])
