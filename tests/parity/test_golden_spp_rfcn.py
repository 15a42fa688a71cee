"""Parity of SPP-net's and R-FCN's operations; see `golden_ops`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case, cases
from tests.parity.test_golden_ops import check_regions
from vision_jax.ops import spatial_pyramid_pool
from vision_jax.ops.losses import cross_entropy, smooth_l1
from vision_jax.ops.rfcn import hardest, rfcn_pool
from vision_jax.ops.roi_pool import ps_roi_pool
from vision_jax.ops.spp import (
    caffe_pyramid_level,
    nearest_scale,
    paper_window,
    pool_cells,
    released_window,
    spatial_pyramid_mean,
)

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


def as_reference(pooled, levels):
    """Bins in a row (n, bins, c) → level by level, within a level channels, rows, columns."""
    ends = np.cumsum([n * n for n in levels])
    parts = jnp.split(pooled, ends[:-1].tolist(), 1)
    return jnp.concatenate([jnp.moveaxis(p, 1, 2).reshape(p.shape[0], -1) for p in parts], 1)


def check_pyramid(case, pooled):
    case.check("y", pooled(case["x"]))
    weighted = jax.grad(lambda x: jnp.sum(pooled(x) * case["grad_weight"]))
    case.check("grad_x", weighted(case["x"]))


@BOTH
@pytest.mark.parametrize("name", cases("spp", "pyramid"))
def test_pyramid(name, kind):
    case = Case("spp", name, kind)
    levels = case.args["levels"]
    function = spatial_pyramid_mean if "average" in name else spatial_pyramid_pool
    check_pyramid(
        case, lambda x: as_reference(function(jnp.moveaxis(x, 1, -1), tuple(levels)), levels)
    )


@BOTH
@pytest.mark.parametrize("deterministic", [False, True])
def test_windows(kind, deterministic):
    case = Case("spp", "windows", kind)
    windows = case["windows"][None][..., jnp.array([1, 0, 3, 2])]
    levels = tuple(case.args["levels"])

    def pooled(x):
        bins = pool_cells(jnp.moveaxis(x, 1, -1), windows, levels, deterministic)
        return as_reference(bins[0], levels)

    case.check("y", pooled(case["x"]))
    # Half of the map is 0, as after ReLU. Bins of zeros alone share their gradient among them, and
    # the reference gives it to the first; ReLU lets neither through.
    gradient = jax.grad(lambda x: jnp.sum(pooled(x) * case["grad_weight"]))(case["x"])
    expected = case.file["windows/out/grad_x"].reshape(gradient.shape)
    positive = np.asarray(case["x"]) > 0
    case.check("grad_x", np.where(positive, gradient, expected.astype(kind)))
    rounding = 1e-4 if kind is np.float32 else 1e-5  # stored in float32: sums of 2576 of them
    np.testing.assert_allclose(np.sum(gradient), expected.sum(dtype=np.float64), atol=rounding)


@pytest.mark.parametrize("name", cases("spp", "caffe"))
def test_caffe_level(name):
    case = Case("spp", name)
    pooled = caffe_pyramid_level(jnp.moveaxis(case["x"], 1, -1), case.args["bins"])
    case.check("y", jnp.moveaxis(pooled, -1, 1))


@BOTH
def test_box_to_window(kind):
    case = Case("spp", "box_to_window", kind)
    case.check("window", released_window(case["boxes"], (19, 25)))
    case.check("paper", paper_window(case["boxes"] - 1))


@BOTH
def test_scale_of_box(kind):
    case = Case("spp", "scale_of_box", kind)
    scales = tuple(case.args["scales"])
    case.check("scale_index", nearest_scale(case["boxes"], case.args["short_side"], scales))


@BOTH
@pytest.mark.parametrize("name", cases("rfcn", "ps_roi_pool", "torchvision"))
def test_position_sensitive_pooling(name, kind):
    case = Case("rfcn", name, kind)
    size, scale = case.args["output_size"], case.args["spatial_scale"]
    if name.startswith("torchvision"):
        check_regions(case, lambda x, b: ps_roi_pool(x, b, size, scale, torchvision_edges=True))
    else:
        check_regions(case, lambda x, b: rfcn_pool(x, b, size, scale))


@BOTH
@pytest.mark.parametrize("name", cases("rfcn", "vote"))
def test_vote(name, kind):
    case = Case("rfcn", name, kind)
    size, scale = case.args["output_size"], case.args["spatial_scale"]
    rois = case["rois"]

    def voted(x):
        maps = jnp.moveaxis(x, 1, -1)
        every = jnp.broadcast_to(rois[None, :, 1:], (x.shape[0], rois.shape[0], 4))
        votes = rfcn_pool(maps, every, size, scale).mean((2, 3))
        return jax.nn.softmax(votes[rois[:, 0].astype(jnp.int32), jnp.arange(rois.shape[0])])

    check_pyramid(case, voted)


@BOTH
def test_hard_examples(kind):
    case = Case("rfcn", "ohem", kind)
    count, image = case.args["per_image"], np.asarray(case["image"])
    labels, images = case["labels"].astype(jnp.int32), int(image.max()) + 1
    valid = jnp.asarray(image[None] == np.arange(images)[:, None])

    def loss(scores, deltas):
        own = cross_entropy(scores, labels)
        box = smooth_l1(deltas, case["targets"]).sum(1) * (labels > 0)
        every = jnp.broadcast_to(own + box, valid.shape)
        chosen = hardest(every, valid, count).any(0)
        mean = jnp.sum(own * chosen) / jnp.sum(chosen)
        boxes = jnp.sum(box * chosen) / (count * images)
        return mean + boxes, {
            "loss": mean + boxes,
            "loss_cls": mean,
            "loss_box": boxes,
            "per_roi": own + box,
            "chosen": chosen,
        }

    gradients, found = jax.grad(loss, (0, 1), has_aux=True)(case["scores"], case["deltas"])
    found["chosen"] = np.flatnonzero(found["chosen"])
    for key, value in found.items():
        case.check(key, value)
    case.check("grad_scores", gradients[0])
    case.check("grad_deltas", gradients[1])
