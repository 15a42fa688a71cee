"""Recall of proposals against a loop over numbers, overlaps and objects."""

import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.evaluation import ProposalRecall
from vision_jax.evaluation.proposals import THRESHOLDS
from vision_jax.structs import Batch, Targets

B, M, P = 5, 4, 12
COUNTS = (2, 4, 30)


def iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def made(seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 30, (B, M, 2))
    truth = np.concatenate([low, low + rng.uniform(5, 30, (B, M, 2))], -1).astype(np.float32)
    owner = rng.integers(0, M, (B, P))
    proposals = np.take_along_axis(truth, owner[..., None], 1) + rng.normal(0, 2, (B, P, 4))
    batch = Batch(
        image=np.zeros((B, 0, 0, 3), np.uint8),
        valid=np.arange(B) < B - 1,
        index=np.arange(B, dtype=np.int32),
        targets=Targets(
            boxes=truth,
            valid=rng.random((B, M)) < 0.8,
            difficult=rng.random((B, M)) < 0.2,
            crowd=rng.random((B, M)) < 0.2,
        ),
    )
    valid = np.arange(P) < np.array([12, 3, 0, 7, 12])[:, None]
    return {"proposals": proposals.astype(np.float32), "proposal_valid": valid}, batch


def slow(outputs, batch, count, threshold):
    found = total = 0
    for b in np.flatnonzero(batch.valid):
        boxes = [p for p, v in zip(*(outputs[k][b] for k in outputs), strict=True) if v][:count]
        targets = batch.targets
        for m in range(M):
            if targets.valid[b, m] and not targets.difficult[b, m] and not targets.crowd[b, m]:
                total += 1
                found += any(iou(p, targets.boxes[b, m]) >= threshold for p in boxes)
    return found / total


def test_recall_is_the_loops_and_does_not_depend_on_the_batches():
    outputs, batch = made()
    metric = ProposalRecall(COUNTS)
    result = metric.result(metric.collect([], outputs, batch))
    for n, count in enumerate(COUNTS):
        by_overlap = [slow(outputs, batch, count, t) for t in THRESHOLDS]
        assert result[f"recall50_{count}"] == pytest.approx(by_overlap[0])
        assert result[f"ar_{count}"] == pytest.approx(np.mean(by_overlap))
        curve = result["curve/recall/number of proposals/IoU 0.7"]
        assert curve[:, n] == pytest.approx([count, by_overlap[4]])
    np.testing.assert_allclose(result["curve/recall of objects/IoU/30 proposals"][1], by_overlap)
    assert 0 < result["recall50_2"] < result["recall50_30"] < 1
    state = metric.empty()
    for rows in (slice(0, 2), slice(2, 5)):
        part = batch.replace(
            valid=batch.valid[rows],
            targets=Targets(
                **{
                    k: getattr(batch.targets, k)[rows]
                    for k in ("boxes", "valid", "difficult", "crowd")
                }
            ),
        )
        state = metric.collect(state, {k: v[rows] for k, v in outputs.items()}, part)
    again = metric.result(state)
    assert again.keys() == result.keys()
    for name, value in result.items():
        np.testing.assert_array_equal(again[name], value)


def test_exact_boxes_are_found_and_nothing_is_nothing():
    _, batch = made()
    perfect = {"proposals": batch.targets.boxes, "proposal_valid": batch.targets.valid}
    metric = ProposalRecall((M,))
    assert metric.result(metric.collect([], perfect, batch))[f"ar_{M}"] == 1
    none = {**perfect, "proposal_valid": np.zeros((B, M), bool)}
    assert metric.result(metric.collect([], none, batch))[f"ar_{M}"] == 0
    empty = batch.replace(targets=batch.targets.replace(valid=np.zeros((B, M), bool)))
    assert metric.result(metric.collect([], perfect, empty)) == {}


@pytest.mark.parametrize("counts", [(), (0, 5), (10, 3), (5, 5)])
def test_counts_must_rise(counts):
    with pytest.raises(UserError, match="must rise"):
        ProposalRecall(counts)
