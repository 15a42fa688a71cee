import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops.windows import over_windows, starts


def test_windows_reach_the_end():
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(11, 4, 3) == [0, 3, 6, 7]
    assert starts(4, 4, 2) == [0]
    for size, window, stride in ((3, 4, 1), (8, 4, 5), (8, 4, 0)):
        with pytest.raises(ValueError, match="no windows of 4"):
            starts(size, window, stride)


def test_answers_are_averaged_over_the_windows_of_a_pixel():
    image = np.random.default_rng(0).standard_normal((2, 7, 9, 3)).astype(np.float32)

    def apply(part):  # depends on where in the window a pixel is, and on the whole window
        return jnp.cumsum(part, 1)[..., :2] * part.mean((1, 2), keepdims=True)[..., :2]

    got = jax.jit(lambda x: over_windows(apply, x, (4, 5), (2, 3)))(jnp.asarray(image))
    total, count = np.zeros((2, 7, 9, 2)), np.zeros((1, 7, 9, 1))
    for row in (0, 2, 3):
        for column in (0, 3, 4):
            part = (slice(None), slice(row, row + 4), slice(column, column + 5))
            total[part] += apply(jnp.asarray(image[part]))
            count[part] += 1
    np.testing.assert_allclose(got, total / count, rtol=0, atol=1e-5)


def test_an_answer_of_its_pixel_alone_stays():
    image = jnp.asarray(np.random.default_rng(1).standard_normal((1, 6, 6, 2)), jnp.float32)
    got = over_windows(lambda x: x * 3, image, (4, 4), (1, 1))
    np.testing.assert_allclose(got, image * 3, rtol=1e-6)
