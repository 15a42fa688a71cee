"""Parity of ops and evaluation with stored outputs of the reference implementations.

Every case runs in float32, within 10 times the reference's own float32 noise, and in float64, where
1e-9 of the greatest value (or the rounding with which the file stores it) must do. Integers, and
values that the reference itself computes without rounding, are exact.
"""

import functools
import importlib.util
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.ops import anchors, assign, boxes, losses, masks, sampling
from vision_jax.ops.nms import ClassSelection, nms, nms_classes
from vision_jax.ops.roi_align import ps_roi_align, pyramid_level, roi_align, roi_align_pyramid
from vision_jax.ops.roi_pool import ps_roi_pool, roi_pool

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden"))
pytestmark = pytest.mark.golden
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])


def seeded():
    path = Path(__file__).parents[1] / "golden" / "seeded.py"
    spec = importlib.util.spec_from_file_location("golden_seeded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def golden(name):
    return seeded().Golden(FOLDER / name)


def cases(family, *words):
    """Names of the cases that begin with one of the words (all without words)."""
    path = FOLDER / "ops" / f"{family}.npz"
    names = golden(f"ops/{family}.npz").meta["cases"] if path.exists() else []
    return [n for n in names if not words or n.startswith(words)]


class Case:
    """One case's inputs, in the dtype wanted, and the comparison of its outputs."""

    def __init__(self, family, name, kind=np.float32):
        self.file, self.name, self.kind = golden(f"ops/{family}.npz"), name, kind
        self.meta = self.file.meta["cases"][name]
        self.args = self.meta["args"]

    def __getitem__(self, key):
        value = self.file[self.meta["inputs"][key]]
        return jnp.asarray(value.astype(self.kind) if value.dtype.kind == "f" else value)

    def check(self, key, got):
        info, wanted = self.meta["outputs"][key], self.file[f"{self.name}/out/{key}"]
        got = np.asarray(got)
        assert list(got.shape) == info["shape"]
        got = got.reshape(-1)[:: info["stride"]]
        wanted = wanted.reshape(-1)
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(got, wanted)
            return
        assert got.dtype in (self.kind, np.float64)
        noise = info.get("float32_max_abs_diff", 0.0)
        greatest = float(np.abs(wanted).max(initial=0))
        # The file's own rounding; and no float32 is nearer to a number than half its spacing.
        coarser = np.float32 if self.kind is np.float32 else wanted.dtype
        stored = np.finfo(coarser).eps / 2 * greatest
        allowed = 10 * noise if self.kind is np.float32 else 1e-9 * greatest
        np.testing.assert_allclose(got, wanted, rtol=0, atol=max(allowed, stored))


@pytest.fixture(autouse=True)
def _precision(request):
    """Float64 where a test asks for it."""
    kind = getattr(request.node, "callspec", None)
    wide = kind is not None and kind.params.get("kind") is np.float64
    with jax.enable_x64(wide):
        yield


# ---------------------------------------------------------------------------------------- boxes


@BOTH
@pytest.mark.parametrize("name", cases("boxes"))
def test_boxes(name, kind):
    case = Case("boxes", name, kind)
    pairs = {
        "box_iou": boxes.iou,
        "generalized_box_iou": boxes.giou,
        "distance_box_iou": boxes.diou,
        "complete_box_iou": boxes.ciou,
    }
    if name in pairs:
        got = boxes.pairwise(pairs[name], case["x"], case["y"])
    elif name == "box_area":
        got = boxes.area(case["x"])
    elif name.startswith("box_convert"):
        got = boxes.convert(case["x"], case.args["in_fmt"], case.args["out_fmt"])
    elif name == "clip":
        got = boxes.clip(case["x"], *case.args["size_hw"])
    elif name == "remove_small":
        got = np.flatnonzero(boxes.large_enough(case["x"], case.args["min_size"]))
    elif name.startswith("encode"):
        got = boxes.encode(case["truth"], case["proposals"], tuple(case.args["weights"]))
    else:
        deltas = case["deltas"].reshape(50, 3, 4)
        proposals = jnp.broadcast_to(case["proposals"][:, None], deltas.shape)
        got = boxes.decode(deltas, proposals, tuple(case.args["weights"])).reshape(50, 12)
    case.check("y", got)


# -------------------------------------------------------------------------------------- anchors


@pytest.mark.parametrize("name", cases("anchors"))
def test_anchors(name):
    case = Case("anchors", name)
    image, grids = tuple(case.args["image_hw"]), tuple(tuple(g) for g in case.args["grids_hw"])
    if "sizes" in case.args:
        levels = anchors.pyramid_anchors(
            case.args["sizes"], case.args["aspect_ratios"], image, grids
        )
        got = jnp.concatenate(levels)
    else:
        scales = case.args.get("scales") or anchors.ssd_scales(
            len(grids), case.args["min_ratio"], case.args["max_ratio"]
        )
        ratios, steps = case.args["aspect_ratios"], case.args.get("steps")
        got = anchors.ssd_boxes(scales, ratios, image, grids, steps)
    case.check("y", got)


# ------------------------------------------------------------------------------------- matching


@pytest.mark.parametrize("name", cases("matching"))
def test_matching(name):
    case = Case("matching", name)
    quality = case["quality"]
    valid = jnp.ones(quality.shape[0], bool)
    if name.endswith("ssd"):
        got = assign.match_ssd_quality(quality, valid, case.args["threshold"])
    else:
        got = assign.match_quality(
            quality,
            valid,
            case.args["high_threshold"],
            case.args["low_threshold"],
            case.args["allow_low_quality_matches"],
        )
    case.check("y", got)


# ------------------------------------------------------------------------------------------ nms


@pytest.mark.parametrize("name", cases("nms"))
def test_nms(name):
    case = Case("nms", name)
    groups = case["idxs"] if "idxs" in case.meta["inputs"] else None
    count = case["boxes"].shape[0]
    got = nms(case["boxes"], case["scores"], case.args["iou_threshold"], count, groups)
    case.check("y", np.asarray(got.index)[np.asarray(got.valid)])


# ------------------------------------------------------------------------------------------ roi


def flat_regions(function, x, rois):
    """A batched op on regions (image, x0, y0, x1, y1), channels first in and out."""
    x = jnp.moveaxis(x, 1, -1)
    every = jnp.broadcast_to(rois[None, :, 1:], (x.shape[0], rois.shape[0], 4))
    pooled = function(x, every)
    image = rois[:, 0].astype(jnp.int32)
    return jnp.moveaxis(pooled[image, jnp.arange(rois.shape[0])], -1, 1)


def check_regions(case, function):
    def pooled(x):
        return flat_regions(function, x, case["rois"])

    case.check("y", pooled(case["x"]))
    if "grad_x" in case.meta["outputs"]:
        weighted = jax.grad(lambda x: jnp.sum(pooled(x) * case["grad_weight"]))
        case.check("grad_x", weighted(case["x"]))


@BOTH
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", cases("roi", "roi_align"))
def test_roi_align(name, kind, deterministic):
    case = Case("roi", name, kind)
    check_regions(
        case,
        lambda x, b: roi_align(
            x,
            b,
            tuple(case.args["output_size"]),
            case.args["spatial_scale"],
            case.args["sampling_ratio"],
            case.args["aligned"],
            deterministic,
        ),
    )


@BOTH
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", cases("roi", "roi_pool"))
def test_roi_pool(name, kind, deterministic):
    case = Case("roi", name, kind)
    size, scale = tuple(case.args["output_size"]), case.args["spatial_scale"]
    check_regions(case, lambda x, b: roi_pool(x, b, size, scale, deterministic))


@BOTH
@pytest.mark.parametrize("name", cases("roi", "ps_roi"))
def test_position_sensitive(name, kind):
    case = Case("roi", name, kind)
    size, scale = case.args["output_size"], case.args["spatial_scale"]
    if name == "ps_roi_pool":
        check_regions(case, lambda x, b: ps_roi_pool(x, b, size, scale, True))
    else:
        samples = case.args.get("sampling_ratio", 0)
        check_regions(case, lambda x, b: ps_roi_align(x, b, size, scale, samples))


@BOTH
@pytest.mark.parametrize("deterministic", [False, True])
def test_multiscale_roi_align(kind, deterministic):
    case = Case("roi", "multiscale_roi_align", kind)
    maps = tuple(jnp.moveaxis(case[f"p{i}"], 1, -1) for i in range(2, 6))
    regions = jnp.stack([case["boxes0"], case["boxes1"]])
    got = roi_align_pyramid(
        maps,
        regions,
        pyramid_level(regions),
        (7, 7),
        (1 / 4, 1 / 8, 1 / 16, 1 / 32),
        case.args["sampling_ratio"],
        deterministic=deterministic,
    )
    case.check("y", jnp.moveaxis(got, -1, 2).reshape(24, 1, 7, 7))


# --------------------------------------------------------------------------------------- losses


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


# ---------------------------------------------------------------------------------- postprocess


@BOTH
def test_rpn_filter_proposals(kind):
    case = Case("postprocess", "rpn_filter_proposals", kind)
    starts = np.cumsum([0, *case.args["anchors_per_level"]])
    for i, size in enumerate(case.args["image_sizes_hw"]):
        chosen = []
        for level in range(3):
            scores = case["objectness"][i, starts[level] : starts[level + 1]]
            best = jax.lax.top_k(scores, min(len(scores), case.args["pre_nms_top_n"]))[1]
            chosen.append(best + starts[level])
        levels = jnp.asarray(np.repeat(np.arange(3), [len(c) for c in chosen]))
        chosen = jnp.concatenate(chosen)
        proposals = boxes.clip(case["proposals"][i, chosen], *size)
        scores = jax.nn.sigmoid(case["objectness"][i, chosen])
        large = boxes.large_enough(proposals, case.args["min_size"])
        count, threshold = case.args["post_nms_top_n"], case.args["nms_thresh"]
        kept = nms(proposals, scores, threshold, count, levels, large)
        case.check(f"boxes{i}", proposals[kept.index][kept.valid])
        case.check(f"scores{i}", kept.score[kept.valid])


def check_detections(case, corners, kept):
    case.check("boxes", corners[kept.valid])
    case.check("scores", kept.score[kept.valid])
    case.check("labels", kept.label[kept.valid])


@BOTH
def test_rcnn_detections(kind):
    case = Case("postprocess", "rcnn", kind)
    scores = jax.nn.softmax(case["logits"], -1)[:, 1:]
    proposals = jnp.broadcast_to(case["proposals"][:, None], (60, 6, 4))
    corners = boxes.decode(case["deltas"].reshape(60, 6, 4), proposals)
    corners = boxes.clip(corners, *case.args["image_size_hw"])[:, 1:]
    sound = boxes.large_enough(corners, 1e-2)
    kept = nms_classes(
        corners,
        jnp.where(sound, scores, -jnp.inf),
        0.5,
        25,
        score_threshold=case.args["score_thresh"],
    )
    kept = kept._replace(label=kept.label + 1)
    check_detections(case, corners[kept.index, kept.label - 1], kept)


@BOTH
def test_ssd_detections(kind):
    case = Case("postprocess", "ssd", kind)
    scores = jax.nn.softmax(case["logits"][0], -1)[:, 1:]
    corners = boxes.decode(case["deltas"][0], case["anchors"])
    corners = boxes.clip(corners, *case.args["image_size_hw"])
    kept = nms_classes(corners, scores, 0.45, 30, pre_nms_top_k=40, score_threshold=0.01)
    check_detections(case, corners[kept.index], kept._replace(label=kept.label + 1))


@BOTH
def test_retinanet_detections(kind):
    case = Case("postprocess", "retinanet", kind)
    found = []
    for level in range(2):
        scores = jax.nn.sigmoid(case[f"l{level}"][0]).reshape(-1)
        scores = jnp.where(scores > case.args["score_thresh"], scores, -jnp.inf)
        best, place = jax.lax.top_k(scores, min(len(scores), case.args["topk_candidates"]))
        deltas, regions = (case[f"{x}{level}"] for x in ("d", "a"))
        corners = boxes.decode(deltas[0, place // 4], regions[place // 4], (1.0,) * 4)
        found.append((boxes.clip(corners, *case.args["image_size_hw"]), best, place % 4))
    corners, scores, labels = (jnp.concatenate(x) for x in zip(*found, strict=True))
    kept = nms(corners, scores, 0.5, 30, labels)
    kept = ClassSelection(kept.index, labels[kept.index], kept.score, kept.valid)
    check_detections(case, corners[kept.index], kept)


def test_heatmaps_to_keypoints():
    case = Case("postprocess", "heatmaps_to_keypoints")
    maps = jnp.moveaxis(case["maps"], 1, -1)
    got = np.asarray(masks.decode_heatmaps(maps, case["rois"], 80))
    # No float64 run was stored: allow the rounding of a dozen float32 operations.
    wanted, scores = (case.file[f"{case.name}/out/y{i}"] for i in (0, 1))
    np.testing.assert_allclose(got[..., :2], wanted[..., :2], rtol=0, atol=2e-5)
    np.testing.assert_allclose(got[..., 2], scores, rtol=0, atol=5e-6)


@BOTH
def test_paste_masks(kind):
    case = Case("postprocess", "paste_masks", kind)
    got = masks.paste_masks(case["masks"][:, 0], case["boxes"], *case.args["image_size_hw"])
    case.check("y", got[:, None])
