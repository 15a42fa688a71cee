"""The Darknets' and YOLOs' own parts, each against a slow form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_yolo
from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.classifiers.darknet import DARKNET
from vision_jax.models.detectors import yolo
from vision_jax.models.detectors.yolo_v1 import LocallyConnected
from vision_jax.models.detectors.yolo_v2 import HAND_PRIORS, Head, darknet_reorg, space_to_depth
from vision_jax.models.layers import DEVICE_AXIS, NO_NORM, BatchNorm
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Targets

SIZES = jnp.full((2, 2), 64.0)


def _targets(*boxes, labels=None, slots=4):
    """Puts the same objects in both of two images."""
    gt_boxes = np.zeros((2, slots, 4), np.float32)
    gt_boxes[:, : len(boxes)] = boxes
    gt_labels = np.full((2, slots), -1, np.int32)
    gt_labels[:, : len(boxes)] = range(len(boxes)) if labels is None else labels
    valid = jnp.asarray(gt_labels >= 0)
    return Targets(boxes=jnp.asarray(gt_boxes), labels=jnp.asarray(gt_labels), valid=valid)


def _variables(model, seed=0):
    image = jnp.zeros((2, 64, 64, 3))
    return models.init(model, jax.random.key(seed), image, SIZES)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_darknets_norm_divides_by_the_root_of_the_unbiased_variance_and_a_bit(mode):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(3, 2, (3, 4, 5, 2)), jnp.float32)
    norm = BatchNorm(layers=DARKNET.replace(eps=0.5))  # a bit that shows
    stats = {"mean": jnp.array([1.0, 2.0]), "var": jnp.array([4.0, 9.0])}
    params = {"scale": jnp.array([2.0, 3.0]), "bias": jnp.array([0.5, -1.0])}
    variables = {"params": params, "batch_stats": stats}
    y, new = norm.apply(variables, x, train=mode == "train", mutable=["batch_stats"])
    mean, var, scale, bias = (np.asarray(a) for a in (*stats.values(), *params.values()))
    if mode == "train":
        mean, var = np.mean(np.asarray(x), (0, 1, 2)), np.var(np.asarray(x), (0, 1, 2), ddof=1)
        running = 0.99 * np.array([4.0, 9.0]) + 0.01 * var
        np.testing.assert_allclose(new["batch_stats"]["var"], running, rtol=1e-5)
    expected = scale * (np.asarray(x) - mean) / (np.sqrt(var) + 0.5) + bias
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-5)


def test_darknets_norm_bears_a_map_without_variance():
    norm = BatchNorm(layers=DARKNET)
    x = jnp.ones((2, 2, 2, 1))
    variables = norm.init(jax.random.key(0), x)

    def total(x):
        return norm.apply(variables, x, train=True, mutable=["batch_stats"])[0].sum()

    value, gradient = jax.value_and_grad(total)(x)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_a_pooling_that_keeps_the_resolution_reaches_over_the_right_and_the_lower_border():
    backbone = models.Darknet((((1, 1),), ((1, 1),)), pools=(1,), layers=NO_NORM)
    x = jnp.asarray([[[-5.0], [-2.0]], [[-3.0], [-4.0]]])[None]
    kernel = {"conv": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}}
    variables = {"params": {"conv1_1": kernel, "conv2_1": kernel}}
    for fill, expected in (("-inf", [[-2, -2], [-3, -4]]), ("0", [[-2, 0], [0, 0]])):
        pooled = backbone.clone(same_fill=fill).apply(variables, x)["stage2"][0, ..., 0]
        np.testing.assert_allclose(pooled, 0.01 * np.array(expected), rtol=1e-6)  # twice leaky
    assert backbone.strides == {"stage1": 1, "stage2": 1}


def test_face_apis_network_has_as_many_weights_and_cells():
    model, sizes = models.YOLOv2TinySeparable(layers=NO_NORM), jnp.array([[416.0, 416.0]])
    image = jax.ShapeDtypeStruct((1, 416, 416, 3), jnp.float32)
    init = functools.partial(model.init_with_output, jax.random.key(0))
    outputs, variables = jax.eval_shape(init, image, sizes)
    # Its file has one byte for each; ours has a class beside, at 5 priors of 512 channels and bias.
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == 193_321 + 5 * 513
    assert outputs["prediction_maps"][0].shape == (1, 13, 13, 30) and model.stride == 32


def test_strides_of_the_backbones():
    assert models.Darknet().strides["stage6"] == 32
    assert models.YOLOv1().stride == 64 and models.FastYOLO().stride == 64
    assert models.YOLOv3().strides == (32, 16, 8) and models.YOLOv3Tiny().strides == (32, 16)
    assert models.YOLOv2().stride == 32 and models.YOLOv2Tiny().stride == 32
    assert HAND_PRIORS[4] == (8, 8)


def test_a_locally_connected_layer_is_a_loop_over_places():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    kernel = rng.normal(size=(3, 4, 18, 5)).astype(np.float32)
    bias = rng.normal(size=(3, 4, 5)).astype(np.float32)
    y = LocallyConnected(5).apply(
        {"params": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}, jnp.asarray(x)
    )
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(4):
            window = padded[:, row : row + 3, column : column + 3].transpose(0, 3, 1, 2)
            expected = window.reshape(2, -1) @ kernel[row, column] + bias[row, column]
            np.testing.assert_allclose(y[:, row, column], expected, rtol=1e-5, atol=1e-5)


def test_both_reorganisations_are_their_loops():
    x = np.random.default_rng(2).normal(size=(2, 4, 6, 8)).astype(np.float32)
    b, h, w, c = x.shape
    tidy = np.zeros((b, h // 2, w // 2, 4 * c), np.float32)
    for i in range(h):
        for j in range(w):
            part = (i % 2 * 2 + j % 2) * c
            tidy[:, i // 2, j // 2, part : part + c] = x[:, i, j]
    np.testing.assert_array_equal(space_to_depth(jnp.asarray(x)), tidy)
    # Darknet's: output channel k of a (c, h, w) map comes from a map of (c / 4, 2h, 2w).
    memory = x.transpose(0, 3, 1, 2).reshape(b, c // 4, 2 * h, 2 * w)
    mixed = np.zeros((b, c, h, w), np.float32)
    for k in range(c):
        offset, source = divmod(k, c // 4)
        for j in range(h):
            for i in range(w):
                mixed[:, k, j, i] = memory[:, source, 2 * j + offset // 2, 2 * i + offset % 2]
    mixed = mixed.reshape(b, 4 * c, h // 2, w // 2).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(darknet_reorg(jnp.asarray(x)), mixed)


def test_of_two_objects_at_one_place_the_last_rules():
    scale = yolo.Scale((8, 8), 8, jnp.ones((2, 2)))
    boxes = jnp.array([[0, 0, 8, 8], [1, 1, 7, 7], [60, 60, 64, 64], [-9, 0, 3, 8]], jnp.float32)
    valid = jnp.array([True, True, True, False])
    assignment = scale.assign(boxes, valid, jnp.array([1, 1, 0, 1]))
    np.testing.assert_array_equal(assignment.index, [1, 1, 126, 1])
    np.testing.assert_array_equal(assignment.last, [False, True, True, False])
    assert scale.count == 128 and int(scale.positive_mask(assignment).sum()) == 2
    matched_idxs = scale.matched_idxs(assignment)
    assert matched_idxs[1] == 1 and matched_idxs[126] == 2 and matched_idxs[0] == -1


def test_a_met_target_costs_nothing_and_its_gradient_is_the_difference():
    logits = jnp.array([-2.0, 0.1, 1.5, 40.0])
    everywhere = jnp.ones(4, bool)
    met = yolo.divergence(logits, jax.nn.sigmoid(logits), everywhere)
    np.testing.assert_allclose(met, 0, atol=1e-6)
    target = jnp.array([0.0, 1.0, 0.3, 0.5])
    gradient = jax.grad(lambda x: yolo.divergence(x, target, everywhere).sum())(logits)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(logits) - target, atol=1e-6)


def test_yolo_v1_in_the_lectures_form_starts_from_its_base_boxes():
    model = tiny_yolo.v1_lecture()
    outputs = model.split(jnp.zeros((2, model.outputs_per_image)))
    assert outputs["class_logits"].shape == (2, 16 * 16, 9)  # background among them
    assert model.outputs_per_image == 16 * 16 * (5 * 3 + 9)
    base = model.anchors(64, 64).reshape(16, 16, 3, 4)
    # (height, width) = (0.6, 0.3) of 64 pixels, around the centre of the first cell.
    np.testing.assert_allclose(base[0, 0, 1], [2 - 9.6, 2 - 19.2, 2 + 9.6, 2 + 19.2], rtol=1e-6)
    np.testing.assert_allclose(model.decode(outputs)[0], base.reshape(-1, 4), rtol=1e-6)
    with pytest.raises(UserError, match="boxes_per_cell=2, but there are 3 base_boxes"):
        _variables(model.clone(boxes_per_cell=2))


def test_yolo_v1_reads_one_size():
    model = tiny_yolo.v1()
    with pytest.raises(UserError, match="reads 64 pixels square, not 32x64"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 32, 64, 3)), SIZES)


@pytest.mark.parametrize("make", [tiny_yolo.v1, tiny_yolo.v1_lecture, tiny_yolo.v2, tiny_yolo.v3])
def test_anchors_and_matches_are_of_the_same_boxes(make):
    """Every object is matched by anchors whose cell holds its centre."""
    model = make()
    targets = _targets([4, 4, 20, 18], [30, 34, 50, 60])
    anchors = np.asarray(model.anchors(64, 64))
    matches = np.asarray(model.matches(targets, 64, 64))
    outputs = jax.eval_shape(
        lambda v: model.apply(v, jnp.zeros((2, 64, 64, 3)), SIZES), _shapes(model)
    )
    assert matches.shape == (2, len(anchors)) == outputs["box_deltas"].shape[:2]
    assert outputs["objectness_logits"].shape == matches.shape
    assert outputs["anchors"].shape == anchors.shape
    for number, centre in enumerate([(12, 11), (40, 47)]):
        mine = anchors[matches[0] == number]
        assert len(mine) == (model.boxes_per_cell if isinstance(model, models.YOLOv1) else 1)
        away = np.abs((mine[:, :2] + mine[:, 2:]) / 2 - np.array([centre]))
        assert away.max() <= 4


def _shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 64, 64, 3)), SIZES)


def test_yolo_v2_with_offsets_finds_what_it_is_told():
    model = tiny_yolo.v2().clone(location="offset", warm_up=0, objectness_target="one")
    targets = _targets([4, 4, 20, 18], [30, 34, 50, 60])
    raw = np.zeros((2, 8, 8, len(model.priors), 13), np.float32)
    raw[..., 4] = -20
    anchors = model.anchors(64, 64)
    matches = model.matches(targets, 64, 64)
    flat = raw.reshape(2, -1, 13)
    for number in range(2):
        place = int(np.argmax(np.asarray(matches[0]) == number))
        deltas = box_ops.encode(targets.boxes[0, number], anchors[place], (1.0,) * 4)
        row = np.concatenate([np.asarray(deltas), [20.0], 40.0 * np.eye(8)[number]])
        flat[:, place] = row

    @jax.jit
    def answer(prediction_map):
        outputs = model.split(prediction_map, jnp.zeros(()))
        return model.loss(outputs, targets, jnp.ones(2, bool)), model.detect(outputs, SIZES)

    terms, detections = answer(jnp.asarray(flat.reshape(2, 8, 8, -1)))
    for name, (value, weight) in terms.items():
        assert float(value) == pytest.approx(0, abs=1e-5) and weight == 2, name
    order = np.argsort(detections.labels[0][:2])
    np.testing.assert_allclose(detections.boxes[0][order], targets.boxes[0, :2], atol=1e-4)
    assert detections.valid.sum(1).tolist() == [2, 2]


def test_class_smoothing_of_yolo_v3_moves_the_best_logit_from_infinity():
    model = tiny_yolo.v3().clone(smoothing=0.1)
    targets = _targets([4, 4, 20, 18])

    def total(shift):
        outputs = model.split(tuple(jnp.zeros((2, 64 // s, 64 // s, 39)) for s in model.strides))
        outputs["class_logits"] = outputs["class_logits"].at[..., 0].set(shift)
        return model.loss(outputs, targets, jnp.ones(2, bool))["class"][0]

    # Of eight classes the true one's target is 0.9 + 0.1 / 8.
    best = jnp.log(0.9125 / 0.0875)
    assert float(jax.jit(jax.grad(total))(best)) == pytest.approx(0, abs=1e-5)


def test_images_seen_are_counted_over_all_devices():
    head = Head(4, "map", (), "", 0, "darknet", 0)
    maps = jnp.ones((8, 2, 1, 1, 3))
    variables = head.init(jax.random.key(0), {"map": maps[0]})

    def run(images):
        (_, before), new = head.apply(variables, {"map": images}, train=True, mutable=["counters"])
        return before, new["counters"]["seen"]

    before, after = jax.vmap(run, axis_name=DEVICE_AXIS)(maps)
    assert (before == 0).all() and (after == 16).all()
    assert run(maps[0])[1] == 2
    _, frozen = head.apply(variables, {"map": maps[0]}, mutable=["counters"])
    assert frozen["counters"]["seen"] == 0


def _raw_outputs(model, scale=30.0):
    """Outputs that a network might wildly give, for two images."""
    rng = np.random.default_rng(3)

    def draw(*shape):
        return jnp.asarray(rng.normal(0, scale, shape), jnp.float32)

    if isinstance(model, models.YOLOv1):
        return model.split(draw(2, model.outputs_per_image))
    if isinstance(model, models.YOLOv2):
        return model.split(draw(2, 8, 8, len(model.priors) * 13), jnp.zeros(()))
    return model.split(tuple(draw(2, 64 // s, 64 // s, 39) for s in model.strides))


@pytest.mark.parametrize("make", [tiny_yolo.v1, tiny_yolo.v1_lecture, tiny_yolo.v2, tiny_yolo.v3])
def test_no_targets_and_wild_outputs_leave_loss_and_gradient_finite(make):
    """Objects that are not valid, and images that are not, count nothing at all."""
    model = make()
    outputs = _raw_outputs(model)

    @jax.jit
    def run(outputs, targets, valid):
        def total(outputs):
            terms = model.loss(outputs, targets, valid)
            return sum(value for value, _ in terms.values()), terms

        return jax.value_and_grad(total, has_aux=True)(outputs)

    some = _targets([4, 4, 20, 18], [30, 34, 50, 60])
    nothing = some.replace(valid=jnp.zeros_like(some.valid))
    odd = nothing.replace(boxes=jnp.full_like(some.boxes, jnp.nan), labels=some.labels + 99)
    both, first = jnp.ones(2, bool), jnp.array([True, False])
    empty = run(outputs, nothing, both)
    jax.tree.map(np.testing.assert_array_equal, empty, run(outputs, odd, both))
    no_slots = run(outputs, jax.tree.map(lambda x: x[:, :0], nothing), both)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), empty, no_slots)
    for (value, terms), gradient in (empty, run(outputs, some, both)):
        assert np.isfinite(value) and all(weight == 2 for _, weight in terms.values())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    (_, terms), gradient = run(outputs, some, first)
    assert all(weight == 1 for _, weight in terms.values())
    predictions = [gradient[name] for name in yolo.Predictions._fields]
    assert all(np.any(leaf[0]) and not np.any(leaf[1]) for leaf in predictions)
    (_, terms), gradient = run(outputs, some, ~both)
    assert all(value == weight == 0 for value, weight in terms.values())
