"""FCOS's parts, each against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_detectors
from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.detectors import fcos
from vision_jax.ops.assign import BACKGROUND
from vision_jax.structs import Targets

SIDE = 64
GRIDS = ((16, 4), (8, 8), (4, 16), (2, 32))  # cells a side, and their stride
LIMITS = (0, 16, 32, 48, np.inf)


def slowly_matched(boxes):
    """Point by point, object by object."""
    found = []
    for level, (cells, stride) in enumerate(GRIDS):
        for row in range(cells):
            for column in range(cells):
                y, x = row * stride, column * stride
                best, smallest = BACKGROUND, np.inf
                for number, (x0, y0, x1, y1) in enumerate(boxes):
                    sides = x - x0, y - y0, x1 - x, y1 - y
                    away = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2))
                    fits = LIMITS[level] < max(sides) < LIMITS[level + 1]
                    area = (x1 - x0) * (y1 - y0)
                    if min(sides) > 0 and away < 1.5 * stride and fits and area < smallest:
                        best, smallest = number, area
                found.append(best)
    return found


def objects(seed, count=12):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, SIDE - 8, (count, 2))
    high = np.minimum(low + rng.integers(4, SIDE, (count, 2)), SIDE)
    return np.concatenate([low, high], 1).astype(np.float32)


def targets(*boxes, slots=14):
    """Puts each image's objects into padded slots; padding has a box that would match."""
    padded = np.tile(np.float32([0, 0, SIDE, SIDE]), (len(boxes), slots, 1))
    valid = np.zeros((len(boxes), slots), bool)
    for row, given in enumerate(boxes):
        padded[row, : len(given)] = np.reshape(given, (-1, 4))
        valid[row, : len(given)] = True
    labels = np.where(valid, np.arange(slots)[None] % 8, -1).astype(np.int32)
    return Targets(boxes=jnp.asarray(padded), labels=jnp.asarray(labels), valid=jnp.asarray(valid))


def test_points_match_as_in_a_slow_loop():
    model = tiny_detectors.fcos()
    given = [objects(seed) for seed in range(3)]
    matches = np.asarray(model.matches(targets(*given), SIDE, SIDE))
    for row, boxes in zip(matches, given, strict=True):
        assert row.tolist() == slowly_matched(boxes)
        assert len({*row.tolist()}) > 4


def test_anchors_are_squares_around_points_at_corners():
    anchors = np.asarray(tiny_detectors.fcos().anchors(SIDE, 32))
    assert anchors[0].tolist() == [-2, -2, 2, 2]
    assert anchors[1].tolist() == [2, -2, 6, 2]
    assert anchors[16 * 8].tolist() == [-4, -4, 4, 4]
    assert len(anchors) == 16 * 8 + 8 * 4 + 4 * 2 + 2 * 1


def test_sides_lead_to_boxes_and_centerness():
    anchors = jnp.array([[4.0, 4, 12, 12], [0, 0, 32, 32]])  # points (8, 8) and (16, 16)
    boxes = fcos.decode_sides(jnp.array([[0.5, 0.25, 1, 1], [0, 0, 0, 0.5]]), anchors)
    assert boxes.tolist() == [[4, 6, 16, 16], [16, 16, 16, 32]]
    found = fcos.centerness_of(jnp.array([[4.0, 6, 16, 16], [0, 0, 32, 32]]), anchors)
    np.testing.assert_allclose(found, [np.sqrt(4 / 8 * 2 / 8), 1], rtol=1e-6)


def outputs_of(model, seed=0, images=2):
    rng = np.random.default_rng(seed)
    anchors = model.anchors(SIDE, SIDE)
    count = len(anchors)
    return {
        "pyramid": tuple(jnp.zeros((images, cells, cells, 1)) for cells, _ in GRIDS),
        "class_logits": jnp.asarray(rng.normal(size=(images, count, 8)), jnp.float32),
        "box_deltas": jnp.asarray(rng.uniform(0, 2, (images, count, 4)), jnp.float32),
        "centerness_logits": jnp.asarray(rng.normal(size=(images, count)), jnp.float32),
        "anchors": anchors,
    }


def slow_losses(outputs, given):
    """Sums over all points of all images, and the number of points with an object."""
    sums, positives = {"class": 0.0, "box": 0.0, "centerness": 0.0}, 0
    points = [
        (column * stride, row * stride, stride)
        for cells, stride in GRIDS
        for row in range(cells)
        for column in range(cells)
    ]
    outputs = {k: np.float64(v) for k, v in outputs.items() if k != "pyramid"}
    for image, boxes in enumerate(given):
        for place, number in enumerate(slowly_matched(boxes)):
            p = 1 / (1 + np.exp(-outputs["class_logits"][image, place]))
            hit = np.arange(8) == number % 8 if number >= 0 else np.zeros(8, bool)
            sums["class"] -= np.sum(
                np.where(hit, 0.25 * (1 - p) ** 2 * np.log(p), 0.75 * p**2 * np.log(1 - p))
            )
            if number < 0:
                continue
            positives += 1
            x, y, stride = points[place]
            left, top, right, bottom = outputs["box_deltas"][image, place] * stride
            ours = x - left, y - top, x + right, y + bottom
            x0, y0, x1, y1 = np.float64(boxes[number])
            width = max(0, min(ours[2], x1) - max(ours[0], x0))
            both = width * max(0, min(ours[3], y1) - max(ours[1], y0))
            union = (left + right) * (top + bottom) + (x1 - x0) * (y1 - y0) - both
            hull = (max(ours[2], x1) - min(ours[0], x0)) * (max(ours[3], y1) - min(ours[1], y0))
            sums["box"] += 1 - both / union + (hull - union) / hull
            a, b, c, d = x - x0, x1 - x, y - y0, y1 - y
            target = np.sqrt(min(a, b) / max(a, b) * min(c, d) / max(c, d))
            q = 1 / (1 + np.exp(-outputs["centerness_logits"][image, place]))
            sums["centerness"] -= target * np.log(q) + (1 - target) * np.log(1 - q)
    return sums, positives


