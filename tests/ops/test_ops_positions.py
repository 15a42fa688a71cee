"""Codes of places in a map against slow loops."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import positions


def test_grid_sines_against_a_loop():
    got = positions.grid_sines(3, 2, 8)
    assert got.shape == (3, 2, 8)
    for y in range(3):
        for x in range(2):
            expected = []
            for place in (y / 2 * 2 * math.pi, x * 2 * math.pi):
                waves = [1, 10_000 ** (4 / 8)]
                expected += [math.sin(place / w) for w in waves]
                expected += [math.cos(place / w) for w in waves]
            np.testing.assert_allclose(got[y, x], expected, atol=1e-5)
    assert jnp.isfinite(positions.grid_sines(1, 1, 4)).all()
    with pytest.raises(ValueError, match="6 features are no sines and cosines"):
        positions.grid_sines(2, 2, 6)


def test_lower_temperatures_tell_neighbours_apart():
    valid = jnp.ones((1, 8, 8), bool)

    def alike(temperature):
        code = positions.sine_positions(valid, 32, temperature=temperature)[0, 4]
        return float((code[3] * code[4]).sum() / (code[3] * code[3]).sum())

    assert alike(20.0) < alike(10_000.0)
