"""A tiny RetinaNet: its losses against loops, its detections against sorting everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.models.detectors.retinanet import octave_sizes
from vision_jax.models.layers import Layers
from vision_jax.ops import assign, losses
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Targets

CLASSES, SIDE = 3, 64
SIZES = jnp.array([[64, 64], [64, 48], [32, 64]], jnp.float32)


def tiny(**fields):
    backbone = models.ResNet((1, 1), "basic", 8, layers=Layers(norm="frozen"))
    pyramid = models.FPN(("conv2_x", "conv3_x"), 8, "p6p7", "c5")
    fields = {"anchor_sizes": octave_sizes(8, 4, 2), "max_detections": 20, **fields}
    return models.RetinaNet(backbone, pyramid, CLASSES, depth=1, **fields)


def truth():
    """Two objects in the first image, one in the second, none in the third."""
    boxes = np.zeros((3, 3, 4), np.float32)
    boxes[0, :2] = [[5, 9, 30, 31], [20, 20, 61, 50]]
    boxes[1, 0] = [40, 2, 62, 14]
    labels = np.array([[2, 0, -1], [1, -1, -1], [-1, -1, -1]], np.int32)
    return Targets(jnp.zeros(3), jnp.array(boxes), jnp.array(labels), jnp.array(labels >= 0))


@pytest.fixture(scope="module")
def made():
    model, rng = tiny(), np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(3, SIDE, SIDE, 3)), jnp.float32)
    variables = models.init(model, jax.random.key(0), image, SIZES)
    outputs = dict(jax.jit(model.apply)(variables, image, SIZES))
    # Predictions that differ from anchor to anchor, as those of a trained network.
    for name, spread, shift in (("class_logits", 1.5, -2.0), ("box_deltas", 0.3, 0.0)):
        shape = outputs[name].shape
        outputs[name] = jnp.asarray(rng.normal(shift, spread, shape), jnp.float32)
    return model, variables, image, outputs


def loops(model, outputs, targets, row):
    """Both losses of one image, anchor by anchor, each a sum over its number of positives."""
    logits, deltas = (np.asarray(outputs[name][row]) for name in ("class_logits", "box_deltas"))
    anchors = np.asarray(outputs["anchors"])
    matched_idxs = assign.match(
        targets.boxes[row], targets.valid[row], outputs["anchors"], 0.5, 0.4, True
    )
    focal, box, positives = 0.0, 0.0, 0
    for a, owner in enumerate(np.asarray(matched_idxs)):
        if owner == assign.IGNORED:
            continue
        for k in range(CLASSES):
            right = owner >= 0 and targets.labels[row, owner] == k
            p = 1 / (1 + np.exp(-np.float64(logits[a, k])))
            p, alpha = (p, 0.25) if right else (1 - p, 0.75)
            focal -= alpha * (1 - p) ** 2 * np.log(p)
        if owner >= 0:
            positives += 1
            x0, y0, x1, y1 = np.float64(anchors[a])
            u0, v0, u1, v1 = np.float64(targets.boxes[row, owner])
            box_targets = [
                ((u0 + u1) - (x0 + x1)) / 2 / (x1 - x0),
                ((v0 + v1) - (y0 + y1)) / 2 / (y1 - y0),
                np.log((u1 - u0) / (x1 - x0)),
                np.log((v1 - v0) / (y1 - y0)),
            ]
            box += np.abs(np.float64(deltas[a]) - box_targets).sum()
    return focal / max(1, positives), box / max(1, positives), positives


def test_losses_are_means_over_images_of_sums_over_anchors(made):
    model, _, _, outputs = made
    targets = truth()
    rows = [loops(model, outputs, targets, row) for row in range(3)]
    assert [row[2] > 0 for row in rows] == [True, True, False]
    for valid in ([True, True, True], [True, False, True]):
        terms = model.loss(outputs, targets, jnp.array(valid))
        for name, column in (("class", 0), ("box", 1)):
            total, weight = terms[name]
            expected = sum(row[column] for row, counts in zip(rows, valid, strict=True) if counts)
            np.testing.assert_allclose(total, expected, rtol=1e-5)
            assert weight == sum(valid)


def test_giou_is_of_the_decoded_boxes(made):
    model, _, _, outputs = made
    model, targets = model.clone(box_loss="giou"), truth()
    expected = 0.0
    for row in range(2):
        matched_idxs = model.matches(targets, SIDE, SIDE)[row]
        positive = np.flatnonzero(matched_idxs >= 0)
        deltas, anchors = outputs["box_deltas"][row, positive], outputs["anchors"][positive]
        boxes = box_ops.decode(deltas, anchors, (1.0, 1.0, 1.0, 1.0))
        expected += losses.giou_loss(boxes, targets.boxes[row, matched_idxs[positive]]).mean()
    terms = model.loss(outputs, targets, jnp.ones(3, bool))
    np.testing.assert_allclose(terms["box"][0], expected, rtol=1e-5)


def test_anchors_and_matches_are_those_of_the_loss(made):
    model, _, _, outputs = made
    anchors = model.anchors(SIDE, SIDE)
    assert np.array_equal(anchors, outputs["anchors"])
    matched_idxs = np.asarray(model.matches(truth(), SIDE, SIDE))
    assert matched_idxs.shape == (3, len(anchors))
    assert set(matched_idxs[0]) >= {0, 1, -1} and set(matched_idxs[2]) == {-1}


@pytest.mark.parametrize("pre_nms_top_k", [7, 1000])
def test_detections_are_those_of_sorting_everything(made, pre_nms_top_k):
    model, _, _, outputs = made
    model = model.clone(pre_nms_top_k=pre_nms_top_k, score_threshold=0.5, nms_threshold=0.4)
    detections = jax.jit(model.detect)(outputs, SIZES)
    for row in range(3):
        pairs = slow_detections(model, outputs, row)
        count = min(len(pairs), model.max_detections)
        assert np.asarray(detections.valid[row]).sum() == count > 3
        for i, (score, label, box) in enumerate(pairs[:count]):
            assert detections.labels[row, i] == label
            np.testing.assert_allclose(detections.scores[row, i], score, rtol=1e-6)
            np.testing.assert_allclose(detections.boxes[row, i], box, rtol=1e-5, atol=1e-4)
        assert np.all(detections.labels[row, count:] == -1)
        assert np.all(detections.scores[row, count:] == 0)


def slow_detections(model, outputs, row):
    """Lists one image's (score, label, box), the best first."""
    boxes = box_ops.decode(outputs["box_deltas"][row], outputs["anchors"], model.box_weights)
    boxes = np.asarray(box_ops.clip(boxes, *SIZES[row]))
    scores = np.asarray(jax.nn.sigmoid(outputs["class_logits"][row]))
    pairs, start = [], 0
    for level in outputs["pyramid"]:
        end = start + level.shape[1] * level.shape[2] * 6  # two sizes, three ratios
        here = [(scores[a, k], k, boxes[a]) for a in range(start, end) for k in range(CLASSES)]
        here.sort(key=lambda pair: -pair[0])
        pairs += [pair for pair in here[: model.pre_nms_top_k] if pair[0] > model.score_threshold]
        start = end
    assert start == len(boxes)
    selection = []
    for pair in sorted(pairs, key=lambda pair: -pair[0]):
        rivals = [other for other in selection if other[1] == pair[1]]
        if all(iou(pair[2], rival[2]) <= model.nms_threshold for rival in rivals):
            selection.append(pair)
    return selection


