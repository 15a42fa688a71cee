import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
import pytest

from vision_jax.kernels import chunks
from vision_jax.ops.roi_align import ps_roi_align, pyramid_level, roi_align, roi_align_pyramid
from vision_jax.ops.roi_crop import warp_crops

RNG = np.random.default_rng(0)
align = jax.jit(roi_align, static_argnums=(2, 3, 4, 5, 6))
pyramid = jax.jit(roi_align_pyramid, static_argnums=(3, 4, 5, 6, 7))


def random_boxes(*shape, size=60.0):
    start = RNG.uniform(-4, size * 0.7, (*shape, 2))
    extent = RNG.uniform(0.5, size * 0.5, (*shape, 2))
    return np.concatenate([start, start + extent], -1).astype(np.float32)


def bilinear(image, y, x):
    height, width, _ = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(image.shape[2])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    v, u = y - top, x - left
    return (
        image[top, left] * (1 - v) * (1 - u)
        + image[top, right] * (1 - v) * u
        + image[bottom, left] * v * (1 - u)
        + image[bottom, right] * v * u
    )


def slow_region(image, box, size, scale, samples, aligned):
    """One box, by the definition, in float64."""
    x0, y0, x1, y1 = np.float64(box) * scale - (0.5 if aligned else 0.0)
    w, h = (x1 - x0, y1 - y0) if aligned else (max(x1 - x0, 1.0), max(y1 - y0, 1.0))
    down = samples or int(np.ceil(h / size[0]))
    across = samples or int(np.ceil(w / size[1]))
    out = np.zeros((*size, image.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            values = [
                bilinear(
                    image,
                    y0 + (i + (a + 0.5) / down) * h / size[0],
                    x0 + (j + (b + 0.5) / across) * w / size[1],
                )
                for a in range(down)
                for b in range(across)
            ]
            out[i, j] = np.mean(values, 0) if values else 0
    return out


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("samples, aligned", [(2, True), (2, False), (0, True), (3, False)])
def test_roi_align_equals_the_definition(samples, aligned, deterministic):
    features = RNG.normal(size=(2, 9, 11, 2)).astype(np.float32)
    boxes = random_boxes(2, 6, size=80.0)
    got = align(
        jnp.asarray(features), jnp.asarray(boxes), (2, 3), 0.125, samples, aligned, deterministic
    )
    wanted = [
        [slow_region(f, b, (2, 3), 0.125, samples, aligned) for b in some]
        for f, some in zip(features, boxes, strict=True)
    ]
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_many_regions_go_in_chunks():
    features = jnp.asarray(RNG.normal(size=(1, 8, 8, 1)).astype(np.float32))
    boxes = jnp.asarray(random_boxes(1, chunks.MATRIX_CHUNK + 5))
    for deterministic in (False, True):
        whole = align(features, boxes, (2, 2), 0.125, 2, True, deterministic)
        some = align(features, boxes[:, -3:], (2, 2), 0.125, 2, True, deterministic)
        np.testing.assert_allclose(whole[:, -3:], some, atol=1e-6)


def test_both_forms_agree_on_a_pyramid_and_with_one_level_at_a_time():
    maps = tuple(
        jnp.asarray(RNG.normal(size=(2, 16 >> i, 20 >> i, 3)).astype(np.float32)) for i in range(3)
    )
    boxes = jnp.asarray(random_boxes(2, 10, size=70.0))
    levels = jnp.asarray(RNG.integers(0, 3, (2, 10)).astype(np.int32))
    scales = (1 / 4, 1 / 8, 1 / 16)
    for samples in (2, 0):
        pooled = [
            pyramid(maps, boxes, levels, (2, 2), scales, samples, True, form)
            for form in (False, True)
        ]
        np.testing.assert_allclose(*pooled, atol=1e-5)
        alone = jnp.stack(
            [align(m, boxes, (2, 2), s, samples, True) for m, s in zip(maps, scales, strict=True)]
        )
        wanted = jnp.take_along_axis(alone, levels[None, :, :, None, None, None], 0)[0]
        np.testing.assert_allclose(pooled[0], wanted, atol=1e-5)


def test_adaptive_gradients_are_those_of_the_matrices():
    """More regions than go at a time, large ones among them, on maps of different sides."""
    shapes = ((2, 30, 17, 3), (2, 15, 9, 3), (2, 8, 5, 3))
    maps = tuple(jnp.asarray(RNG.normal(size=shape).astype(np.float32)) for shape in shapes)
    boxes = jnp.asarray(random_boxes(2, 13, size=110.0))
    levels = jnp.asarray(RNG.integers(0, 3, (2, 13)).astype(np.int32))
    weights = jnp.asarray(RNG.normal(size=(2, 13, 3, 2, 3)).astype(np.float32))

    def both(maps, form):
        return jax.vjp(
            lambda maps: pyramid(
                maps, boxes, levels, (3, 2), (1 / 4, 1 / 8, 1 / 16), 0, True, form
            ),
            maps,
        )

    (ours, back), (theirs, matrices) = both(maps, False), both(maps, True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for one, other in zip(back(weights)[0], matrices(weights)[0], strict=True):
        assert np.abs(one).max() > 0.1
        np.testing.assert_allclose(one, other, atol=1e-5)
    # In half precision what is summed in float32 is rounded once.
    half = jax.tree.map(lambda x: x.astype("bfloat16"), maps)
    wide = jax.tree.map(lambda x: x.astype("float32"), half)
    (small, back), (large, exact) = both(half, False), both(wide, False)
    assert small.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(small), large, rtol=2.0**-8, atol=1e-6)
    rounded = weights.astype("bfloat16")
    for one, other in zip(back(rounded)[0], exact(rounded.astype("float32"))[0], strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(one), other, rtol=2.0**-8, atol=1e-6)


def test_level_by_the_papers_equation():
    sides = np.array([10.0, 111, 112, 113, 223, 224, 225, 447, 448, 449, 4000])
    boxes = jnp.asarray(np.stack([0 * sides, 0 * sides, sides, sides], 1).astype(np.float32))
    wanted = np.clip(np.floor(4 + np.log2(sides / 224)), 2, 5) - 2
    assert pyramid_level(boxes).tolist() == wanted.tolist()
    odd = jnp.array([[0.0, 0, 0, 9], [5, 5, 1, 1], [jnp.nan] * 4])
    assert pyramid_level(odd).tolist() == [0, 0, 0]


@pytest.mark.parametrize("samples, deterministic", [(2, False), (2, True), (0, False)])
def test_gradient_is_the_finite_difference_and_skips_boxes(samples, deterministic):
    with jax.enable_x64(True):
        features = jnp.asarray(RNG.normal(size=(1, 5, 6, 2)))
        boxes = jnp.asarray(random_boxes(1, 3, size=40.0).astype(float))

        @jax.jit
        def pooled(features, boxes):
            return roi_align(features, boxes, (2, 2), 0.125, samples, True, deterministic)

        jax.test_util.check_grads(lambda f: pooled(f, boxes), (features,), order=1, modes=("rev",))
        to_boxes = jax.grad(lambda b: pooled(features, b).sum())(boxes)
        assert not to_boxes.any()


def test_vmap_is_a_loop():
    features = jnp.asarray(RNG.normal(size=(3, 1, 6, 6, 2)).astype(np.float32))
    boxes = jnp.asarray(random_boxes(3, 1, 4))
    for samples in (0, 2):
        got = jax.vmap(lambda f, b, s=samples: align(f, b, (2, 2), 0.125, s))(features, boxes)
        wanted = [align(f, b, (2, 2), 0.125, samples) for f, b in zip(features, boxes, strict=True)]
        np.testing.assert_allclose(got, jnp.stack(wanted), atol=1e-6)


@hypothesis.given(
    hnp.arrays(
        np.float32,
        (1, 4, 4),
        elements=st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 8.0, 30.0, -50.0, 1e9]),
    ),
    st.sampled_from([0, 2]),
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_degenerate_boxes_end_and_leave_the_others_alone(boxes, samples):
    features = jnp.ones((1, 6, 6, 1))
    boxes[0, 3] = [4, 4, 40, 40]
    # A finite box of 1e9 pixels is legal with adaptive sampling, but takes 1e9 steps.
    boxes = np.where((boxes > 100) & np.isfinite(boxes) & (samples == 0), 90, boxes)
    got = np.asarray(align(features, jnp.asarray(boxes), (2, 2), 0.125, samples))
    np.testing.assert_allclose(got[0, 3], 1.0, atol=1e-6)
    sound = np.isfinite(boxes[0]).all(1)
    assert (np.abs(got[0, sound]) <= 1 + 1e-5).all()


def test_no_regions():
    got = align(jnp.ones((2, 6, 6, 3)), jnp.zeros((2, 0, 4)), (2, 2), 0.125)
    assert got.shape == (2, 0, 2, 2, 3)


def test_position_sensitive_reads_the_right_channels():
    k, classes = 2, 3
    features = RNG.normal(size=(1, 6, 7, classes * k * k)).astype(np.float32)
    boxes = random_boxes(1, 5, size=50.0)
    got = jax.jit(ps_roi_align, static_argnums=(2, 3, 4))(
        jnp.asarray(features), jnp.asarray(boxes), k, 0.125, 2
    )
    for n, box in enumerate(boxes[0]):
        dense = slow_region(features[0], box, (k, k), 0.125, 2, True)
        for i in range(k):
            for j in range(k):
                channels = [(c * k + i) * k + j for c in range(classes)]
                np.testing.assert_allclose(got[0, n, i, j], dense[i, j, channels], atol=1e-5)


@pytest.mark.parametrize("context", [0, 2])
def test_warp_crop_equals_the_definition(context):
    image = RNG.uniform(size=(12, 15, 3)).astype(np.float32)
    boxes, size = random_boxes(6, size=14.0), (8, 6)
    fill = (0.1, 0.2, 0.3)
    got = warp_crops(jnp.asarray(image), jnp.asarray(boxes), size, context, fill)
    for n, (x0, y0, x1, y1) in enumerate(boxes.astype(float)):
        for i in range(size[0]):
            for j in range(size[1]):
                y = y0 + (i + 0.5 - context) * (y1 - y0) / (size[0] - 2 * context)
                x = x0 + (j + 0.5 - context) * (x1 - x0) / (size[1] - 2 * context)
                inside = 0 <= y <= 12 and 0 <= x <= 15
                near = bilinear(image, np.clip(y - 0.5, 0, 11), np.clip(x - 0.5, 0, 14))
                np.testing.assert_allclose(got[n, i, j], near if inside else fill, atol=1e-5)


def test_warp_crop_of_the_whole_image_is_the_image():
    image = jnp.asarray(RNG.uniform(size=(7, 9, 2)).astype(np.float32))
    got = warp_crops(image, jnp.array([[0.0, 0, 9, 7]]), (7, 9))
    np.testing.assert_allclose(got[0], image, atol=1e-6)
    beyond = warp_crops(image, jnp.array([[-20.0, -20, -10, -10]]), (2, 2))
    np.testing.assert_allclose(beyond[0], jnp.broadcast_to(image[:1, :1], (2, 2, 2)))
