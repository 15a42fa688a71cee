"""Edge boxes: groups along contours, scores beside a slow search for paths, what is found."""

import numpy as np
import pytest

from vision_jax.proposals import EdgeBoxes
from vision_jax.proposals.edge_groups import edge_groups, gradient_edges
from vision_jax.proposals.windows import iou


def scene():
    image = np.full((72, 80, 3), 60, np.uint8)
    image[10:40, 12:44] = (220, 50, 50)
    image[44:66, 50:72] = (40, 90, 230)
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def noisy():
    random = np.random.default_rng(3)
    image = np.kron(random.integers(0, 256, (8, 9, 3)), np.ones((6, 6, 1))).astype(np.uint8)
    return gradient_edges(image)


def slow_score(scorer, box, magnitude):
    """Relaxes the weights of all groups until nothing changes."""
    groups, (x0, y0, x1, y1) = scorer.groups, box.tolist()
    half, low = (box[2:] - box[:2]) // 2, None
    low = box[:2] + half // 2
    inside = [x0 <= x <= x1 and y0 <= y <= y1 for x, y in groups.place.tolist()]
    border = np.zeros(groups.label.shape, bool)
    border[y0, x0 : x1 + 1] = border[y1, x0 : x1 + 1] = True
    border[y0 : y1 + 1, x0] = border[y0 : y1 + 1, x1] = True
    weight = [0.0] * len(inside)
    for group in np.unique(groups.label[border & (groups.label > 0)]):
        weight[group] = 1.0
    before = None
    while weight != before:
        before = list(weight)
        for a, b, affinity in zip(groups.first, groups.second, groups.affinity, strict=True):
            if inside[b] and weight[a] * affinity >= 0.05:
                weight[b] = max(weight[b], weight[a] * affinity)
    total = sum((1 - w) * m for w, m, i in zip(weight, groups.magnitude, inside, strict=True) if i)
    edges = np.where(magnitude > np.float32(0.1), magnitude, 0)
    middle = edges[low[1] : low[1] + half[1] + 1, low[0] : low[0] + half[0] + 1].sum()
    return (total - middle) / half.sum() ** 1.5


def test_scores_beside_a_slow_search(noisy):
    method = EdgeBoxes(min_score=1e-9)
    scorer = method.scorer(*noisy)
    corners = np.random.default_rng(0).integers(0, [53, 47], (60, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2]).min(1) > 6]
    expected = [slow_score(scorer, box, noisy[0]) for box in boxes]
    assert np.count_nonzero(np.array(expected) > 1e-9) > 5
    expected = np.where(np.array(expected) >= 1e-9, expected, 0)
    np.testing.assert_allclose(scorer(boxes), expected, atol=1e-6)


def test_groups_are_smooth_and_no_pixel_is_lost(noisy):
    magnitude, orientation = noisy
    groups = edge_groups(magnitude, orientation)
    inner = np.zeros(magnitude.shape, bool)
    inner[1:-1, 1:-1] = magnitude[1:-1, 1:-1] > 0.1
    assert ((groups.label > 0) <= inner).all()
    assert (groups.label > 0).sum() > 0.9 * inner.sum()
    count = len(groups.magnitude)
    np.testing.assert_array_equal(np.unique(groups.label[groups.label > 0]), np.arange(1, count))
    sums = np.bincount(groups.label.clip(0).ravel(), magnitude.ravel() * (groups.label > 0).ravel())
    np.testing.assert_allclose(groups.magnitude, sums, rtol=1e-6)
    assert (groups.magnitude[1:] > 0.5).all()
    forth = set(zip(groups.first, groups.second, groups.affinity, strict=True))
    assert forth == {(b, a, w) for a, b, w in forth}
    assert ((groups.affinity >= 0) & (groups.affinity <= 1)).all()


def test_a_straight_line_is_one_group_and_goes_on_in_its_continuation():
    magnitude, orientation = np.zeros((20, 40), np.float32), np.zeros((20, 40), np.float32)
    magnitude[10, 3:18] = magnitude[10, 20:37] = 1.0
    groups = edge_groups(magnitude, orientation)
    assert len(groups.magnitude) == 3
    np.testing.assert_allclose(groups.affinity, 1, atol=1e-6)
    orientation[10, 20:37] = np.pi / 2  # as if these were pieces of upright lines
    np.testing.assert_allclose(edge_groups(magnitude, orientation).affinity, 0, atol=1e-6)


def test_both_things_are_found_early_and_scores_fall():
    truth = np.array([[12.0, 10, 44, 40], [50, 44, 72, 66]])
    method = EdgeBoxes(min_area=100.0)
    boxes = method(scene())
    assert iou(boxes[:50], truth).max(0).min() > 0.7
    _, scores = method.from_edges(*gradient_edges(scene()))
    assert (np.diff(scores) <= 0).all() and scores[-1] >= 0.01
    assert len(EdgeBoxes(min_area=100.0, count=5)(scene())) == 5


def test_a_plain_image_has_no_edges_and_no_boxes():
    image = np.full((50, 60, 3), 77, np.uint8)
    magnitude, orientation = gradient_edges(image)
    assert not magnitude.any() and np.isfinite(orientation).all()
    assert EdgeBoxes()(image).shape == (0, 4)
