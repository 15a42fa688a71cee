import jax
import numpy as np
import pytest

from vision_jax.evaluation.segmentation import Segmentation, scores
from vision_jax.structs import Batch, Targets

RNG = np.random.default_rng(0)


def batch_of(truth, valid):
    count = len(truth)
    return Batch(
        image=np.zeros((count, 4, 4, 3), np.uint8),
        valid=np.array(valid),
        index=np.arange(count, dtype=np.int32),
        targets=Targets(segmentation=truth),
    )


def test_confusion_equals_a_loop_and_leaves_out_void_and_padding():
    truth = RNG.choice([0, 1, 2, 3, 255], (3, 5, 6)).astype(np.int32)
    logits = RNG.normal(size=(3, 5, 6, 4)).astype(np.float32)
    metric = Segmentation(num_classes=4)
    batch = jax.tree.map(jax.numpy.asarray, batch_of(truth, [True, False, True]))
    got = jax.jit(metric.update)({"logits": jax.numpy.asarray(logits)}, batch)
    wanted = metric.empty()
    for i in (0, 2):
        for y in range(5):
            for x in range(6):
                if truth[i, y, x] < 4:
                    wanted[truth[i, y, x], logits[i, y, x].argmax()] += 1
    np.testing.assert_array_equal(got, wanted)
    assert metric.result(wanted)["miou"] == scores(wanted)["miou"]


def test_scores_by_hand():
    # Class 2 is neither there nor predicted; class 3 is there and never found.
    matrix = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 4, 0, 0]])
    got = scores(matrix)
    np.testing.assert_allclose(got["per_class_iou"], [6 / 9, 3 / 10, np.nan, 0])
    np.testing.assert_allclose(got["per_class_accuracy"], [6 / 8, 3 / 4, np.nan, 0])
    assert got["miou"] == pytest.approx((6 / 9 + 3 / 10) / 3)
    assert got["pixel_accuracy"] == pytest.approx(9 / 16)
    assert got["mean_accuracy"] == pytest.approx(0.5)
    assert got["frequency_weighted_iou"] == pytest.approx((8 * 6 / 9 + 4 * 3 / 10) / 16)
    assert "miou" not in scores(np.zeros((4, 4), int))


def test_wrong_shapes_are_refused():
    metric = Segmentation(num_classes=4)
    truth = np.zeros((1, 5, 6), np.int32)
    logits = jax.numpy.zeros((1, 5, 5, 4))
    with pytest.raises(ValueError, match="got logits"):
        metric.update({"logits": logits}, batch_of(truth, [True]))
    with pytest.raises(ValueError, match=r"needs targets\.segmentation"):
        metric.update({"logits": logits}, batch_of(truth, [True]).replace(targets=Targets()))
