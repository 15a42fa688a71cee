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

from vision_jax.ops import anchors, assign, boxes, nms, roi_align, roi_pool

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parent / "golden"))
pytestmark = pytest.mark.golden
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])


def seeded():
    path = Path(__file__).parent / "golden" / "seeded.py"
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
        assert got.dtype == self.kind
        noise = info.get("float32_max_abs_diff", 0.0)
        greatest = float(np.abs(wanted).max(initial=0))
        stored = np.finfo(wanted.dtype).eps / 2 * greatest  # the file's own rounding
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
    got = nms.nms(case["boxes"], case["scores"], case.args["iou_threshold"], count, groups)
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
        lambda x, b: roi_align.roi_align(
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
    check_regions(case, lambda x, b: roi_pool.roi_pool(x, b, size, scale, deterministic))


@BOTH
@pytest.mark.parametrize("name", cases("roi", "ps_roi"))
def test_position_sensitive(name, kind):
    case = Case("roi", name, kind)
    size, scale = case.args["output_size"], case.args["spatial_scale"]
    if name == "ps_roi_pool":
        check_regions(case, lambda x, b: roi_pool.ps_roi_pool(x, b, size, scale, True))
    else:
        samples = case.args.get("sampling_ratio", 0)
        check_regions(case, lambda x, b: roi_align.ps_roi_align(x, b, size, scale, samples))


@BOTH
@pytest.mark.parametrize("deterministic", [False, True])
def test_multiscale_roi_align(kind, deterministic):
    case = Case("roi", "multiscale_roi_align", kind)
    maps = tuple(jnp.moveaxis(case[f"p{i}"], 1, -1) for i in range(2, 6))
    regions = jnp.stack([case["boxes0"], case["boxes1"]])
    got = roi_align.roi_align_pyramid(
        maps,
        regions,
        roi_align.pyramid_level(regions),
        (7, 7),
        (1 / 4, 1 / 8, 1 / 16, 1 / 32),
        case.args["sampling_ratio"],
        deterministic=deterministic,
    )
    case.check("y", jnp.moveaxis(got, -1, 2).reshape(24, 1, 7, 7))
