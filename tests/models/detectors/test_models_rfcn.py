"""R-FCN's parts, each against a slow loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.detectors import tiny_detectors
from vision_jax import models
from vision_jax.config import UserError
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.assign import BACKGROUND, IGNORED
from vision_jax.structs import Targets

SIDE, CLASSES = tiny_detectors.SIDE, tiny_detectors.CLASSES


def maps_alone(**changes):
    """Makes score maps of 2x2 parts behind nothing, with their parameters for two classes."""
    maps = models.ScoreMaps(**{"body": None, "width": 6, "bins": 2} | changes)
    x = jax.random.normal(jax.random.key(1), (1, 6, 7, 5))
    boxes = jnp.array([[[0, 0, 64, 48], [10, 20, 70, 90], [100, 80, 112, 96.0]]])
    variables = maps.init(jax.random.key(0), x, boxes, 16, 2)
    large = jax.tree.map(lambda a: 30 * a, variables)
    return maps, large, x, boxes


def test_a_region_scores_the_mean_of_its_parts_own_maps():
    maps, variables, x, boxes = maps_alone()
    found = maps.apply(variables, x, boxes, 16, 2)
    scores, offsets = (np.asarray(found[n][0]) for n in ("score_maps", "box_maps"))
    for region, (x0, y0, x1, y1) in enumerate(np.asarray(boxes[0])):
        for name, given, outputs in (("class_logits", scores, 3), ("box_deltas", offsets, 4)):
            votes = np.zeros((2, 2, outputs))
            for i in range(2):
                for j in range(2):
                    rows = slice(
                        int(y0 / 16 + i * (y1 - y0) / 32),
                        -int(-(y0 / 16 + (i + 1) * (y1 - y0) / 32) // 1),
                    )
                    columns = slice(
                        int(x0 / 16 + j * (x1 - x0) / 32),
                        -int(-(x0 / 16 + (j + 1) * (x1 - x0) / 32) // 1),
                    )
                    for c in range(outputs):
                        votes[i, j, c] = given[rows, columns, (c * 2 + i) * 2 + j].mean()
            ours = np.asarray(found[name])[0, region].reshape(-1)
            np.testing.assert_allclose(ours, votes.mean((0, 1)), rtol=1e-4, atol=1e-5)
    assert found["part_scores"].shape == (1, 3, 2, 2, 3)


@pytest.mark.parametrize("rule", ["released", "pool", "align"])
def test_all_rules_agree_where_maps_are_flat(rule):
    maps, variables, x, boxes = maps_alone(rule=rule)
    found = maps.apply(variables, jnp.ones_like(x), boxes, 16, 2)
    flat = np.asarray(found["score_maps"])[0, 0, 0].reshape(3, 4).mean(1)
    np.testing.assert_allclose(found["class_logits"][0, 0], flat, rtol=1e-5)
    assert found["box_deltas"].shape == (1, 3, 1, 4)


def truth(*boxes):
    boxes = jnp.asarray([list(boxes)], jnp.float32)
    labels = jnp.arange(boxes.shape[1], dtype=jnp.int32)[None]
    return Targets(boxes=boxes, labels=labels, valid=jnp.ones(labels.shape, bool))


def test_the_loss_is_that_of_the_hardest_regions():
    rng = np.random.default_rng(0)
    head = models.BoxHead(
        class_specific=False, hard_examples=True, batch_size_per_image=4, beta=1.0
    )
    targets = truth([4, 4, 30, 30], [20, 10, 60, 50])
    rois = jnp.asarray(rng.uniform(0, 30, (1, 12, 4)) + np.array([0, 0, 30, 30]), jnp.float32)
    idxs = np.array([[0, BACKGROUND, 1, BACKGROUND, IGNORED, *[BACKGROUND] * 5, 0, 1]])
    logits = rng.normal(size=(1, 12, 4)).astype(np.float32) * 3
    deltas = rng.normal(size=(1, 12, 1, 4)).astype(np.float32)
    outputs = {"rois": rois, "roi_matched_idxs": jnp.asarray(idxs)}
    outputs |= {"roi_class_logits": jnp.asarray(logits), "roi_box_deltas": jnp.asarray(deltas)}
    terms = head.loss(outputs, targets, jnp.ones(1, bool))
    each = []
    for region, owner in enumerate(idxs[0]):
        if owner == IGNORED:
            continue
        label = owner + 1 if owner >= 0 else 0
        row = np.float64(logits[0, region])
        own, box = np.log(np.exp(row - row[label]).sum()), 0.0
        if owner >= 0:
            target = box_ops.encode(targets.boxes[0, owner], rois[0, region])
            away = np.abs(np.float64(deltas[0, region, 0]) - np.float64(target))
            box = np.where(away < 1, 0.5 * away**2, away - 0.5).sum()
        each.append((own + box, own, box))
    hardest = sorted(each, reverse=True)[:4]
    sums = np.sum(hardest, 0)
    np.testing.assert_allclose(terms["roi_class"], (sums[1], 4), rtol=1e-5)
    np.testing.assert_allclose(terms["roi_box"], (sums[2], 4), rtol=1e-5)
    alone = head.loss(outputs, targets, jnp.zeros(1, bool))
    assert [float(x) for term in alone.values() for x in term] == [0, 0, 0, 0]


def test_all_regions_and_objects_are_candidates_for_hard_examples():
    model = tiny_detectors.rfcn()
    images, sizes = jnp.zeros((1, SIDE, SIDE, 3)), jnp.full((1, 2), float(SIDE))
    targets = truth([8, 8, 30, 40])

    def run(key):
        return model.init_with_output(key, images, sizes, targets, train=True, keys=key[None])[0]

    shapes = jax.eval_shape(run, jax.random.key(0))
    assert shapes["rois"].shape == (1, 61, 4)
    assert shapes["roi_class_logits"].shape == (1, 61, CLASSES + 1)
    assert shapes["score_maps"].shape == (1, 8, 8, 9 * (CLASSES + 1))


def test_released_boxes_end_a_pixel_later():
    plain = models.RPN(anchor_sizes=((16.0,),), anchor_rounding="original")
    released = plain.clone(released_boxes=True)
    for rpn, end in ((plain, 15.0), (released, 16.0)):
        (anchors,) = rpn.anchors((32, 32), [(2, 2)], [16])
        assert anchors[1].tolist() == [0, 0, end, end]
    anchors = (jnp.array([[4.0, 4, 20, 20]]),)
    deltas, sizes = jnp.zeros((1, 1, 4)), jnp.array([[32.0, 32]])
    found = released.propose(jnp.ones((1, 1)), deltas, anchors, sizes)
    assert found.boxes[0, 0].tolist() == [4, 4, 21, 21]


def test_two_outputs_per_anchor_are_one_logit():
    rpn = models.RPN(anchor_sizes=((8.0, 16.0),), outputs_per_anchor=2, width=4)
    x = (jax.random.normal(jax.random.key(0), (1, 3, 5, 4)),)
    logits, variables = rpn.init_with_output(jax.random.key(1), x)
    kernel = variables["params"]["cls_logits"]["kernel"]
    assert kernel.shape == (1, 1, 4, 12)
    single = rpn.clone(outputs_per_anchor=1)
    halves = jnp.split(kernel, 2, -1)
    params = variables["params"] | {
        "cls_logits": {"kernel": halves[1] - halves[0], "bias": jnp.zeros(6)}
    }
    np.testing.assert_allclose(logits[0], single.apply({"params": params}, x)[0], atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"mask": models.MaskHead()}, {"head": models.BoxHead()}], ids=["mask", "box"]
)
def test_heads_that_it_has_not_are_refused(change):
    model = tiny_detectors.rfcn().clone(**change)
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    with pytest.raises(UserError, match="R-FCN has no mask and no keypoint head, and one box"):
        jax.eval_shape(model.init, jax.random.key(0), image, jnp.zeros((1, 2)))


def test_conv5_is_dilated_from_its_first_block_on():
    model = models.RFCNResNet50()
    maps = model.score_maps
    assert maps.body.dilations == (2, 2, 2)
    x, boxes = jnp.zeros((1, 7, 9, 1024)), jnp.zeros((1, 3, 4))
    found, made = jax.eval_shape(
        lambda key: maps.init_with_output(key, x, boxes, 16, 20), jax.random.key(0)
    )
    assert found["score_maps"].shape == (1, 7, 9, 1029)
    assert found["box_maps"].shape == (1, 7, 9, 196)
    assert made["params"]["body"]["conv5_1"]["conv3"]["conv"]["kernel"].shape[-1] == 2048
