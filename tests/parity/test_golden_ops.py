"""Parity of boxes, anchors, matching, suppression and regions; see `golden_ops`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from vision_jax.ops import anchors, assign, boxes
from vision_jax.ops.nms import nms
from vision_jax.ops.roi_align import ps_roi_align, pyramid_level, roi_align, roi_align_pyramid
from vision_jax.ops.roi_pool import ps_roi_pool, roi_pool

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


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
