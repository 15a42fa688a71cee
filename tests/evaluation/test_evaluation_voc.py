import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation import errors, voc
from vision_jax.evaluation.records import Objects, Record, records
from vision_jax.structs import Batch, Detections, Targets


def image(truth, found, number=0, difficult=None, crowd=None):
    """From lists of (box, label) and (box, label, score)."""
    return Record(
        number,
        100,
        100,
        Objects(
            np.array([b for b, _ in truth], float).reshape(-1, 4),
            np.array([c for _, c in truth], int),
            difficult=None if difficult is None else np.array(difficult, bool),
            crowd=None if crowd is None else np.array(crowd, bool),
        ),
        Objects(
            np.array([b for b, _, _ in found], float).reshape(-1, 4),
            np.array([c for _, c, _ in found], int),
            np.array([s for _, _, s in found], float),
        ),
    )


A, B, FAR = [10, 10, 29, 29], [50, 50, 69, 69], [80, 80, 90, 90]


def test_hits_duplicates_and_difficult_objects():
    one = image(
        [(A, 0), (B, 0), (FAR, 1)],
        [(A, 0, 0.5), (A, 0, 0.9), (B, 0, 0.8), (FAR, 0, 0.7), (A, 1, 0.6)],
        difficult=[False, True, False],
    )
    ranking = voc.rank([one], 0)
    assert ranking.scores.tolist() == [0.9, 0.8, 0.7, 0.5]
    assert ranking.hit.tolist() == [True, False, False, False]
    assert ranking.miss.tolist() == [False, False, True, True]
    assert ranking.total == 1
    recall, precision = voc.precision_recall(ranking)
    assert recall.tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(precision, [1, 1, 1 / 2, 1 / 3])


def test_pixels_are_inclusive():
    a = np.array([[10.0, 10, 12, 12]])
    assert voc.pixel_iou(a, np.array([[10.0, 10, 12, 11]]))[0, 0] == 6 / 9
    assert voc.pixel_iou(a, np.array([[10.0, 10, 12, 11]]), inclusive=False)[0, 0] == 0.5
    assert voc.pixel_iou(a, np.array([[13.0, 10, 14, 12]]))[0, 0] == 0
    assert voc.pixel_iou(a, np.array([[12.0, 10, 14, 12]]))[0, 0] == 3 / 15


def test_the_threshold_must_be_exceeded():
    one = image([([1, 1, 10, 10], 0)], [([1, 1, 10, 5], 0, 0.9)])
    assert not voc.rank([one], 0, 0.5).hit.any()
    assert voc.rank([one], 0, 0.499).hit.all()


def test_equal_boxes_in_two_images_are_two_objects():
    two = [image([(A, 0)], [(A, 0, 0.9)], i) for i in range(2)]
    assert voc.rank(two, 0).hit.tolist() == [True, True]


def test_average_precision_by_hand():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    assert voc.average_precision(recall, precision, False) == 0.5 + 0.5 * 2 / 3
    wanted = (6 * 1.0 + 5 * 2 / 3) / 11
    np.testing.assert_allclose(voc.average_precision(recall, precision, True), wanted)
    assert voc.average_precision(np.zeros(0), np.zeros(0), True) == 0
    assert voc.average_precision(np.zeros(0), np.zeros(0), False) == 0


