"""Parity of set prediction with DETR's own code; see `golden_ops`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.ops import losses
from vision_jax.ops.positions import sine_positions
from vision_jax.ops.set_prediction import (
    cardinality_error,
    decode_set,
    mask_dice_loss,
    match_set,
    matching_cost,
    set_losses,
)

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


def padded(case):
    """The objects of all images, padded to the longest list: boxes, labels, valid."""
    counts = case.args["counts"]
    longest, start = max(counts), 0
    boxes, labels = (
        np.zeros((len(counts), longest, 4), case.kind),
        np.full((len(counts), longest), -1),
    )
    for image, count in enumerate(counts):
        boxes[image, :count] = case["truth"][start : start + count]
        labels[image, :count] = case["labels"][start : start + count]
        start += count
    valid = np.arange(longest) < np.array(counts)[:, None]
    return jnp.asarray(boxes), jnp.asarray(labels), jnp.asarray(valid)


@pytest.mark.parametrize("name", cases("set_prediction", "sine"))
def test_positions(name):
    case = Case("set_prediction", name)
    got = sine_positions(case["mask"] == 0, case.args["num_pos_feats"], case.args["normalize"])
    got = np.moveaxis(np.asarray(got), -1, 1).reshape(-1)
    info = case.meta["outputs"]["y"]
    assert got.size == np.prod(info["shape"])
    # Angles reach 12, so that float32 knows them to 1e-6; the reference is in float32 as well.
    expected = case.file[f"{name}/out/y"]
    np.testing.assert_allclose(got[:: info["stride"]], expected.reshape(-1), rtol=0, atol=2e-6)


@BOTH
@pytest.mark.parametrize("name", cases("set_prediction", "match"))
def test_matching(name, kind):
    case = Case("set_prediction", name, kind)
    weights = [float(case.args[f"cost_{word}"]) for word in ("class", "bbox", "giou")]
    every = jax.vmap(matching_cost, (0, 0, None, None, None, None, None))(
        case["logits"], case["boxes"], case["truth"], case["labels"], *weights
    )
    case.check("cost", every)
    gt_boxes, gt_labels, valid = padded(case)
    cost = jax.vmap(matching_cost)(case["logits"], case["boxes"], gt_boxes, gt_labels)
    matched = np.asarray(jax.jit(jax.vmap(match_set))(cost, valid))
    for image in range(len(case.args["counts"])):
        queries = np.flatnonzero(matched[image] >= 0)
        case.check(f"queries{image}", queries)
        case.check(f"objects{image}", matched[image][queries])


@BOTH
@pytest.mark.parametrize("name", cases("set_prediction", "losses"))
def test_losses(name, kind):
    case = Case("set_prediction", name, kind)
    gt_boxes, gt_labels, valid = padded(case)
    layers, objects = case.args["layers"], max(sum(case.args["counts"]), 1)
    predictions = [(case[f"logits{i}"], case[f"boxes{i}"]) for i in range(layers)]

    def per_layer(logits, boxes):
        cost = jax.vmap(matching_cost)(logits, boxes, gt_boxes, gt_labels)
        matched = jax.vmap(match_set)(cost, valid)
        got = jax.vmap(set_losses)(logits, boxes, gt_boxes, gt_labels, matched)
        return {
            "loss_ce": got.classes.sum() / got.class_weights.sum(),
            "loss_bbox": got.boxes.sum() / objects,
            "loss_giou": got.giou.sum() / objects,
        }, matched

    def total(predictions):
        terms = [per_layer(*layer)[0] for layer in predictions]
        return sum(t["loss_ce"] + 5 * t["loss_bbox"] + 2 * t["loss_giou"] for t in terms)

    value, grads = jax.jit(jax.value_and_grad(total))(predictions)
    case.check("total", value)
    for i, (logits, boxes) in enumerate(predictions):
        case.check(f"grad_logits{i}", grads[i][0])
        case.check(f"grad_boxes{i}", grads[i][1])
        suffix = "" if i == layers - 1 else f"_{i}"
        for key, term in per_layer(logits, boxes)[0].items():
            case.check(key + suffix, term)
        error = jax.vmap(cardinality_error)(logits, valid)
        expected = case.file[f"{name}/out/cardinality_error{suffix}"]
        assert np.mean(error) == pytest.approx(float(expected), rel=1e-6)


@BOTH
@pytest.mark.parametrize("name", cases("set_prediction", "dice", "mask_focal"))
def test_mask_losses(name, kind):
    case = Case("set_prediction", name, kind)
    targets = case["t"].reshape(5, 6, 8)

    def loss(x):
        logits = x.reshape(5, 6, 8)
        if name == "dice_loss":
            return mask_dice_loss(logits, targets).sum() / case.args["num_boxes"]
        alpha, gamma = case.args["alpha"], float(case.args["gamma"])
        focal = losses.sigmoid_focal(logits, targets, alpha, gamma)
        return focal.mean((1, 2)).sum() / case.args["num_boxes"]

    case.check("y", loss(case["x"]))
    case.check("grad_x", jax.grad(loss)(case["x"]))


@BOTH
def test_post_process(kind):
    case = Case("set_prediction", "post_process", kind)
    sizes = case["sizes_hw"].astype(kind)
    got = jax.vmap(decode_set)(case["logits"], case["boxes"], sizes)
    for key in ("scores", "labels", "boxes"):
        case.check(key, getattr(got, key))