def iou(a, b):
    """Computes intersection over union of two boxes."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = np.prod(np.maximum(sides, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
    return both / union if union > 0 else 0.0


def test_gradients_are_finite_and_start_at_the_prior(made):
    model, variables, image, _ = made
    sizes = jnp.full((3, 2), 64.0)
    empty = truth().replace(valid=jnp.zeros((3, 3), bool))

    @jax.jit
    def run(params, targets):
        def total(params):
            outputs = model.apply({**variables, "params": params}, image, sizes, targets)
            terms = model.loss(outputs, targets, jnp.ones(3, bool))
            return sum(x / weight for x, weight in terms.values()), outputs["class_logits"]

        return jax.value_and_grad(total, has_aux=True)(params)

    for targets in (truth(), empty):
        (loss, logits), gradients = run(variables["params"], targets)
        assert np.isfinite(loss)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))
    assert np.abs(gradients["class_subnet"]["out"]["kernel"]).max() > 0
    assert np.all(gradients["box_subnet"]["out"]["kernel"] == 0)  # no objects, no boxes
    np.testing.assert_allclose(jax.nn.sigmoid(logits).mean(), 0.01, rtol=0.05)


def test_octave_sizes_are_whole_pixels():
    assert octave_sizes()[0] == (32, 40, 50) and octave_sizes()[4] == (512, 645, 812)


@pytest.mark.parametrize("norm", ["none", "group"])
@pytest.mark.parametrize("source", ["torchvision", "torchvision-old"])
def test_weights_go_to_the_reference_and_back(norm, source):
    model, rng = tiny(layers=Layers(norm=norm)), np.random.default_rng(0)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    size = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image, size)
    variables = jax.tree.map(lambda a: rng.standard_normal(a.shape), shapes)
    state = weights.to_reference(variables, model, source)
    old = {"torchvision": ".0", "torchvision-old": ""}[source]
    assert f"backbone.fpn.inner_blocks.1{old}.bias" in state
    back = weights.from_reference(state, model)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_a_head_of_91_labels_gives_the_80_classes_of_coco():
    model, labels = tiny().clone(num_classes=80), tiny().clone(num_classes=91)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    size = jax.ShapeDtypeStruct((1, 2), jnp.float32)
    shapes = jax.eval_shape(labels.init, jax.random.key(0), image, size)
    variables = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes)
    # Every output knows its anchor and its label.
    number = np.arange(6 * 91, dtype=np.float32)
    variables["params"]["class_subnet"]["out"]["bias"] = number
    variables["params"]["class_subnet"]["out"]["kernel"][:] = number
    ours = weights.from_reference(weights.to_reference(variables, labels), model)
    out = ours["params"]["class_subnet"]["out"]
    bias = out["bias"].reshape(6, 80)
    assert np.array_equal(out["kernel"][1, 2, 3], out["bias"])
    assert np.array_equal(bias // 91, np.arange(6)[:, None] * np.ones(80))
    label = bias[0] % 91
    # COCO: person 1, fire hydrant 11, stop sign 13, toothbrush 90.
    assert (label[0], label[10], label[11], label[79]) == (1, 11, 13, 90)
    assert len(set(label)) == 80
