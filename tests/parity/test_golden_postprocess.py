"""Parity of detectors' last steps: proposals, detections, keypoints, masks; see `golden_ops`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import BOTH, Case
from vision_jax.ops import boxes, masks
from vision_jax.ops.nms import ClassSelection, nms, nms_classes

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


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
