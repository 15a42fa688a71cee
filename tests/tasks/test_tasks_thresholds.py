"""Thresholds of a cascade: the share of faces that pass, on a network whose scores are known."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.structs import Array, Batch, Targets
from vision_jax.tasks import SetThreshold

RNG = np.random.default_rng(5)


class Seen(NamedTuple):
    boxes: Array
    scores: Array
    valid: Array


@dataclasses.dataclass(frozen=True)
class Known:
    """A predictor whose windows and scores lie in the batch's image."""

    shown = ()

    def predict(self, variables, batch):
        rows = jnp.asarray(batch.image)
        seen = Seen(rows[..., :4], rows[..., 4], rows[..., 5] > 0)
        return {"seen": (seen, seen)}

    def describe(self, outputs, classes, threshold=None):
        return []


def batch(count=8, windows=6):
    """Makes an object per image, which the even windows cover, and no others."""
    box = np.array([10.0, 10, 30, 30], np.float32)
    rows = np.zeros((count, windows, 6), np.float32)
    rows[:, ::2, :4], rows[:, 1::2, :4] = box + 1, box + 40
    rows[..., 4], rows[..., 5] = RNG.random((count, windows)), 1
    return Batch(
        image=rows,
        valid=np.arange(count) != 3,
        index=np.arange(count, dtype=np.int32),
        targets=Targets(
            boxes=np.tile(box, (count, 2, 1)),
            labels=np.zeros((count, 2), np.int32),
            valid=np.tile([True, False], (count, 1)),
        ),
    )


def variables():
    return {"params": {"thresholds": jnp.full(3, 0.5), "other": jnp.ones(2)}}


@pytest.mark.parametrize("recall", [1.0, 0.8, 0.5])
def test_the_threshold_lets_the_share_of_objects_through(recall):
    batches, given = [batch() for _ in range(4)], variables()
    solved = SetThreshold(place=1, recall=recall).solve(Known(), given, iter(batches), 3)
    best = np.concatenate([b.image[b.valid][:, ::2, 4].max(1) for b in batches[:3]])
    threshold = solved["params"]["thresholds"][1]
    assert (best >= threshold).mean() >= recall
    assert (best > threshold).mean() < recall  # no greater one does
    np.testing.assert_array_equal(np.delete(solved["params"]["thresholds"], 1), 0.5)
    assert float(given["params"]["thresholds"][1]) == 0.5  # what was given stays


def test_what_cannot_be_solved_is_told():
    for place, params, message in ((3, variables(), "has 3 thresholds"), (0, {"params": {}}, "0")):
        with pytest.raises(UserError, match=message):
            SetThreshold(place=place).solve(Known(), params, iter([batch()]), 1)
    far = batch()
    far.image[..., :4] += 200
    with pytest.raises(UserError, match="no object of the training set is covered"):
        SetThreshold().solve(Known(), variables(), iter([far]), 1)
    with pytest.raises(UserError, match="recall"):
        SetThreshold(recall=1.5)
