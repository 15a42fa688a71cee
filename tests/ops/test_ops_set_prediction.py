"""Set prediction: costs against loops, the matching against SciPy's, losses of padded images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vision_jax.ops import boxes as box_ops
from vision_jax.ops import set_prediction
from vision_jax.ops.positions import sine_positions

QUERIES, CLASSES, OBJECTS = 7, 4, 5


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(QUERIES, CLASSES + 1)).astype(np.float32)
    boxes, gt_boxes = (rng.uniform(0.2, 0.6, (n, 4)).astype(np.float32) for n in (QUERIES, OBJECTS))
    labels = np.array([2, 0, 3, -1, -1])
    return tuple(jnp.asarray(x) for x in (logits, boxes, gt_boxes, labels))


def test_costs_against_a_loop(scene):
    logits, boxes, gt_boxes, labels = scene
    got = set_prediction.matching_cost(*scene, 1.0, 5.0, 2.0)
    corners, gt_corners = (box_ops.convert(b, "cxcywh", "xyxy") for b in (boxes, gt_boxes))
    for q in range(QUERIES):
        for g in range(3):
            p = jax.nn.softmax(logits[q])[labels[g]]
            far = jnp.abs(boxes[q] - gt_boxes[g]).sum()
            expected = 5 * far - p - 2 * box_ops.giou(corners[q], gt_corners[g])
            np.testing.assert_allclose(got[q, g], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (5, 5), (4, 6)])
def test_matchings_are_scipys(shape):
    queries, count = shape
    match = jax.jit(set_prediction.match_set)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        valid = rng.random(count) < (0.6 if seed else 2)
        cost = rng.uniform(-3, 25, shape).astype(np.float32)
        got = np.asarray(match(cost, valid))
        real = np.flatnonzero(valid)
        rows, columns = linear_sum_assignment(cost[:, real])
        expected = np.full(queries, -1)
        expected[rows] = real[columns]
        np.testing.assert_array_equal(got, expected)


def test_matchings_of_nothing():
    empty = set_prediction.match_set(jnp.zeros((3, 0)), jnp.zeros(0, bool))
    assert empty.tolist() == [-1] * 3
    padded = set_prediction.match_set(jnp.ones((3, 2)), jnp.zeros(2, bool))
    assert padded.tolist() == [-1] * 3
    assert set_prediction.match_set(jnp.ones((0, 2)), jnp.ones(2, bool)).shape == (0,)


def test_no_gradient_passes_through_the_matching(scene):
    def loss(boxes):
        cost = set_prediction.matching_cost(scene[0], boxes, *scene[2:])
        matched = set_prediction.match_set(cost, scene[3] >= 0)
        return set_prediction.set_losses(scene[0], boxes, *scene[2:], matched).boxes.sum()

    grad = np.asarray(jax.jit(jax.grad(loss))(scene[1]))
    assert {*np.abs(grad).ravel()} == {0, 1} and np.abs(grad).any(1).sum() == 3


def test_losses_of_matched_and_other_queries(scene):
    logits, boxes, gt_boxes, labels = scene
    matched = jnp.asarray([-1, 2, -1, 0, -1, -1, 1])
    got = set_prediction.set_losses(logits, boxes, gt_boxes, labels, matched, 0.25)
    log = jax.nn.log_softmax(logits)
    for q, g in enumerate(matched.tolist()):
        weight, label = (1, labels[g]) if g >= 0 else (0.25, CLASSES)
        assert got.class_weights[q] == weight
        np.testing.assert_allclose(got.classes[q], -weight * log[q, label], rtol=1e-5)
        far = jnp.abs(boxes[q] - gt_boxes[g]).sum() if g >= 0 else 0
        np.testing.assert_allclose(got.boxes[q], far, rtol=1e-5)
        assert (got.giou[q] > 0) == (g >= 0)
    alone = set_prediction.set_losses(
        logits, boxes, gt_boxes[:0], labels[:0], jnp.full(QUERIES, -1), 0.25
    )
    assert not alone.boxes.any() and not alone.giou.any() and alone.classes.all()
    perfect = set_prediction.set_losses(logits, gt_boxes[matched], gt_boxes, labels, matched)
    assert not perfect.boxes.any() and float(jnp.abs(perfect.giou).max()) < 1e-6


def test_a_box_that_is_no_number_leaves_other_queries_alone(scene):
    logits, boxes, gt_boxes, labels = scene
    matched = jnp.asarray([-1, 2, -1, 0, -1, -1, 1])

    def loss(boxes):
        got = set_prediction.set_losses(logits, boxes, gt_boxes, labels, matched)
        return (got.boxes + got.giou).sum()

    value, grad = jax.value_and_grad(loss)(boxes.at[0].set(jnp.nan))
    assert jnp.isfinite(value) and jnp.isfinite(grad).all() and not grad[0].any()


def test_cardinality_counts_queries_that_are_something():
    logits = jnp.asarray([[1.0, 0, 0], [0, 0, 1], [0, 2, 1], [0, 0, 5]])
    for objects, expected in ((0, 2), (2, 0), (3, 1)):
        assert set_prediction.cardinality_error(logits, jnp.arange(5) < objects) == expected


def test_detections(scene):
    logits, boxes, _, _ = scene
    got = set_prediction.decode_set(logits, boxes, jnp.asarray([100.0, 200.0]))
    assert got.labels.max() < CLASSES and got.boxes.shape == (QUERIES, 4)
    np.testing.assert_allclose(got.boxes[:, 2] - got.boxes[:, 0], 200 * boxes[:, 2], rtol=1e-5)
    np.testing.assert_allclose(got.boxes[:, 3] - got.boxes[:, 1], 100 * boxes[:, 3], rtol=1e-5)
    probability = jax.nn.softmax(logits)
    np.testing.assert_allclose(got.scores, probability[:, :-1].max(1), rtol=1e-6)


def test_dice_of_masks():
    t = jnp.zeros((2, 4, 4)).at[:, :2].set(1.0)
    same = set_prediction.mask_dice_loss(jnp.where(t > 0, 50.0, -50.0), t)
    np.testing.assert_allclose(same, 0, atol=1e-6)
    none = set_prediction.mask_dice_loss(jnp.full((2, 4, 4), -50.0), t)
    np.testing.assert_allclose(none, 1 - 1 / 9, rtol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_positions_against_a_loop(normalize):
    valid = jnp.ones((1, 3, 4), bool).at[:, :, 3].set(False)
    got = np.asarray(sine_positions(valid, 6, normalize))
    assert got.shape == (1, 3, 4, 12)
    for row in range(3):
        for column in range(3):
            for half, (place, last) in enumerate(((row + 1, 3), (column + 1, 3))):
                x = place / last * 2 * np.pi if normalize else place
                waves = [x / 10_000 ** (2 * (i // 2) / 6) for i in range(6)]
                expected = [(np.cos if i % 2 else np.sin)(w) for i, w in enumerate(waves)]
                own = got[0, row, column, 6 * half : 6 * half + 6]
                np.testing.assert_allclose(own, expected, atol=1e-5)
    np.testing.assert_array_equal(got[:, :, 3, 6:], got[:, :, 2, 6:])  # the count has stopped
    with pytest.raises(ValueError, match="5 features are no pairs"):
        sine_positions(valid, 5)
