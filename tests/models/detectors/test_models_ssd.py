import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import models
from vision_jax.config import UserError
from vision_jax.models.detectors.ssd import L2Scale
from vision_jax.models.detectors.ssd_boxes import (
    COCO_300,
    COCO_512,
    SEVEN_RATIOS,
    STRIDES_512,
)
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Targets

COCO_BOXES = models.DefaultBoxes(COCO_512, SEVEN_RATIOS, STRIDES_512)


@functools.cache
def shapes(make, size):
    """Shapes of a network's parameters and of its outputs."""
    sizes = jnp.full((1, 2), size, jnp.float32)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    outputs, variables = jax.eval_shape(make().init_with_output, jax.random.key(0), image, sizes)
    return variables["params"], outputs


@pytest.mark.parametrize(
    ("make", "size", "grids", "boxes", "parameters"),
    [
        # ssd.pytorch's network for VOC; torchvision's published SSD300 with COCO's 91 labels.
        (models.SSD300, 300, (38, 19, 10, 5, 3, 1), 8732, 26_285_486),
        (functools.partial(models.SSD300, 90), 300, (38, 19, 10, 5, 3, 1), 8732, 35_641_826),
        # Added up by hand: VGG 20,484,416 with the scales, added layers 3,016,960, predictors the
        # rest, (9 c + 1) 25 for each shape of box on c channels.
        (models.SSD512, 512, (64, 32, 16, 8, 4, 2, 1), 24564, 27_188_676),
        (models.SSD300ResNet, 300, (38, 19, 10, 5, 3, 1), 8732, None),
        (models.SmallSSD, 256, (32, 16, 8, 4, 1), 5444, None),
        # TensorFlow's for COCO, which has 1917 boxes, and face-api's.
        (models.SSDMobileNet, 300, (19, 10, 5, 3, 2, 1), 1917, None),
        (functools.partial(models.SSDMobileNet, 2), 512, (32, 16, 8, 4, 2, 1), 5118, None),
    ],
)
def test_published_sizes(make, size, grids, boxes, parameters):
    params, outputs = shapes(make, size)
    assert tuple(x.shape[1] for x in outputs["maps"]) == grids
    assert outputs["anchors"].shape == (boxes, 4)
    assert outputs["class_logits"].shape[:2] == outputs["box_deltas"].shape[:2] == (1, boxes)
    if parameters is not None:
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters


def test_default_boxes_are_those_of_the_published_files():
    # Caffe's SSD300 for VOC: min_size 30, max_size 60 at stride 8, centre (4, 4).
    boxes = models.SSD300().anchors(300, 300)
    side = 30 / np.sqrt([1, 2])
    expected = [
        [4 - 15, 4 - 15, 4 + 15, 4 + 15],
        [4 - 0.5 * np.sqrt(30 * 60)] * 2 + [4 + 0.5 * np.sqrt(30 * 60)] * 2,
        [4 - side[1], 4 - side[1] / 2, 4 + side[1], 4 + side[1] / 2],
        [4 - side[1] / 2, 4 - side[1], 4 + side[1] / 2, 4 + side[1]],
    ]
    np.testing.assert_allclose(boxes[:4], expected, rtol=1e-5)
    # SSD512: min_size 35.84 and 20.48 for VOC and COCO, the greatest max_size 537.6 and 542.72.
    for model, low, high in (
        (models.SSD512(), 35.84, np.sqrt(0.9 * 1.05) * 512),
        (models.SSD512(default_boxes=COCO_BOXES), 20.48, np.sqrt(0.9 * 1.06) * 512),
    ):
        boxes = model.anchors(512, 512)
        width = boxes[:, 2] - boxes[:, 0]
        np.testing.assert_allclose([width[0], width[-3]], [low, high], rtol=1e-5)


