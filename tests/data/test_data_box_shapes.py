"""Priors and anchors from boxes: k-means against a slow loop, and planted shapes found again."""

import numpy as np
import pytest

from vision_jax.data import box_shapes


def slow_iou(a, b):
    """The IoU of two boxes with one corner."""
    both = min(a[0], b[0]) * min(a[1], b[1])
    return both / (a[0] * a[1] + b[0] * b[1] - both)


def slow_kmeans(sides, starts):
    """Lloyd's algorithm box by box: the best start's centres, by area."""
    best, kept = -1.0, []
    for start in starts:
        centres = [tuple(c) for c in start]
        for _ in range(300):
            members = [[] for _ in centres]
            for box in sides:
                ious = [slow_iou(box, c) for c in centres]
                members[ious.index(max(ious))].append(box)
            moved = [
                tuple(sum(b[k] for b in m) / len(m) for k in (0, 1)) if m else c
                for m, c in zip(members, centres, strict=True)
            ]
            if np.allclose(moved, centres, rtol=1e-12):
                break
            centres = moved
        fit = sum(max(slow_iou(b, c) for c in centres) for b in sides) / len(sides)
        if fit > best:
            best, kept = fit, sorted(centres, key=lambda c: c[0] * c[1])
    return best, kept


def boxes(count, seed=0):
    return np.random.default_rng(seed).lognormal(3.5, 0.7, (count, 2))


def starts(sides, count):
    """The same beginnings: quantiles of the areas, then draws."""
    different = np.unique(sides, axis=0)
    ordered = sorted(different.tolist(), key=lambda box: box[0] * box[1])
    yield [ordered[int((k + 0.5) * len(ordered) / count)] for k in range(count)]
    draws = np.random.default_rng(0)
    for _ in range(7):
        yield different[np.argsort(draws.random(len(different)))[:count]].tolist()


@pytest.mark.parametrize(("number", "count"), [(40, 3), (60, 9), (25, 1)])
def test_kmeans_is_the_slow_loop(number, count):
    sides = boxes(number, seed=number)
    fit, centres = slow_kmeans(sides.tolist(), starts(sides, count))
    found = box_shapes.kmeans(sides, count)
    np.testing.assert_allclose(found, centres, rtol=1e-9)
    np.testing.assert_allclose(box_shapes.mean_best_iou(sides, found), fit, rtol=1e-12)


def test_planted_shapes_are_found_in_any_order_of_the_boxes():
    rng = np.random.default_rng(0)
    planted = np.array([[10, 12], [40, 30], [50, 190], [120, 200.0]])
    sides = np.concatenate([p * np.exp(rng.normal(0, 0.04, (50, 2))) for p in planted])
    found = box_shapes.kmeans(sides, 4)
    np.testing.assert_allclose(found, planted, rtol=0.03)
    np.testing.assert_allclose(box_shapes.kmeans(sides[rng.permutation(200)], 4), found)
    np.testing.assert_array_equal(box_shapes.kmeans(sides, 4), found)


def test_too_few_shapes_are_filled_up():
    found = box_shapes.kmeans(np.array([[10.0, 20.0]] * 5), 4)
    np.testing.assert_allclose(found.prod(1), [100, 200, 400, 800])
    np.testing.assert_allclose(found[:, 1] / found[:, 0], 2)
    two = box_shapes.kmeans(np.array([[30.0, 30.0], [10.0, 20.0], [10.0, 20.0]]), 2)
    np.testing.assert_allclose(two, [[10, 20], [30, 30]])


def test_many_boxes_are_sampled():
    sides = np.tile([[10.0, 10.0], [10.5, 10.5], [80.0, 40.0], [84.0, 42.0]], (30_000, 1))
    np.testing.assert_allclose(box_shapes.kmeans(sides, 2), [[10.25, 10.25], [82, 41]], rtol=0.01)


def test_boxes_as_the_network_sees_them():
    found = np.array([[10, 20, 110, 70], [0, 0, 50, 400]], np.float32)
    sizes = np.array([[200, 400], [400, 100]])  # height, width
    np.testing.assert_allclose(
        box_shapes.letterboxed(found, sizes, 100, 200), [[50, 25], [12.5, 100]]
    )
    np.testing.assert_allclose(box_shapes.stretched(found, sizes, 100), [[25, 25], [50, 100]])


def test_anchor_sizes_fit_squares_and_cells():
    sides = np.array([[8, 8], [16, 16], [40, 10], [100, 25], [10, 1000.0]] * 3)
    assert box_shapes.anchor_sizes(sides, (4, 8, 16, 32, 64)) == (8, 16, 20, 50, 100)
    assert box_shapes.anchor_sizes(np.array([[5.0, 5.0]] * 3), (4, 8, 16)) == (4, 8, 16)


def test_anchor_ratios_are_height_over_width():
    areas = np.array([100.0, 900.0, 4000.0])
    sides = [[np.sqrt(a / r), np.sqrt(a * r)] for r in (0.4, 1.0, 2.5) for a in areas]
    assert box_shapes.anchor_ratios(np.array(sides)) == (0.4, 1.0, 2.5)
    assert box_shapes.anchor_ratios(np.array([[10.0, 20.0]])) == (1.0, 2.0, 4.0)
    slivers = np.array([[1.0, 1000.0], [10.0, 10.0], [1000.0, 1.0]])
    assert box_shapes.anchor_ratios(slivers) == (0.1, 1.0, 10.0)


def test_default_boxes():
    side = 300
    shares = np.array([0.1, 0.2, 0.4])
    sides = np.repeat(shares[:, None] * side, 2, 1) * [[2**0.5, 0.5**0.5]]
    assert box_shapes.default_box_scales(sides, side, 3) == (0.1, 0.2, 0.4, 0.8)
    assert box_shapes.default_box_ratios(sides, 1) == (2.0,)
    alike = box_shapes.default_box_scales(np.full((5, 2), 30.0), side, 6)
    assert (np.diff(alike) > 0).all() and len(alike) == 7
    tall_and_wide = np.array([[10, 20], [20, 10], [10, 40], [40, 10], [9, 9.0]])
    assert box_shapes.default_box_ratios(tall_and_wide) == (2.0, 4.0)
    assert box_shapes.default_box_ratios(np.array([[9.0, 9.0]])) == (2.0, 3.0)
