import numpy as np
import pytest

from tests.evaluation import pycoco
from vision_jax.config import UserError
from vision_jax.evaluation import coco, coco_matching
from vision_jax.evaluation.records import Objects, Record, records
from vision_jax.ops import rle
from vision_jax.structs import Batch, Detections, Targets

RNG = np.random.default_rng(0)


def scene(number, shake=0.0, crowd=False):
    """Four objects found as they are, or shaken by some pixels."""
    start = RNG.uniform(0, 60, (4, 2))
    boxes = np.concatenate([start, start + RNG.uniform(12, 40, (4, 2))], 1)
    labels = np.arange(4) % 2
    points = np.concatenate(
        [start[:, None] + RNG.uniform(0, 10, (4, 17, 2)), np.full((4, 17, 1), 2.0)], 2
    )
    masks = [rle.encode(box_mask(box)) for box in boxes]
    moved = boxes + shake
    truth = Objects(boxes, labels, masks=masks, keypoints=points, crowd=np.full(4, crowd))
    found = Objects(
        moved,
        labels,
        RNG.permutation(4) / 4 + 0.1,
        masks=[rle.encode(box_mask(box)) for box in moved],
        keypoints=points + np.array([shake, shake, 0]),
    )
    return Record(number, 100, 110, truth, found)


def box_mask(box, size=(100, 110)):
    mask = np.zeros(size, bool)
    x0, y0, x1, y1 = np.round(box).astype(int)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("kind", coco.IOU_TYPES)
def test_perfect_detections_score_one_and_shaken_ones_less(kind):
    images = [scene(0), scene(1)]
    assert coco.evaluate(images, 3, kind).stats[0] == pytest.approx(1.0)
    shake = 1.0 if kind == "keypoints" else 4.0
    shaken = coco.evaluate([scene(0, shake), scene(1, shake)], 3, kind).stats
    assert 0 < shaken[0] < 0.9


def crowded_scene(rng, number, points, coarse):
    """Some objects of four classes and what was found of them; `coarse` makes overlaps tie."""
    size, step = (200, 240), 10 if coarse else 1e-3
    n, d = rng.integers(1, 9), rng.integers(0, 30)
    start = rng.uniform(0, 100, (n, 2))
    boxes = np.concatenate([start, start + rng.uniform(5, 110, (n, 2))], 1)
    labels, owner = rng.integers(0, 4, n), rng.integers(0, n, d)
    moved = np.maximum(boxes[owner] + rng.normal(0, 8, (d, 4)), 0)
    boxes, moved = np.round(boxes / step) * step, np.round(moved / step) * step
    for some in (boxes, moved):
        some[:, 2:] = np.maximum(some[:, 2:], some[:, :2] + 1)
    keypoints = np.concatenate(
        [start[:, None] + rng.uniform(0, 60, (n, points, 2)), rng.integers(0, 3, (n, points, 1))], 2
    )
    keypoints[0, :, 2] = 0  # none of this one's points is annotated
    shaken = keypoints[owner] + rng.normal(0, 3, (d, points, 3))
    truth, found = (
        Objects(some, masks=[rle.encode(box_mask(box, size)) for box in some], labels=its_labels)
        for some, its_labels in (
            (boxes, labels),
            (moved, np.where(rng.random(d) < 0.8, labels[owner], rng.integers(0, 4, d))),
        )
    )
    truth.keypoints, found.keypoints = keypoints, shaken
    truth.crowd, found.scores = rng.random(n) < 0.15, rng.integers(0, 9 if coarse else 1e9, d) / 9
    truth.area = np.prod(boxes[:, 2:] - boxes[:, :2], 1) * rng.uniform(0.5, 1, n)
    return Record(number, *size, truth, found)