def test_losses_are_those_of_a_slow_loop():
    model, given = tiny_detectors.fcos(), [objects(0), objects(1, 3)]
    outputs = outputs_of(model)
    terms = model.loss(outputs, targets(*given), jnp.ones(2, bool))
    sums, positives = slow_losses(outputs, given)
    for name, expected in sums.items():
        np.testing.assert_allclose(terms[name], (expected, positives), rtol=2e-5)
    first = {k: v if k == "anchors" else jax.tree.map(lambda a: a[:1], v)
             for k, v in outputs.items()}  # fmt: skip
    masked = model.loss(outputs, targets(*given), jnp.array([True, False]))
    alone = model.loss(first, targets(given[0]), jnp.ones(1, bool))
    for name, term in masked.items():
        np.testing.assert_allclose(term, alone[name], rtol=1e-6)


def test_a_batch_without_objects_still_teaches_what_background_is():
    model = tiny_detectors.fcos()
    outputs = outputs_of(model)
    terms = model.loss(outputs, targets([], []), jnp.ones(2, bool))
    assert {name: float(weight) for name, (_, weight) in terms.items()} == dict.fromkeys(terms, 1)
    assert terms["class"][0] > 0 and terms["box"][0] == terms["centerness"][0] == 0
    loss = lambda logits: model.loss(  # noqa: E731
        {**outputs, "class_logits": logits}, targets([], []), jnp.ones(2, bool)
    )["class"][0]
    assert np.all(jax.grad(loss)(outputs["class_logits"]) > 0)


def test_no_slots_are_as_no_objects():
    model, outputs = tiny_detectors.fcos(), outputs_of(tiny_detectors.fcos())
    none, valid = targets([], [], slots=0), jnp.ones(2, bool)
    found, expected = (model.loss(outputs, t, valid) for t in (none, targets([], [])))
    assert jax.tree.map(float, found) == jax.tree.map(float, expected)
    assert np.all(model.matches(none, SIDE, SIDE) == BACKGROUND)


def test_devices_weigh_the_whole_batch():
    """A device without objects counts none, unless no device has any."""
    model = tiny_detectors.fcos()
    outputs = outputs_of(model, images=2)
    anchors = outputs.pop("anchors")
    split = jax.tree.map(lambda a: a[:, None], outputs)

    def weight(outputs, truth):
        terms = model.loss({**outputs, "anchors": anchors}, truth, jnp.ones(1, bool))
        return terms["class"][1]

    run = jax.vmap(weight, axis_name="data")
    for given in ([objects(0), []], [[], []]):
        truth = jax.tree.map(lambda a: a[:, None], targets(*given))
        whole = model.loss({**outputs, "anchors": anchors}, targets(*given), jnp.ones(2, bool))
        np.testing.assert_allclose(np.sum(run(split, truth)), whole["class"][1])


def test_a_score_is_the_root_of_class_times_centerness():
    model = tiny_detectors.fcos().clone(score_threshold=0.5)
    outputs = outputs_of(model, images=1)
    outputs["class_logits"] = jnp.full_like(outputs["class_logits"], -20.0)
    place = 16 * 16 + 3 * 8 + 2  # the point (16, 24) of the second level
    outputs["class_logits"] = outputs["class_logits"].at[0, place, 5].set(2.0)
    outputs["box_deltas"] = outputs["box_deltas"].at[0, place].set(jnp.array([1, 1, 2, 9.0]))
    for logit, is_found in ((1.0, True), (-2.0, False)):
        outputs["centerness_logits"] = jnp.full((1, outputs["anchors"].shape[0]), logit)
        found = model.detect(outputs, jnp.array([[60.0, 64.0]]))
        assert found.valid.sum() == is_found
    outputs["centerness_logits"] = jnp.full((1, outputs["anchors"].shape[0]), 1.0)
    found = model.detect(outputs, jnp.array([[60.0, 64.0]]))
    assert found.labels[0, 0] == 5 and found.labels[0, 1] == -1
    assert found.boxes[0, 0].tolist() == [8, 16, 32, 60]  # cut at the content's end
    expected = np.sqrt(1 / (1 + np.exp(-2)) / (1 + np.exp(-1)))
    np.testing.assert_allclose(found.scores[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_limits": (16.0,)}, r"size_limits=\(16.0,\): give 3 for the pyramid's 4 levels"),
        ({"anchor_sizes": ((8.0,),)}, r"anchor_sizes=.*: give 4 for the pyramid's 4 levels"),
    ],
)
def test_levels_without_a_size_are_named(change, message):
    model = tiny_detectors.fcos().clone(**change)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), image, jnp.zeros((1, 2)))


def test_towers_have_biases_and_group_norms():
    model = models.FCOSResNet50FPN(num_classes=3)
    image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), image, jnp.zeros((1, 2)))["params"]
    tower = params["box_tower"]
    assert set(tower) == {"conv1", "conv2", "conv3", "conv4"}
    assert set(tower["conv4"]["conv"]) == {"kernel", "bias"}
    assert set(tower["conv4"]["norm"]) == {"scale", "bias"}
