"""Localization metrics against loops."""

import jax
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation import BoxIoU, Joints, LocalizationError
from vision_jax.structs import Batch, Targets

B, M, CLASSES = 24, 3, 6


def made(seed=0, slots=2):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (B, M, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 20, (B, M, 2))], -1)
    valid = np.arange(M) < rng.integers(0, M + 1, B)[:, None]
    labels = np.where(valid, rng.integers(0, CLASSES, (B, M)), -1)
    keypoints = rng.uniform(0, 40, (B, M, 4, 3))
    keypoints[..., 2] = rng.integers(0, 3, (B, M, 4))
    guesses = np.argsort(rng.random((B, CLASSES)), 1)[:, :5]
    noisy = boxes[:, None, :slots] + rng.normal(0, 3, (B, 5, slots, 4))
    points = keypoints[:, 0, :, :2] + rng.normal(0, 3, (B, 4, 2))
    label = np.where(valid[:, 0], labels[:, 0], rng.integers(0, CLASSES, B))
    batch = Batch(
        image=np.zeros((B, 40, 40, 3), np.uint8),
        valid=np.arange(B) < B - 3,
        index=np.arange(B, dtype=np.int32),
        targets=Targets(
            label=label.astype(np.int32),
            boxes=np.where(valid[..., None], boxes, 0).astype(np.float32),
            labels=labels.astype(np.int32),
            valid=valid,
            keypoints=keypoints.astype(np.float32),
        ),
    )
    outputs = {
        "boxes": noisy[:, 0].astype(np.float32),
        "guess_labels": guesses.astype(np.int32),
        "guess_boxes": noisy.astype(np.float32),
        "points": points.astype(np.float32),
    }
    return outputs, batch


def measured(metric, outputs, batch):
    """In two batches, jitted, added on the host as the evaluator does."""
    state = metric.empty()
    for rows in (slice(0, 10), slice(10, B)):
        part = jax.tree.map(lambda x, rows=rows: x[rows], (outputs, batch))
        increments = jax.jit(metric.update)(*part)
        state = jax.tree.map(lambda a, b: a + np.asarray(b, np.asarray(a).dtype), state, increments)
    return metric.result(state)


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("order", ["given", "left"])
def test_overlap_is_the_loops(order):
    outputs, batch = made()
    found = []
    for b in np.flatnonzero(batch.valid):
        objects = [batch.targets.boxes[b, m] for m in range(M) if batch.targets.valid[b, m]]
        if order == "left":
            objects = sorted(objects, key=lambda box: box[0])
        pairs = list(zip(outputs["boxes"][b], objects, strict=False))
        found += [iou(box, truth) for box, truth in pairs]
    results = measured(BoxIoU(0.6, order), outputs, batch)
    assert results.keys() == {"iou", "iou0.6"}
    np.testing.assert_allclose(results["iou"], np.mean(found), rtol=1e-5)
    np.testing.assert_allclose(results["iou0.6"], np.mean(np.array(found) >= 0.6), rtol=1e-6)
    assert 0 < results["iou0.6"] < 0.95


@pytest.mark.parametrize("guesses", [5, 3])
def test_ilsvrcs_errors_are_the_loops(guesses):
    outputs, batch = made(seed=1)
    # The first guess is right in some images, so that the errors of one guess are not all 1.
    outputs["guess_labels"][::2, 0] = batch.targets.label[::2]
    wrong = {"localization": [[], []], "classification": [[], []]}
    for b in np.flatnonzero(batch.valid):
        label, targets = batch.targets.label[b], batch.targets
        for place, count in enumerate((guesses, 1)):
            best_class, best_box = 1, 1
            for g in range(count):
                class_error = int(outputs["guess_labels"][b, g] != label)
                best_class = min(best_class, class_error)
                for m in range(M):
                    if targets.valid[b, m] and targets.labels[b, m] == label:
                        overlap = iou(outputs["guess_boxes"][b, g, 0], targets.boxes[b, m])
                        best_box = min(best_box, max(class_error, int(overlap < 0.5)))
            wrong["classification"][place].append(best_class)
            wrong["localization"][place].append(best_box)
    results = measured(LocalizationError(guesses=guesses), outputs, batch)
    for kind, (several, one) in wrong.items():
        assert results[f"{kind}_error"] == np.mean(several)
        assert results[f"{kind}_error1"] == np.mean(one)
    assert results["localization_error"] > results["classification_error"]


def test_joints_are_the_loops():
    outputs, batch = made(seed=2)
    distances, near = [], []
    for b in np.flatnonzero(batch.valid & batch.targets.valid[:, 0]):
        x0, y0, x1, y1 = batch.targets.boxes[b, 0]
        for point, (x, y, visible) in zip(
            outputs["points"][b], batch.targets.keypoints[b, 0], strict=True
        ):
            if visible:
                distances.append(np.hypot(point[0] - x, point[1] - y))
                near.append(distances[-1] <= 0.2 * max(x1 - x0, y1 - y0))
    results = measured(Joints(0.2), outputs, batch)
    np.testing.assert_allclose(results["joint_distance"], np.mean(distances), rtol=1e-5)
    np.testing.assert_allclose(results["pck"], np.mean(near), rtol=1e-6)
    assert 0.05 < results["pck"] < 0.95


def test_nothing_to_measure_is_no_number():
    outputs, batch = made()
    batch = batch.replace(valid=np.zeros(B, bool))
    for metric in (BoxIoU(), LocalizationError(), Joints()):
        assert measured(metric, outputs, batch) == {}


def test_an_unknown_order_is_one_line():
    with pytest.raises(UserError, match="use given or left"):
        BoxIoU(order="right")
