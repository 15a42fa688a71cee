"""Operations between the stages of a cascade, each against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import cascade
from vision_jax.ops.pool import adaptive_avg_pool

RNG = np.random.default_rng(4)


def some_boxes(count: int) -> np.ndarray:
    low = RNG.uniform(-5, 30, (count, 2))
    return np.concatenate([low, low + RNG.uniform(1, 25, (count, 2))], 1).astype(np.float32)


@pytest.mark.parametrize("size", [(24, 24), (5, 48), (13, 7)])
def test_area_resize_is_adaptive_pooling_of_the_rectangle(size):
    image = RNG.integers(0, 256, (40, 31, 3))
    areas = cascade.summed_areas(jnp.asarray(image, jnp.uint32))
    for y0, y1, x0, x1 in ((1, 40, 1, 31), (3, 9, 5, 30), (40, 40, 31, 31), (7, 31, 2, 4)):
        span = jnp.array([y0, y1, x0, x1])
        got = jax.jit(cascade.area_resize, static_argnums=2)(areas, span, size)
        part = jnp.asarray(image[None, y0 - 1 : y1, x0 - 1 : x1], jnp.float32)
        np.testing.assert_allclose(got, adaptive_avg_pool(part, size)[0], rtol=2e-6)


def test_area_resize_of_nothing_is_zero_and_of_less_than_its_array_the_same():
    areas = cascade.summed_areas(jnp.full((9, 9, 1), 200, jnp.uint32))
    nothing = cascade.area_resize(areas, jnp.array([5, 3, 1, 9]), (4, 4))
    np.testing.assert_array_equal(nothing, 0)
    whole = cascade.area_resize(areas, jnp.array([1, 8, 1, 6]), (3, 2))
    larger = cascade.area_resize(areas, jnp.array([1, 8, 1, 6]), (5, 6), jnp.array([3, 2]))
    np.testing.assert_array_equal(larger[:3, :2], whole)


def test_sums_that_wrap_round_leave_exact_differences():
    pixels = jnp.full((6, 6, 1), 2**31 - 1, jnp.uint32)
    areas = np.asarray(cascade.summed_areas(pixels))[..., 0]
    with np.errstate(over="ignore"):
        corner = areas[6, 6] - areas[4, 6] - areas[6, 5] + areas[4, 5]
    assert corner == 2 * (2**31 - 1)


def test_squares_spans_and_deltas():
    boxes = jnp.asarray(some_boxes(50))
    squares = np.asarray(cascade.square_boxes(boxes))
    sides = squares[:, 2:] - squares[:, :2]
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], atol=1e-4)
    longer = np.asarray(boxes[:, 2:] - boxes[:, :2]).max(1)
    np.testing.assert_allclose(sides[:, 0], longer, atol=1e-4)
    middle = (np.asarray(boxes[:, :2] + boxes[:, 2:])) / 2
    np.testing.assert_allclose((squares[:, :2] + squares[:, 2:]) / 2, middle, atol=1e-4)
    others = jnp.asarray(some_boxes(50))
    deltas = cascade.encode_corners(others, boxes)
    np.testing.assert_allclose(cascade.refine_boxes(boxes, deltas), others, atol=1e-4)
    spans = np.asarray(cascade.pixel_spans(boxes, 33, 28))
    for (x0, y0, x1, y1), span in zip(np.asarray(boxes), spans, strict=True):
        expected = max(int(y0), 1), min(int(y1), 33), max(int(x0), 1), min(int(x1), 28)
        assert tuple(span) == expected


@pytest.mark.parametrize("of_smaller", [False, True])
def test_suppression_is_the_greedy_loop(of_smaller):
    boxes, scores = some_boxes(60), RNG.integers(1, 20, 60).astype(np.float32) / 20
    valid = RNG.random(60) < 0.8
    kept = cascade.suppress_inclusive(
        jnp.asarray(boxes), jnp.asarray(scores), 0.4, jnp.asarray(valid), of_smaller
    )
    expected = []
    for i in np.argsort(-scores, kind="stable"):
        if valid[i] and all(_overlap(boxes[i], boxes[j], of_smaller) <= 0.4 for j in expected):
            expected.append(i)
    assert 5 < len(expected) < 50
    np.testing.assert_array_equal(np.asarray(kept.index)[np.asarray(kept.valid)], expected)
    np.testing.assert_array_equal(kept.score[: len(expected)], scores[expected])
    np.testing.assert_array_equal(kept.score[len(expected) :], 0)


def _overlap(a, b, of_smaller):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1
    shared = np.prod(np.maximum(sides, 0))
    areas = [np.prod(box[2:] - box[:2] + 1) for box in (a, b)]
    return shared / (min(areas) if of_smaller else sum(areas) - shared)


def test_the_hardest_examples_are_a_floored_share_of_the_valid_ones():
    loss, valid = RNG.random(30).astype(np.float32), RNG.random(30) < 0.7
    kept = np.asarray(cascade.hard_examples(jnp.asarray(loss), jnp.asarray(valid), 0.5))
    count = int(0.5 * valid.sum())
    expected = np.argsort(-np.where(valid, loss, -1), kind="stable")[:count]
    np.testing.assert_array_equal(np.flatnonzero(kept), np.sort(expected))
    assert not cascade.hard_examples(jnp.asarray(loss), jnp.zeros(30, bool)).any()


def test_windows_are_those_that_a_score_map_stands_for():
    scores = jnp.asarray(RNG.random((5, 7)), jnp.float32)
    deltas = jnp.asarray(RNG.random((5, 7, 4)), jnp.float32)
    rows, chosen = cascade.face_windows(scores, deltas, 0.25, 0.6)
    for k, (row, taken) in enumerate(zip(np.asarray(rows), np.asarray(chosen), strict=True)):
        y, x = divmod(k, 7)
        edges = [np.floor(4 * (2 * place + edge)) for edge in (1, 12) for place in (x, y)]
        np.testing.assert_array_equal(row, [*edges, scores[y, x], *deltas[y, x]])
        assert taken == (scores[y, x] >= 0.6)


def test_normalized_windows_lose_their_light_and_flat_ones_stay_flat():
    windows = RNG.normal(size=(3, 6, 6, 2)).astype(np.float32)
    windows[2] = RNG.normal(size=(6, 6, 2)) / 128  # the noise of a flat window
    found = np.asarray(cascade.normalize_windows(jnp.asarray(windows)))
    for window, result in zip(windows, found, strict=True):
        centred = window - [[[window[..., k].mean() for k in range(2)]]]
        deviation = np.sqrt((centred**2).mean())
        np.testing.assert_allclose(result, centred * 0.375 / (deviation + 0.0625), atol=1e-6)
    assert found[2].std() < 0.1 < 0.3 < found[0].std() < 0.375
    lit = cascade.normalize_windows(jnp.asarray(windows[:2] * 20 + np.float32([3, -5])))
    darker = cascade.normalize_windows(jnp.asarray(windows[:2] * 10))
    np.testing.assert_allclose(lit, darker, atol=0.01)
