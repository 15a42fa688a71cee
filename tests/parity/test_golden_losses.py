"""Parity of losses, by themselves and as detectors put them together; see `golden_ops`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.ops import assign, boxes, losses, masks, sampling

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


def total(loss):
    """Summed in float64: an op's rounding is in question, not that of one long float32 sum."""
    return np.asarray(loss, np.float64).sum()


def check_loss(case, function, argument, count=1):
    """The sum over `count` of unreduced losses, and its gradient with respect to one input."""
    case.check("y", total(function(case[argument])) / count)
    grad = jax.grad(lambda x: function(x).sum() / count)(case[argument])
    case.check(f"grad_{argument}", grad)


@BOTH
@pytest.mark.parametrize("name", cases("losses", "cross_entropy"))
def test_cross_entropy(name, kind):
    case = Case("losses", name, kind)
    labels, smoothing = case["labels"], case.args.get("label_smoothing", 0.0)

    known = int(jnp.sum(labels != case.args.get("ignore_index", -1)))

    def loss(logits):
        return losses.cross_entropy(jnp.moveaxis(logits, 1, -1), labels, smoothing)

    check_loss(case, loss, "logits", known)


@BOTH
@pytest.mark.parametrize("name", cases("losses", "smooth_l1", "focal"))
def test_elementwise_losses(name, kind):
    case = Case("losses", name, kind)
    if name.startswith("focal"):
        alpha, gamma = case.args["alpha"], case.args["gamma"]
        check_loss(case, lambda x: losses.sigmoid_focal(x, case["t"], alpha, gamma), "x")
    else:
        check_loss(case, lambda x: losses.smooth_l1(x, case["y"], case.args["beta"]), "x")


@BOTH
@pytest.mark.parametrize("name", ["generalized", "distance", "complete"])
def test_overlap_losses(name, kind):
    case = Case("losses", f"{name}_box_iou_loss", kind)
    function = getattr(losses, f"{name[0]}iou_loss")
    check_loss(case, lambda a: function(a, case["b"]), "a")


@BOTH
def test_fastrcnn_loss(kind):
    case = Case("losses", "fastrcnn_loss", kind)
    classes = case["classes"]
    case.check("classifier", total(losses.cross_entropy(case["logits"], classes)) / 24)
    deltas = case["deltas"].reshape(24, 5, 4)[jnp.arange(24), classes]
    positive = jnp.broadcast_to((classes > 0)[:, None], (24, 4))
    distance = losses.smooth_l1(deltas, case["targets"], 1 / 9, positive)
    case.check("box_reg", total(distance) / 24)


@BOTH
def test_maskrcnn_loss(kind):
    case = Case("losses", "maskrcnn_loss", kind)
    matched = case["matched"].astype(jnp.int32)
    targets = masks.crop_masks(case["masks"], case["boxes"], matched, (14, 14))
    logits = case["logits"][jnp.arange(8), case["labels"][matched]]
    case.check("y", total(losses.binary_cross_entropy(logits, targets)) / logits.size)


@BOTH
def test_keypointrcnn_loss(kind):
    case = Case("losses", "keypointrcnn_loss", kind)
    target = masks.keypoint_targets(case["points"][case["matched"]], case["boxes"], 14)
    logits = case["logits"].reshape(8, 5, 196)
    loss = losses.cross_entropy(logits, target.cell, mask=target.valid)
    case.check("y", total(loss) / int(target.valid.sum()))


@BOTH
def test_rpn_loss(kind):
    case = Case("losses", "rpn_loss", kind)
    truth, regions = case["truth"], case["anchors"]
    matching = assign.match(truth, jnp.ones(3, bool), regions, 0.7, 0.3, True)
    labels = jnp.where(matching >= 0, 1.0, jnp.where(matching == assign.BACKGROUND, 0.0, -1.0))
    case.check("labels", labels.astype(kind))
    targets = boxes.encode(truth[jnp.maximum(matching, 0)], regions, (1.0, 1.0, 1.0, 1.0))
    case.check("targets", targets)
    counted = matching != assign.IGNORED
    objectness = losses.binary_cross_entropy(
        case["objectness"][:, 0], jnp.clip(labels, 0, 1).astype(kind), counted
    )
    case.check("objectness", total(objectness) / int(counted.sum()))
    positive = jnp.broadcast_to((matching >= 0)[:, None], (150, 4))
    distance = losses.smooth_l1(case["deltas"], targets, 1 / 9, positive)
    case.check("box", total(distance) / int(counted.sum()))


@BOTH
def test_ssd_loss(kind):
    case = Case("losses", "ssd_loss", kind)
    regions, totals, matched = case["anchors"], [0.0, 0.0], 0
    for i in range(2):
        truth, logits = case[f"truth{i}"], case["logits"][i]
        matching = assign.match_ssd(truth, jnp.ones(len(truth), bool), regions)
        case.check(f"matched{i}", matching)
        positive, owner = matching >= 0, jnp.maximum(matching, 0)
        targets = boxes.encode(truth[owner], regions)
        wide = jnp.broadcast_to(positive[:, None], targets.shape)
        totals[0] += total(losses.smooth_l1(case["deltas"][i], targets, 1.0, wide))
        labels = jnp.where(positive, case[f"labels{i}"][owner], 0)
        loss = losses.cross_entropy(logits, labels)
        counted = positive | sampling.hard_negatives(loss, positive)
        totals[1] += total(jnp.where(counted, loss, 0))
        matched += int(positive.sum())
    case.check("bbox_regression", totals[0] / max(matched, 1))
    case.check("classification", totals[1] / max(matched, 1))
