"""Given proposals: passed on as they are, with the best box of each object for pictures."""

import jax
import numpy as np
import pytest

from vision_jax.config import UserError
from vision_jax.structs import Batch, Targets
from vision_jax.tasks import GivenProposals, Untrained


def batch(**changes):
    proposals = np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [2, 0, 12, 10]]] * 2, np.float32)
    targets = {
        "boxes": np.array([[[2, 0, 12, 9], [21, 20, 31, 30], [0, 0, 0, 0]]] * 2, np.float32),
        "labels": np.array([[3, 5, -1]] * 2, np.int32),
        "valid": np.array([[True, True, False], [False] * 3]),
        "proposals": proposals,
        "proposal_valid": np.array([[True, True, False], [True] * 3]),
    }
    pixels = np.zeros((2, 32, 32, 3), np.uint8)
    rows = np.arange(2, dtype=np.int32)
    return Batch(pixels, np.ones(2, bool), rows, Targets(**{**targets, **changes}))


def test_the_best_box_of_each_object():
    task = GivenProposals()
    variables = task.init(jax.random.key(0), batch())
    outputs = jax.jit(task.predict)(variables, batch())
    np.testing.assert_array_equal(outputs["proposals"], batch().targets.proposals)
    found = outputs["detections"]
    # The third proposal would be nearer to the first object, but is padding.
    np.testing.assert_array_equal(found.boxes[0, :2], [[20, 20, 30, 30], [0, 0, 10, 10]])
    np.testing.assert_allclose(found.scores[0], [90 / 110, 72 / 118, 0], rtol=1e-6)
    np.testing.assert_array_equal(found.labels[0], [5, 3, -1])
    np.testing.assert_array_equal(found.valid, [[True, True, False], [False] * 3])
    told = task.describe(outputs, tuple("abcdef"))
    assert [o["label"] for o in told[0]["objects"]] == [5, 3] and told[1]["objects"] == []


def test_only_the_first_are_shown():
    found = jax.jit(GivenProposals(shown_of=1).predict)({}, batch())["detections"]
    np.testing.assert_array_equal(found.valid[0], [True, False, False])


def test_without_annotations_nothing_is_shown():
    found = GivenProposals().predict({}, batch(boxes=None, labels=None, valid=None))["detections"]
    assert not found.valid.any()


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match=r"data\.Propose"):
        GivenProposals().predict({}, batch(proposals=None))
    with pytest.raises(UserError, match=r"tasks\.Untrained"):
        GivenProposals().loss({}, batch(), jax.random.key(0))


def test_untrained_leaves_variables():
    variables = {"params": {"w": np.ones(2)}}
    assert Untrained().solve(GivenProposals(), variables, iter(()), 0) is variables
