"""Each rule alone changes the number; the two ends are VOC's metric and pycocotools."""

import numpy as np
import pytest

from vision_jax.evaluation import explain_text
from vision_jax.evaluation.coco import evaluate
from vision_jax.evaluation.explain import COCO_AP, SWITCHES, VOC07, VOC12, explain, score
from vision_jax.evaluation.records import Objects, Record
from vision_jax.evaluation.voc import VOC


def image(truth, found, difficult=None, crowd=None):
    """From lists of boxes and (box, score), all of class 0."""
    return Record(
        0,
        200,
        200,
        Objects(
            np.array(truth, float).reshape(-1, 4),
            np.zeros(len(truth), int),
            difficult=None if difficult is None else np.array(difficult, bool),
            crowd=None if crowd is None else np.array(crowd, bool),
        ),
        Objects(
            np.array([b for b, _ in found], float).reshape(-1, 4),
            np.zeros(len(found), int),
            np.array([s for _, s in found], float),
        ),
    )


A, B, C = [0, 0, 100, 100], [0, 0, 100, 80], [120, 120, 180, 180]
FALSE = [([100, 0, 110, 10], 0.9 - i / 1000) for i in range(100)]
# The case, VOC07's number, and each switch that changes it alone, with the number then.
CASES = {
    "nothing": (image([A], [(A, 0.9)]), 1, {}),
    "recalls": (
        image([A, C], [(A, 0.9)]),
        6 / 11,
        {"area": 1 / 2, "101 points": 51 / 101},
    ),
    # 11 x 5.9 of 11 x 11 pixels, or 10 x 4.9 of 10 x 10.
    "pixels": (
        image([[0, 0, 10, 10]], [([0, 0, 10, 4.9], 0.9)]),
        1,
        {"pixels": 0, "thresholds": 1 / 10},
    ),
    # 10 x 5 of 10 x 10 inclusive pixels.
    "equal": (image([[0, 0, 9, 9]], [([0, 0, 9, 4], 0.9)]), 0, {"IoU >=": 1}),
    "matching": (
        image([A, B], [(A, 0.9), ([0, 0, 100, 95], 0.8)]),
        6 / 11,
        {"area": 1 / 2, "101 points": 51 / 101, "matching": 1},
    ),
    "difficult": (
        image([A, C], [(A, 0.9)], difficult=[False, True]),
        1,
        {"difficult": 6 / 11},
    ),
    "crowd": (
        image([A, C], [([130, 130, 140, 140], 0.95), (A, 0.9)], crowd=[False, True]),
        6 / 11 / 2,
        {"area": 1 / 4, "101 points": 51 / 101 / 2, "crowd": 1},
    ),
    "most": (image([A], [*FALSE, (A, 0.1)]), 1 / 101, {"most 100": 0}),
    # IoU 0.72 by inclusive pixels: a hit at 0.5, 0.55, 0.6, 0.65 and 0.7.
    "thresholds": (image([[0, 0, 99, 99]], [([0, 0, 99, 71], 0.9)]), 1, {"thresholds": 1 / 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule_alone(name):
    record, voc07, changed = CASES[name]
    steps = explain([record], 1)
    assert steps[0].before.mean == pytest.approx(voc07, abs=1e-12)
    got = {step.switch.title: step.alone.mean for step in steps}
    wanted = {switch.title: changed.get(switch.title, voc07) for switch in SWITCHES}
    assert got == pytest.approx(wanted, abs=1e-12)


def scene(rng, classes):
    """Pairs of close objects, some crowds or difficult; detections near them and anywhere."""
    n, m = 2 * int(rng.integers(0, 5)), int(rng.integers(0, 5))
    low = np.repeat(rng.integers(0, 30, (n // 2, 2)), 2, axis=0) + rng.integers(0, 3, (n, 2))
    boxes = np.concatenate([low, low + rng.integers(6, 14, (n, 2))], 1).astype(float)
    labels = np.repeat(rng.integers(0, classes, n // 2), 2)
    near = np.repeat(np.arange(n), 3)
    shaken = boxes[near] + rng.integers(-3, 4, (len(near), 4))
    stray = rng.integers(0, 90, (m, 2))
    found = np.concatenate([shaken, np.concatenate([stray, stray + 30], 1)])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    found_labels = np.concatenate([labels[near], rng.integers(0, classes, m)])
    scores = rng.integers(1, 20, len(found)) / 20  # with ties
    difficult, crowd = rng.random((2, n)) < 0.2
    truth = Objects(boxes, labels, difficult=difficult, crowd=crowd)
    return Record(0, 200, 200, truth, Objects(found, found_labels, scores))


@pytest.mark.parametrize("seed", range(4))
def test_the_ends_are_vocs_metric_and_pycocotools(seed):
    rng, classes = np.random.default_rng(seed), 2
    images = [scene(rng, classes) for _ in range(40)]
    steps = explain(images, classes + 1)  # the last class has no objects
    for rules, got, eleven in ((VOC07, steps[0].before, True), (VOC12, steps[0].after, False)):
        wanted = VOC(classes + 1, eleven).result(images)
        np.testing.assert_allclose(got.ap, wanted["per_class_ap"], rtol=1e-12)
        assert score(images, classes + 1, rules).mean == pytest.approx(wanted["ap50"])
    wanted = evaluate(images, classes + 1)
    per_class = np.where(wanted.precision < 0, np.nan, wanted.precision)[:, :, :, 0, -1].mean(1)
    np.testing.assert_allclose(steps[-1].before.ap, per_class[0], rtol=1e-12)
    np.testing.assert_allclose(steps[-1].after.ap, per_class.mean(0), rtol=1e-12)
    assert steps[-1].after.mean == pytest.approx(wanted.stats[0], rel=1e-12)
    assert score(images, classes + 1, COCO_AP).mean == steps[-1].after.mean
    # No easy scenes: all but the limit of 100 matters in them.
    idle = [s.switch.title for s in steps if np.array_equal(s.before.ap, s.after.ap, True)]
    assert idle == ["most 100"]


def test_the_limit_is_per_class_and_image_as_in_pycocotools():
    record = image([A, C], [*FALSE, (A, 0.1), (C, 0.95)])
    got = score([record], 1, COCO_AP)
    assert got.mean == pytest.approx(evaluate([record], 1).stats[0], rel=1e-12)
    assert got.counts == (2, 1, 99, 0, 2)


def test_no_detections_and_no_objects():
    assert explain([image([A], [])], 1)[-1].after.mean == 0
    steps = explain([image([], [(A, 0.5)])], 2)
    assert np.isnan(steps[0].before.mean) and steps[-1].after.counts.false == 1
    assert "| -     | -     |" in explain_text.tables(steps, ["a", "b"])


def test_reasons_are_counted():
    def said(name, title):
        steps = explain([CASES[name][0]], 1)
        (step,) = [s for s in steps if s.switch.title == title]
        return explain_text.reason(step)

    assert said("nothing", "pixels") == "nothing changes"
    assert said("recalls", "area") == "the same hits, averaged at other recalls"
    assert said("pixels", "pixels") == "hits 1 → 0, false 0 → 1"
    assert said("matching", "matching") == "hits 1 → 2, false 1 → 0"
    assert said("difficult", "difficult") == "objects 1 → 2"
    assert said("crowd", "crowd") == "objects 2 → 1, false 1 → 0, ignored 0 → 1"
    assert said("most", "most 100") == "hits 1 → 0, unseen 0 → 1"
    assert said("thresholds", "thresholds") == "100.00 at 0.50, 0.00 at 0.75, 0.00 at 0.95"


def test_the_table_adds_up_and_names_every_class():
    two = image([A, C], [(A, 0.9), (C, 0.8)])
    two.truth.labels = np.array([0, 1])
    two.detections.labels = np.array([0, 0])
    text = explain_text.tables(explain([two], 2), ["cat", "a|b"])
    lines = [line.split(" | ") for line in text.splitlines()]
    (switch,) = [line for line in lines if line[0].startswith("| COCO AP ")]
    assert switch[1].strip() == "0" and switch[3].strip() == "50.00"
    (cat,) = [line for line in lines if line[0].startswith("| cat")]
    assert [cell.strip() for cell in cat[1:5]] == ["100.00"] * 4
    assert any(line[0].startswith("| a\\|b") for line in lines)
