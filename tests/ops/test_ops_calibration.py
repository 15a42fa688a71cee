"""Calibration by patterns: there and back, and the mean of likely ones by a loop."""

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.ops import calibration

RNG = np.random.default_rng(3)


def boxes(count):
    low = RNG.uniform(0, 50, (count, 2))
    return jnp.asarray(np.concatenate([low, low + RNG.uniform(8, 40, (count, 2))], 1), jnp.float32)


def test_the_patterns_are_the_papers():
    assert calibration.PATTERNS.shape == (45, 3)
    assert len({tuple(row) for row in calibration.PATTERNS.tolist()}) == 45
    assert set(calibration.PATTERNS[:, 0].round(2).tolist()) == set(
        np.float32([0.83, 0.91, 1.0, 1.10, 1.21]).round(2).tolist()
    )


def test_what_a_pattern_disturbs_it_brings_back():
    faces, patterns = boxes(45), jnp.asarray(calibration.PATTERNS)
    moved = calibration.disturb_boxes(faces, patterns)
    assert float(jnp.abs(moved - faces).max()) > 2
    np.testing.assert_allclose(calibration.calibrate_boxes(moved, patterns), faces, atol=1e-4)
    x, y, w, h = 10.0, 20.0, 40.0, 50.0
    s, dx, dy = 0.83, 0.17, -0.17
    expected = (x - dx * w / s, y - dy * h / s, w / s, h / s)  # equation 1
    box = calibration.calibrate_boxes(
        jnp.array([[x, y, x + w, y + h]]), jnp.array([[s, dx, dy]], jnp.float32)
    )[0]
    np.testing.assert_allclose(box[:2], expected[:2], rtol=1e-5)
    np.testing.assert_allclose(box[2:] - box[:2], expected[2:], rtol=1e-5)


def test_likely_patterns_are_averaged_and_none_changes_nothing():
    logits = jnp.asarray(RNG.normal(0, 3, (6, 45)), jnp.float32).at[5].set(0)
    found = calibration.mean_patterns(logits, 0.1)
    odds = np.asarray(jax.nn.softmax(logits, -1))
    for row, mean in zip(odds, np.asarray(found), strict=True):
        likely = [p for p, odd in zip(calibration.PATTERNS, row, strict=True) if odd >= 0.1]
        expected = np.mean(likely, 0) if likely else [1, 0, 0]
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[5], [1, 0, 0])