def padded(rows, width):
    out = np.zeros((len(rows), width, *np.shape(rows[0])[1:]), np.asarray(rows[0]).dtype)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def test_metric_undoes_scale_padding_and_invalid_rows():
    boxes = np.array([[[20, 40, 58, 116], [0, 0, 0, 0]]] * 2, np.float32)
    batch = Batch(
        image=np.zeros((2, 128, 64, 3), np.uint8),
        valid=np.array([True, False]),
        index=np.arange(2, dtype=np.int32),
        targets=Targets(
            boxes=boxes,
            labels=np.array([[1, -1]] * 2, np.int32),
            valid=np.array([[True, False]] * 2),
        ),
        size=np.array([[32, 32]] * 2, np.float32),
        scale=np.array([[4, 2]] * 2, np.float32),
        id=np.array([7, 8], np.int32),
    )
    found = Detections(
        boxes=boxes,
        scores=np.array([[0.9, 0.0]] * 2, np.float32),
        labels=np.array([[1, -1]] * 2, np.int32),
        valid=np.array([[True, False]] * 2),
    )
    rows = records(batch, found)
    assert len(rows) == 1 and rows[0].id == 7 and (rows[0].height, rows[0].width) == (32, 32)
    assert rows[0].truth.boxes.tolist() == [[10, 10, 29, 29]]
    metric = voc.VOC(num_classes=3)
    results = metric.result(metric.collect(metric.empty(), {"detections": found}, batch))
    assert results["ap50"] == 1.0
    np.testing.assert_array_equal(results["per_class_ap"], [np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(results["precision_at_recall"][1], np.ones(101))
    assert metric.result([]) == {}


def test_a_class_without_objects_does_not_count_but_one_without_detections_does():
    metric = voc.VOC(num_classes=3)
    state = [image([(A, 0), (B, 1)], [(A, 0, 0.9), (A, 2, 0.8)])]
    results = metric.result(state)
    np.testing.assert_array_equal(results["per_class_ap"], [1.0, 0.0, np.nan])
    assert results["ap50"] == 0.5


def test_batches_without_boxes_are_refused():
    batch = Batch(np.zeros((1, 4, 4, 3), np.uint8), np.ones(1, bool), np.zeros(1, np.int32))
    with pytest.raises(ValueError, match=r"need targets\.boxes"):
        records(batch, Detections(None, None, None, None))


# --------------------------------------------------------------------------------------- errors


def test_each_error_is_recognised():
    near = [10, 10, 29, 19]  # half of A, or less
    one = image(
        [(A, 0), (B, 1), (FAR, 0), ([0, 60, 20, 80], 1)],
        [
            (A, 0, 0.9),
            (A, 0, 0.8),  # duplicate
            (B, 0, 0.7),  # confusion
            ([80, 80, 90, 84], 0, 0.6),  # localization of FAR
            ([40, 5, 60, 20], 1, 0.5),  # background
            (near, 1, 0.4),  # both: A, badly, with a wrong class
        ],
    )
    judgement = errors.judge(one)
    wanted = ["hit", "duplicate", "confusion", "localization", "background", "both"]
    assert judgement.kinds.tolist() == wanted
    assert judgement.target.tolist() == [0, -1, 1, 2, -1, -1]
    assert judgement.missed.tolist() == [False, False, False, True]
    results = errors.Errors(num_classes=2).result([one])
    assert results["errors"].tolist() == [[1, 1, 0, 1, 0, 0], [0, 0, 1, 0, 1, 1]]
    assert results["errors/missed"] == 1 and results["errors/duplicate"] == 1
    assert results["errors/confusion_cost"] > 0 and results["errors/missed_cost"] >= 0


def test_repair_of_everything_but_one_error_gives_its_cost():
    # Only a bad localization stands between this and a perfect score.
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9), ([50, 50, 69, 57], 0, 0.8)])
    results = errors.Errors(num_classes=1).result([one])
    assert results["errors/localization_cost"] == pytest.approx(0.5)
    for kind in ("confusion", "duplicate", "background", "both"):
        assert results[f"errors/{kind}_cost"] == 0
    # A wrong class instead: repaired, it counts for the object's class.
    one = image([(A, 0), (B, 1)], [(A, 0, 0.9), (B, 0, 0.8)])
    results = errors.Errors(num_classes=2).result([one])
    assert results["errors/confusion_cost"] == pytest.approx(0.5)
    # And a missed object.
    one = image([(A, 0), (B, 0)], [(A, 0, 0.9)])
    assert errors.Errors(num_classes=1).result([one])["errors/missed_cost"] == pytest.approx(0.5)


def test_crowds_and_difficult_objects_are_neither_errors_nor_missed():
    one = image(
        [(A, 0), (B, 0), (FAR, 0)], [(A, 0, 0.9), (B, 0, 0.8)], difficult=[1, 0, 0], crowd=[0, 1, 1]
    )
    judgement = errors.judge(one)
    assert judgement.kinds.tolist() == ["ignored", "ignored"]
    assert not judgement.missed.any()
    empty = errors.judge(image([], []))
    assert empty.kinds.shape == (0,) and empty.missed.shape == (0,)


def test_groups_of_classes_have_means_of_their_own():
    metric = voc.VOC(3, groups=(("first", (0,)), ("others", (1, 2))))
    assert metric.names() == ("ap50", "ap50_first", "ap50_others")
    result = metric.result([image([(A, 0), (B, 1)], [(A, 0, 0.9)])])
    assert (result["ap50_first"], result["ap50_others"]) == (1, 0)
    with pytest.raises(UserError, match=r"groups: new=\(3,\): give some of the classes 0 to 2"):
        voc.VOC(3, groups=(("new", (3,)),))