def test_clipping_keeps_centres_or_sides_in_the_image():
    grids = [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    for clip, centre, side in (("none", 1.01, 1.2), ("sides", 1.01, 1.0), ("all", 1.0, 1.0)):
        boxes = models.DefaultBoxes(clip=clip)((300, 300), grids, np.float64) / 300
        size, middle = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        assert (size.max() > 1) == (side > 1)
        assert (middle.max() > 1 + 1e-6) == (centre > 1)
    with pytest.raises(UserError, match="clip='corners'"):
        models.DefaultBoxes(clip="corners")
    with pytest.raises(UserError, match="7 scales for 7 maps"):
        models.DefaultBoxes(ratios=SEVEN_RATIOS)
    assert COCO_300[0] == 0.07


def test_loss_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    model = models.SSD(models.VGG(), num_classes=3, negative_ratio=2.0)
    centre = rng.uniform(0, 60, (40, 2))
    anchors = np.concatenate([centre - 6, centre + 6], 1)
    gt_boxes = np.stack([anchors[[3, 17]] + 1.0, anchors[[5, 9]] - 2.0])
    valid, labels = np.array([[True, True], [True, False]]), np.array([[2, 0], [1, -1]])
    logits, deltas = rng.normal(size=(2, 40, 4)), rng.normal(size=(2, 40, 4))
    entropy = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    expected, matched = {"class": 0.0, "box": 0.0}, 0
    for row in range(2):
        matched_idxs = np.full(40, -1)
        overlaps = box_ops.pairwise(box_ops.iou, *map(jnp.asarray, (gt_boxes[row], anchors)))
        overlaps = np.asarray(overlaps)[valid[row]]
        for i in range(40):
            best = int(np.argmax([o[i] for o in overlaps]))
            matched_idxs[i] = best if overlaps[best][i] >= 0.5 else -1
        for number, overlap in enumerate(overlaps):
            matched_idxs[int(np.argmax(overlap))] = number
        positive = matched_idxs >= 0
        background = sorted(entropy[row, ~positive, 0])[::-1]
        expected["class"] += sum(background[: 2 * positive.sum()])
        matched += positive.sum()
        for i in np.flatnonzero(positive):
            expected["class"] += entropy[row, i, labels[row, matched_idxs[i]] + 1]
            a, b = anchors[i], gt_boxes[row, matched_idxs[i]]
            shift = (b[:2] + b[2:] - a[:2] - a[2:]) / 2 / (a[2:] - a[:2]) / 0.1
            scale = np.log((b[2:] - b[:2]) / (a[2:] - a[:2])) / 0.2
            d = np.abs(deltas[row, i] - np.concatenate([shift, scale]))
            expected["box"] += np.where(d < 1, d * d / 2, d - 0.5).sum()
    outputs = {"class_logits": logits, "box_deltas": deltas, "anchors": anchors}
    outputs = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), outputs)
    targets = Targets(
        boxes=jnp.asarray(gt_boxes, jnp.float32),
        labels=jnp.asarray(labels),
        valid=jnp.asarray(valid),
    )
    terms = model.loss(outputs, targets, jnp.ones(2, bool))
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name][0], value, rtol=1e-4)
        assert terms[name][1] == matched
    nothing = model.loss(outputs, targets, jnp.array([False, False]))
    assert all(float(x) == float(weight) == 0 for x, weight in nothing.values())


def test_sigmoid_scores_have_a_loss_and_a_probability_for_each_class_by_itself():
    model = models.SSDMobileNet(2).clone(max_detections=4)
    logits = jnp.array([[[2.0, -1.0, 0.5], [0.3, 3.0, -2.0]]])
    anchors = jnp.array([[0.0, 0, 10, 10], [20, 20, 40, 40]])
    outputs = {"class_logits": logits, "box_deltas": jnp.zeros((1, 2, 4)), "anchors": anchors}
    boxes, valid = anchors[None, 1:], jnp.ones((1, 1), bool)
    targets = Targets(boxes=boxes, labels=jnp.zeros((1, 1), jnp.int32), valid=valid)
    loss, count = jax.jit(model.loss)(outputs, targets, jnp.ones(1, bool))["class"]
    wanted = np.array([[1, 0, 0], [0, 1, 0]])  # background, and the first class
    p = 1 / (1 + np.exp(-np.asarray(logits[0])))
    expected = -np.log(np.where(wanted, p, 1 - p)).sum()
    np.testing.assert_allclose([loss, count], [expected, 1], rtol=1e-5)
    found = jax.jit(model.detect)(outputs, jnp.array([[64.0, 64.0]]))
    scores = np.sort(found.scores[0][found.valid[0]])[::-1]
    np.testing.assert_allclose(scores, np.sort(p[:, 1:].ravel())[::-1], rtol=1e-5)


def test_a_learned_scale_restores_the_norm():
    x = jax.random.normal(jax.random.key(0), (1, 2, 2, 8))
    y, variables = L2Scale().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=-1), 20, rtol=1e-5)
    assert variables["params"]["scale"].shape == (8,)