@pytest.mark.parametrize("kind", coco.IOU_TYPES)
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("points", [17, 5])
def test_all_numbers_are_those_of_pycocotools_to_the_last_digit(kind, coarse, points):
    if kind != "keypoints" and points == 5:
        return  # the same again
    rng = np.random.default_rng(points)
    images = [crowded_scene(rng, i, points, coarse) for i in range(40)]
    limits = [None, (4,)] if kind == "keypoints" else [None, (1, 3, 7)]
    for limit in limits:
        got = coco.evaluate(images, 5, kind, limit)  # no object is of the fifth class
        expected = pycoco.run(images, 5, kind, limit)
        for mine, theirs in zip((got.precision, got.recall, got.scores), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert 0.1 < got.stats[0] < 0.9


def test_boxes_are_compared_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    images = [crowded_scene(rng, i, 5, False) for i in range(10)]
    at_once = coco.evaluate(images, 4)
    monkeypatch.setattr(coco_matching, "_PAIRS", 3)
    for mine, theirs in zip(coco.evaluate(images, 4), at_once, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_metric_names_its_numbers_and_leaves_out_what_is_not_there():
    metric = coco.COCO(num_classes=3, iou_types=coco.IOU_TYPES)
    results = metric.result([scene(0), scene(1)])
    assert results["ap"] == results["mask_ap"] == results["keypoint_ap"] == pytest.approx(1.0)
    assert {"ap50", "ap75", "ar1", "ar10", "ar100", "mask_ap_medium", "keypoint_ar75"} <= set(
        results
    )
    assert "ap_large" not in results  # nothing is larger than 96 x 96
    np.testing.assert_allclose(results["per_class_ap"], [1, 1, np.nan])
    assert results["per_size_ap"].shape == (3, 4) and results["precision_at_recall"].shape == (
        3,
        101,
    )
    assert metric.result([]) == {}


def test_no_detections_and_no_objects():
    empty = Record(0, 50, 50, Objects(), Objects(scores=np.zeros(0)))
    missed = scene(1)
    missed.detections = Objects(scores=np.zeros(0))
    metric = coco.COCO(num_classes=2)
    assert metric.result([empty, missed])["ap"] == 0
    assert "ap" not in metric.result([empty])


def test_crowds_are_ignored():
    metric = coco.COCO(num_classes=2)
    assert "ap" not in metric.result([scene(0, crowd=True)])
    assert metric.result([scene(0, crowd=True), scene(1)])["ap"] == pytest.approx(1.0)


def test_an_unknown_iou_type_is_the_users_mistake():
    with pytest.raises(UserError, match="COCO iou_type 'boxes'"):
        coco.COCO(2, ("boxes",))


def test_batches_with_masks_and_keypoints_come_back_in_original_pixels():
    truth = np.zeros((1, 3, 40, 48), bool)
    truth[0, 0, 8:24, 4:28] = True
    boxes = np.array([[[4, 8, 28, 24], [0, 0, 0, 0], [0, 0, 0, 0]]], np.float32)
    points = np.full((1, 3, 17, 3), 2.0, np.float32)
    valid = np.array([[True, False, False]])
    labels = np.array([[1, -1, -1]], np.int32)
    batch = Batch(
        image=np.zeros((1, 40, 48, 3), np.uint8),
        valid=np.array([True]),
        index=np.zeros(1, np.int32),
        targets=Targets(boxes=boxes, labels=labels, valid=valid, masks=truth, keypoints=points),
        size=np.array([[20, 48]], np.float32),
        scale=np.array([[2, 1]], np.float32),
    )
    found = Detections(
        boxes, valid * np.float32(0.9), labels, valid, np.ones((1, 3, 14, 14), np.float32), points
    )
    # The evaluation step keeps the image's pixels on the devices.
    batch = batch.replace(image=batch.image[:, :0, :0])
    (row,) = records(batch, found)
    assert (row.height, row.width) == (40, 48)
    assert row.truth.boxes.tolist() == [[4, 4, 28, 12]]
    assert row.truth.keypoints[0, 0].tolist() == [2, 1, 2]
    pasted = rle.decode(row.detections.masks[0], row.height, row.width)
    overlap = (pasted & truth[0, 0]).sum() / (pasted | truth[0, 0]).sum()
    assert overlap > 0.85  # pasting covers whole pixels, ends included
    results = coco.COCO(2, coco.IOU_TYPES).result([row])
    assert results["ap"] == pytest.approx(1.0) and results["mask_ap50"] == pytest.approx(1.0)


class OneObject:
    """A source of one image of 20 x 48 with one object, whose right half is not of it."""

    classes = ("a", "b")

    def __getitem__(self, i):
        mask = np.zeros((20, 48), bool)
        mask[4:12, 4:16] = True
        return {
            "image": b"",
            "boxes": np.array([[4, 4, 28, 12]], np.float32),
            "labels": np.array([1]),
            "area": np.array([96.0]),
            "crowd": np.array([False]),
            "rle": [rle.encode(mask)],
        }


def test_annotations_from_the_source_are_compared_at_the_originals_resolution():
    boxes = np.array([[[4, 8, 28, 24]]], np.float32)
    valid, labels = np.array([[True]]), np.array([[1]], np.int32)
    masks = np.zeros((1, 1, 14, 14), np.float32)
    masks[..., :7] = 1
    batch = Batch(
        image=np.zeros((1, 0, 0, 3), np.uint8),
        valid=np.array([True]),
        index=np.zeros(1, np.int32),
        targets=Targets(boxes=boxes + 9, labels=labels, valid=valid),
        size=np.array([[20, 48]], np.float32),
        scale=np.array([[2, 1]], np.float32),
        id=np.zeros(1, np.int32),
    )
    found = Detections(boxes, valid * np.float32(0.9), labels, valid, masks)
    metric = coco.COCO(2, ("bbox", "segm"), source=OneObject())
    (row,) = state = metric.collect([], {"detections": found}, batch)
    assert (row.height, row.width) == (20, 48)
    pasted, truth = (rle.decode(x.masks[0], 20, 48) for x in (row.detections, row.truth))
    assert (pasted & truth).sum() / (pasted | truth).sum() > 0.8
    results = metric.result(state)
    assert results["ap"] == pytest.approx(1.0) and results["mask_ap75"] == pytest.approx(1.0)


def crowded(count=6):
    """One image with `count` objects of one class, each found, the later the less surely."""
    start = np.stack([np.arange(count) * 30.0, np.zeros(count)], 1)
    boxes = np.concatenate([start, start + 20], 1)
    labels, scores = np.zeros(count, int), 1 - np.arange(count) / 10
    return Record(0, 100, 300, Objects(boxes, labels), Objects(boxes, labels, scores))


def test_the_limits_of_detections_are_settings():
    """With n of six objects allowed recall is n / 6, at each limit and in what uses the last."""
    results = coco.COCO(num_classes=1, max_detections=(1, 2, 3)).result([crowded()])
    assert [results[f"ar{n}"] for n in (1, 2, 3)] == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    # Precision is 1 up to recall 0.5, at 51 of 101 recalls.
    assert [results[n] for n in ("ap", "ap50", "ap_small")] == pytest.approx([51 / 101] * 3)
    assert results["ar_small"] == pytest.approx(0.5)
    assert "ar100" not in results
    many = coco.COCO(num_classes=1, max_detections=(1, 10, 500)).result([crowded()])
    assert many["ap"] == pytest.approx(1) and many["ar500"] == pytest.approx(1)


def test_the_limit_of_poses_is_a_setting():
    record = scene(0)
    for limit, recall in ((20, 1.0), (1, 0.5)):  # two objects of each class
        metric = coco.COCO(3, ("keypoints",), max_keypoint_detections=limit)
        assert metric.result([record])["keypoint_ar"] == pytest.approx(recall)


@pytest.mark.parametrize("limits", [(10, 10, 100), (100, 10, 1), (0, 1, 2)])
def test_limits_that_do_not_rise(limits):
    with pytest.raises(UserError, match="max_detections="):
        coco.COCO(num_classes=1, max_detections=limits)


def test_the_names_are_those_of_the_results():
    metric = coco.COCO(num_classes=3, iou_types=coco.IOU_TYPES, max_detections=(1, 10, 300))
    reported = {k for k, v in metric.result([scene(0)]).items() if np.ndim(v) == 0}
    assert reported < {*metric.names()} and "ar300" in reported
    assert len(metric.names()) == len({*metric.names()}) == 12 + 12 + 10


@pytest.mark.parametrize(("kind", "what"), [("segm", "masks"), ("keypoints", "keypoints")])
def test_what_is_not_there_cannot_be_compared(kind, what):
    record = scene(3)
    setattr(record.truth, what, None)
    metric = coco.COCO(num_classes=2, iou_types=(kind,))
    with pytest.raises(UserError, match=f"{kind}'.*annotations of image 3 have no {what}"):
        metric.result([record])
