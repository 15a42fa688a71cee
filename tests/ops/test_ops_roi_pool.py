import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from vision_jax.ops.roi_pool import (
    ps_roi_pool,
    roi_pool,
    round_half_away,
    spatial_pyramid_pool,
    spp_windows,
)

RNG = np.random.default_rng(0)
pool = jax.jit(roi_pool, static_argnums=(2, 3, 4))


def random_boxes(*shape, size=80.0):
    start = RNG.uniform(-8, size * 0.7, (*shape, 2))
    extent = RNG.uniform(0.0, size * 0.6, (*shape, 2))
    return np.concatenate([start, start + extent], -1).astype(np.float32)


def away(x):
    return int(np.sign(x) * np.floor(abs(np.float64(x)) + 0.5))


def slow_region(image, box, size, scale):
    height, width, channels = image.shape
    x0, y0, x1, y1 = (away(np.float32(v) * np.float32(scale)) for v in box)
    w, h = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
    out = np.zeros((*size, channels), image.dtype)
    for i in range(size[0]):
        for j in range(size[1]):
            down, across = np.float32(h) / np.float32(size[0]), np.float32(w) / np.float32(size[1])
            top = min(max(int(np.floor(i * down)) + y0, 0), height)
            bottom = min(max(int(np.ceil((i + 1) * down)) + y0, 0), height)
            left = min(max(int(np.floor(j * across)) + x0, 0), width)
            right = min(max(int(np.ceil((j + 1) * across)) + x0, 0), width)
            if bottom > top and right > left:
                out[i, j] = image[top:bottom, left:right].max((0, 1))
    return out


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("size", [(7, 7), (2, 3), (1, 1)])
def test_roi_pool_equals_the_definition(size, deterministic):
    features = RNG.normal(size=(2, 11, 13, 3)).astype(np.float32)
    boxes = random_boxes(2, 20)
    boxes[0, 0] = [0, 0, 500, 400]  # bins larger than those of any box within the map
    boxes[0, 1] = [20, 20, 20, 20]
    boxes[0, 2] = [50, 40, 20, 10]
    boxes[0, 3] = [500, 500, 600, 600]
    got = pool(jnp.asarray(features), jnp.asarray(boxes), size, 0.125, deterministic)
    wanted = [
        [slow_region(f, b, size, 0.125) for b in some]
        for f, some in zip(features, boxes, strict=True)
    ]
    np.testing.assert_array_equal(got, wanted)


def test_rounding_is_half_away_from_zero():
    x = jnp.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999997, -0.49999997, 4503600.5, 3.0])
    assert round_half_away(x).tolist() == [1, 2, 3, -1, -2, 0, 0, 4503601, 3]
    # [2.5, 4.5] cells covers rows 3 to 5.
    features = jnp.arange(8.0).reshape(1, 8, 1, 1)
    got = pool(features, jnp.array([[[0.0, 2.5, 0, 4.5]]]), (3, 1), 1.0)
    assert got.ravel().tolist() == [3, 4, 5]


def test_bins_keep_the_true_division():
    # 57 cells in 7 bins: 7 * (57 / 7) rounds above 57 in float32, so the last bin has a cell more.
    features = jnp.arange(64.0).reshape(1, 64, 1, 1)
    got = pool(features, jnp.array([[[0.0, 0, 0, 56]]]), (7, 1), 1.0)
    assert got.ravel().tolist() == [8, 16, 24, 32, 40, 48, 57]


@pytest.mark.parametrize("deterministic", [False, True])
def test_gradient_is_the_finite_difference_and_skips_boxes(deterministic):
    with jax.enable_x64(True):
        features = jnp.asarray(RNG.permutation(120).reshape(1, 6, 10, 2) / 10.0)
        boxes = jnp.asarray(random_boxes(1, 3, size=60.0).astype(float))

        @jax.jit
        def pooled(features, boxes):
            return roi_pool(features, boxes, (2, 2), 0.125, deterministic)

        jax.test_util.check_grads(lambda f: pooled(f, boxes), (features,), order=1, modes=("rev",))
        assert not jax.grad(lambda b: pooled(features, b).sum())(boxes).any()


def test_gradient_of_ties_adds_up():
    features = jnp.zeros((1, 4, 4, 1))
    box = jnp.array([[[0.0, 0, 3, 3]]])
    for deterministic in (False, True):
        grad = jax.grad(lambda f, d=deterministic: pool(f, box, (1, 1), 1.0, d).sum())(features)
        np.testing.assert_allclose(grad.sum(), 1.0, rtol=1e-6)
        assert (grad >= 0).all()


