"""Parity of operations on faces: triplets, DeepID2's losses, verification, and between cascades."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.evaluation import verification
from vision_jax.ops import alignment, cascade, losses, normalize, triplets
from vision_jax.ops.pool import adaptive_avg_pool

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


@BOTH
def test_normalise(kind):
    case = Case("faces", "normalise", kind)

    def normalised(x):
        return normalize.l2_normalize(x, case.args["eps"] ** 0.5)

    case.check("y", normalised(case["x"]))
    gradient = jax.grad(lambda x: jnp.sum(normalised(x) * case["grad_weight"]))(case["x"])
    case.check("grad_x", gradient)


@BOTH
def test_prewhiten(kind):
    case = Case("faces", "prewhiten", kind)
    case.check("y", normalize.prewhiten(case["x"]))


# -------------------------------------------------------------------------------------- triplets


@BOTH
def test_triplets_that_are_given(kind):
    case = Case("faces", "triplet_given", kind)

    def loss(*rows):
        return losses.triplet(*rows, case.args["alpha"]).mean()

    rows = case["a"], case["p"], case["n"]
    case.check("y", loss(*rows))
    for name, gradient in zip("apn", jax.grad(loss, (0, 1, 2))(*rows), strict=True):
        case.check(f"grad_{name}", gradient)


def squared(x):
    return triplets.squared_distances(normalize.l2_normalize(x))


@BOTH
@pytest.mark.parametrize("rule", ["all", "semihard", "hard"])
def test_mined_triplets(rule, kind):
    case = Case("faces", f"mine_{rule}", kind)
    labels, margin = case["labels"], case.args["margin"]
    chosen = triplets.mined_triplets(squared(case["x"]), labels, margin, rule)
    case.check("triplets", np.argwhere(chosen))

    def loss(x, over_nonzero=False):
        distance = squared(x)
        gap = distance[:, :, None] - distance[:, None] + margin
        terms = jnp.where(chosen, jnp.maximum(gap, 0), 0)
        counted = terms > 0 if over_nonzero else chosen
        return terms.sum() / counted.sum()

    case.check("loss", loss(case["x"]))
    case.check("loss_over_nonzero", loss(case["x"], True))
    case.check("grad_x", jax.grad(loss)(case["x"]))


@BOTH
def test_the_hardest_triplets(kind):
    case = Case("faces", "mine_batch_hard", kind)
    chosen = triplets.hardest_triplets(squared(case["x"]), case["labels"])
    rows = np.flatnonzero(chosen.valid)
    found = np.stack([rows, np.asarray(chosen.positive)[rows], np.asarray(chosen.negative)[rows]])
    case.check("triplets", found.T[np.lexsort(found[::-1])])

    def loss(x):
        x = normalize.l2_normalize(x)
        terms = losses.triplet(
            x, x[chosen.positive], x[chosen.negative], case.args["margin"], chosen.valid
        )
        return terms.sum() / chosen.valid.sum()

    case.check("loss", loss(case["x"]))
    case.check("grad_x", jax.grad(loss)(case["x"]))


@BOTH
def test_tensorflows_semi_hard_triplets(kind):
    case = Case("faces", "tf_semihard_loss", kind)
    labels = case["labels"]
    chosen = triplets.semi_hard_negatives(squared(case["x"]), labels)
    anchor, positive = np.nonzero(chosen.valid)
    case.check(
        "triplets", np.stack([anchor, positive, np.asarray(chosen.negative)[chosen.valid]], 1)
    )

    def loss(x):
        terms, valid = losses.semi_hard_triplets(
            normalize.l2_normalize(x), labels, case.args["margin"]
        )
        return terms.sum() / valid.sum()

    case.check("loss", loss(case["x"]))
    case.check("grad_x", jax.grad(loss)(case["x"]))


# --------------------------------------------------------------------------------------- DeepID2


@BOTH
def test_deepid2s_verification_loss(kind):
    case = Case("faces", "deepid2_verification", kind)

    def loss(one, two):
        return losses.verification(one, two, case["same"] > 0, case.args["m"]).mean()

    pair = case["fi"], case["fj"]
    case.check("y", loss(*pair))
    for name, gradient in zip(("fi", "fj"), jax.grad(loss, (0, 1))(*pair), strict=True):
        case.check(f"grad_{name}", gradient)


@BOTH
def test_deepid2s_joint_loss(kind):
    case = Case("faces", "deepid2_joint", kind)

    def loss(one, two, w, b):
        identity = losses.cross_entropy(one @ w.T + b[None], case["ids"]).mean()
        same = losses.verification(one, two, case["same"] > 0, case.args["m"]).mean()
        return identity + case.args["lambda"] * same

    inputs = case["fi"], case["fj"], case["w"], case["b"]
    case.check("y", loss(*inputs))
    gradients = jax.grad(loss, (0, 1, 2, 3))(*inputs)
    for name, gradient in zip(("fi", "fj", "w", "b"), gradients, strict=True):
        case.check(f"grad_{name}", gradient)


@BOTH
def test_online_hard_examples(kind):
    case = Case("faces", "ohem_cross_entropy", kind)

    def loss(logits):
        terms = losses.cross_entropy(logits, case["target"])
        kept = cascade.hard_examples(terms, jnp.ones(terms.shape, bool), case.args["ratio"])
        return jnp.where(kept, terms, 0).sum() / kept.sum(), kept.sum()

    (value, count), gradient = jax.value_and_grad(loss, has_aux=True)(case["logits"])
    case.check("loss", value)
    case.check("kept", count)
    case.check("grad_logits", gradient)


# ---------------------------------------------------------------------------------- verification


@pytest.mark.parametrize("name", cases("faces", "verification"))
def test_verification(name):
    case = Case("faces", name)
    one, two = (np.asarray(case[key], np.float64) for key in ("one", "two"))
    same, args = np.asarray(case["same"]), case.args
    distance = ("euclidean", "cosine")[args["distance_metric"]]
    found = verification.ten_folds(
        one, two, same, args["far_target"], distance, args["subtract_mean"], args["folds"]
    )
    distances = verification.pair_distances(one, two, distance)
    names = {"val_grid": "val", "far_grid": "far", "val_thresholds": "threshold"}
    found |= {theirs: found[ours] for theirs, ours in names.items()}
    found |= {"mean_accuracy": found["accuracy"].mean(), "distance": distances}
    if "auc" in case.meta["outputs"]:
        curve = verification.roc(distances, same)
        found |= {"sklearn_fpr": curve["fpr"], "sklearn_tpr": curve["tpr"]}
        found |= {"auc": curve["auc"], "eer": curve["eer"]}
    for key in case.meta["outputs"]:
        if key != "sklearn_thresholds":
            close(case, key, found[key])


def close(case, key, value):
    """Compares with float64 results, which both sides compute in another order."""
    expected = case.file[f"{case.name}/out/{key}"]
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9, err_msg=key)


# --------------------------------------------------------------------------------------- cascade


@pytest.mark.parametrize("name", cases("faces", "nms"))
def test_suppression_with_inclusive_sides(name):
    case = Case("faces", name)
    boxes, scores = case["boxes"], case["score"]
    kept = cascade.suppress_inclusive(
        boxes, scores, case.args["threshold"], jnp.ones(len(scores), bool),
        of_smaller=case.args["method"] == "Min",
    )  # fmt: skip
    case.check("y", np.asarray(kept.index)[np.asarray(kept.valid)].astype(np.int64))


@BOTH
@pytest.mark.parametrize("name", ["rerec", "bbreg"])
def test_boxes_between_stages(name, kind):
    case = Case("faces", name, kind)
    if name == "rerec":
        case.check("y", cascade.square_boxes(case["boxes"]))
    else:
        case.check("y", cascade.refine_boxes(case["boxes"], case["reg"]))


def test_pixels_of_boxes():
    case = Case("faces", "pad")
    case.check("y", cascade.pixel_spans(case["boxes"], case.args["h"], case.args["w"]))


def test_windows_of_a_level():
    case = Case("faces", "generate_boxes")
    scores, deltas = case["prob"][0], jnp.moveaxis(case["reg"][0], 0, -1)
    rows, chosen = cascade.face_windows(scores, deltas, case.args["scale"], case.args["threshold"])
    case.check("y", np.asarray(rows)[np.asarray(chosen)])


@BOTH
@pytest.mark.parametrize("name", cases("faces", "resize_area"))
def test_area_interpolation_is_adaptive_pooling(name, kind):
    case = Case("faces", name, kind)
    size = tuple(case.meta["outputs"]["y"]["shape"][2:])
    pooled = adaptive_avg_pool(jnp.moveaxis(case["x"], 1, -1), size)
    case.check("y", jnp.moveaxis(pooled, -1, 1))


def test_similarity_transform():
    case = Case("faces", "similarity_transform", np.float64)
    with jax.enable_x64(True):
        matrix = alignment.similarity_transform(case["points"], case["template"])
    close(case, "y", matrix)
