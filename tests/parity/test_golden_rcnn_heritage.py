"""Parity of R-CNN's crops, classifiers and regressors; see `golden_ops`."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.ops import boxes as box_ops
from vision_jax.ops.nms import nms
from vision_jax.ops.roi_crop import rcnn_crops, rcnn_windows
from vision_jax.tasks.box_ridge import ridge_boxes
from vision_jax.tasks.linear_svm import HardNegatives, LinearSvm
from vision_jax.tasks.region_solvers import scale_to_norm

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]
FAMILY = "rcnn"
INCLUSIVE = jnp.array([[0.0, 0.0, 1.0, 1.0]])  # from inclusive ends to ours
# What was worked out by hand is stored in float64 alone.
DOUBLE = pytest.mark.parametrize("kind", [np.float64])
FLOAT32_CROPS = 1e-4  # how near the file says a float32 version of the reference is
PLAIN = (1.0, 1.0, 1.0, 1.0)


@BOTH
def test_inclusive_overlap(kind):
    case = Case(FAMILY, "overlap_inclusive", kind)
    a, b = (case[key] + INCLUSIVE.astype(kind) for key in "ab")
    case.check("y", box_ops.pairwise(box_ops.iou, a, b))


@BOTH
@pytest.mark.parametrize("name", cases(FAMILY, "nms"))
def test_inclusive_suppression(name, kind):
    case = Case(FAMILY, name, kind)
    boxes = case["boxes"] + INCLUSIVE.astype(kind)
    got = nms(boxes, case["scores"], case.args["threshold"], len(boxes))
    case.check("y", np.asarray(got.index)[np.asarray(got.valid)])


@BOTH
@pytest.mark.parametrize("name", cases(FAMILY, "crop"))
def test_crops(name, kind):
    case = Case(FAMILY, name, kind)
    image = case["image"].astype(kind)
    boxes = case["boxes"] - jnp.array([[1, 1, 0, 0]], kind)  # counted from 1 there
    settings = case.args["size"], case.args["padding"], case.args["square"]
    content = jnp.array(image.shape[:2], kind)
    window, placed = rcnn_windows(boxes, *settings, content)
    corner, end = np.asarray(placed[:, :2]), np.asarray(placed[:, 2:])
    as_stored = [window + jnp.array([[1, 1, 0, 0]]), corner, end - corner]
    case.check("placed", np.concatenate(as_stored, 1).astype(np.int64))
    crops = np.array(rcnn_crops(image, boxes, *settings))
    if "mean" in case.meta["inputs"]:
        for i, (x0, y0, x1, y1) in enumerate(placed.tolist()):
            crops[i, y0:y1, x0:x1] -= np.asarray(case["mean"])[y0:y1, x0:x1]
    if kind is np.float64:
        case.check("crops", crops)
        return
    info, expected = case.meta["outputs"]["crops"], case.file[f"{name}/out/crops"].reshape(-1)
    crops = crops.reshape(-1)[:: info["stride"]]
    np.testing.assert_allclose(crops, expected, rtol=0, atol=FLOAT32_CROPS)


@DOUBLE
def test_regression_targets(kind):
    case = Case(FAMILY, "targets", kind)
    case.check("y", box_ops.encode(case["truth"], case["boxes"], PLAIN))


@DOUBLE
@pytest.mark.parametrize("name", cases(FAMILY, "regressor"))
def test_regressor(name, kind):
    case = Case(FAMILY, name, kind)
    targets = box_ops.encode(case["truth"], case["boxes"], PLAIN)
    found = ridge_boxes(np.asarray(case["x"]), np.asarray(targets), case.args["lambda"])
    for key in ("mean", "whiten", "unwhiten", "beta"):
        case.check(key, found._asdict()[key])
    kernel, bias = found.layer
    deltas = np.asarray(case["more"]) @ kernel + bias
    case.check("deltas", deltas)
    case.check("boxes", box_ops.decode(jnp.asarray(deltas), case["more_boxes"], PLAIN))


def test_a_regressor_of_few_examples_is_the_same():
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(20, 8)), rng.normal(size=(20, 4))
    wide = np.concatenate([x, np.zeros((20, 30))], 1)
    few, many = (ridge_boxes(each, targets, 3.0).layer for each in (wide, x))
    np.testing.assert_allclose(few[0][:8], many[0], atol=1e-12)
    np.testing.assert_allclose(few[1], many[1], atol=1e-12)


@BOTH
def test_scaled_features(kind):
    case = Case(FAMILY, "scaled_features", kind)
    raw = np.asarray(case["raw"])
    case.check("y", raw * kind(scale_to_norm(np.linalg.norm(raw, axis=1))))


@DOUBLE
@pytest.mark.parametrize("name", cases(FAMILY, "svm"))
def test_svm(name, kind):
    case = Case(FAMILY, name, kind)
    args = case.args
    svm = LinearSvm(args["C"], args["bias_multiplier"], args["positive_weight"], 1e-10, 1_000_000)
    x, positive = np.asarray(case["x"]), np.asarray(case["y"]) > 0
    w, b = svm.fit(x, positive)
    case.check("w", w)
    case.check("b", np.array([b]))
    case.check("decision", np.asarray(case["test"]) @ w + b)
    loss = np.maximum(0, 1 - np.where(positive, 1, -1) * (x @ w + b))
    loss = np.where(positive, svm.positive_weight, 1) * loss
    objective = svm.c * loss.sum() + (w @ w + (b / svm.bias) ** 2) / 2
    case.check("objective", np.array([objective]))


@DOUBLE
def test_mining(kind):
    case = Case(FAMILY, "mining", kind)
    args, counts = case.args, np.asarray(case["counts"])
    mining = HardNegatives(
        LinearSvm(tolerance=1e-10, iterations=1_000_000),
        np.asarray(case["positives"]),
        args["retrain_limit"],
        args["hard_above"],
        args["evict_below"],
    )
    ends = np.cumsum(counts)
    images = [np.split(np.asarray(case[key]), ends[:-1]) for key in ("features", "overlap")]
    for i, (features, overlap) in enumerate(zip(*images, strict=True)):
        mining.see(i, features, overlap < args["overlap_below"], last=i == len(counts) - 1)
    case.check("w", mining.weights)
    case.check("b", np.array([mining.offset]))
    case.check("log", np.array(mining.updates))
    first = ends - counts
    case.check("cache", np.array(sorted(first[image] + place for image, place in mining.cached)))