def test_vmap_is_a_loop():
    features = jnp.asarray(RNG.normal(size=(3, 1, 6, 6, 2)).astype(np.float32))
    boxes = jnp.asarray(random_boxes(3, 1, 4))
    got = jax.vmap(lambda f, b: pool(f, b, (2, 2), 0.125))(features, boxes)
    wanted = [pool(f, b, (2, 2), 0.125) for f, b in zip(features, boxes, strict=True)]
    np.testing.assert_array_equal(got, jnp.stack(wanted))


@hypothesis.given(
    hnp.arrays(
        np.float32,
        (1, 4, 4),
        elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 8.0, 30.0, -50.0, 1e9]),
    )
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_degenerate_boxes_give_values_of_the_map_or_nothing(boxes):
    boxes[0, 3] = [8, 8, 24, 24]
    got = np.asarray(pool(jnp.ones((1, 6, 6, 1)), jnp.asarray(boxes), (2, 2), 0.125))
    assert set(np.unique(got)) <= {0.0, 1.0}
    assert (got[0, 3] == 1).all()


def test_no_regions():
    assert pool(jnp.ones((2, 6, 6, 3)), jnp.zeros((2, 0, 4)), (2, 2), 0.1).shape == (2, 0, 2, 2, 3)


@pytest.mark.parametrize("cut", [0, 1])
def test_position_sensitive_pool_equals_a_loop(cut):
    k, classes, height, width = 2, 3, 7, 8
    features = RNG.normal(size=(1, height, width, classes * k * k)).astype(np.float32)
    boxes = random_boxes(1, 12, size=64.0)
    boxes[0, 0] = [20, 20, 20, 20]
    boxes[0, 1] = [900, 900, 950, 950]
    got = jax.jit(ps_roi_pool, static_argnums=(2, 3, 4))(
        jnp.asarray(features), jnp.asarray(boxes), k, 0.125, cut == 1
    )
    for n, box in enumerate(boxes[0]):
        x0, y0, x1, y1 = (away(v * np.float32(0.125)) for v in box)
        w, h = max(x1 - x0, 1), max(y1 - y0, 1)
        for i in range(k):
            for j in range(k):
                top = min(max(i * h // k + y0, 0), height - cut)
                bottom = min(max(-(-(i + 1) * h // k) + y0, 0), height - cut)
                left = min(max(j * w // k + x0, 0), width - cut)
                right = min(max(-(-(j + 1) * w // k) + x0, 0), width - cut)
                channels = [(c * k + i) * k + j for c in range(classes)]
                cell = features[0, top:bottom, left:right][..., channels]
                wanted = cell.mean((0, 1)) if cell.shape[0] and cell.shape[1] else np.zeros(classes)
                np.testing.assert_allclose(got[0, n, i, j], wanted, atol=1e-6)


def test_torchvision_edges_do_not_change_the_gradient():
    features = jnp.asarray(RNG.normal(size=(1, 6, 6, 4)).astype(np.float32))
    box = jnp.array([[[0.0, 0, 48, 48]]])

    def total(features, edges):
        return ps_roi_pool(features, box, 2, 0.125, edges).sum()

    graded = jax.jit(jax.value_and_grad(total), static_argnums=1)
    inner, outer = (graded(features, edges) for edges in (True, False))
    assert abs(inner[0] - outer[0]) > 1e-3
    np.testing.assert_array_equal(inner[1], outer[1])


def test_spatial_pyramid_of_the_whole_map():
    features = RNG.normal(size=(2, 7, 5, 3)).astype(np.float32)
    got = spatial_pyramid_pool(jnp.asarray(features), (3, 1))
    assert got.shape == (2, 10, 3)
    np.testing.assert_array_equal(got[:, 0], features[:, :3, :2].max((1, 2)))
    np.testing.assert_array_equal(got[:, 4], features[:, 2:5, 1:4].max((1, 2)))
    np.testing.assert_array_equal(got[:, 9], features.max((1, 2)))


def test_spp_window_is_the_pyramid_of_its_part():
    features = jnp.asarray(RNG.normal(size=(1, 20, 22, 3)).astype(np.float32))
    # (33, 65) to (207, 255) of stride 16: cells 3..12 across and 5..15 down, ends included? by the
    # appendix, left = floor(33 / 16) + 1 = 3 and right = ceil(207 / 16) - 1 = 12.
    box = jnp.array([[[33.0, 65, 207, 255]]])
    for deterministic in (False, True):
        got = jax.jit(lambda f, d=deterministic: spp_windows(f, box, (3, 2, 1), 16, d))(features)
        wanted = spatial_pyramid_pool(features[:, 5:16, 3:13], (3, 2, 1))
        np.testing.assert_array_equal(got[:, 0], wanted)
