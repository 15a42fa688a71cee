"""Proposals made beforehand: from files, moved along with their images, and jittered truth."""

import contextlib
import dataclasses
import pickle

import numpy as np
import pytest

from vision_jax import data
from vision_jax.config import UserError
from vision_jax.data import geometry
from vision_jax.data.proposals import pad

RNG = np.random.default_rng(0)
COUNTS = (2, 0, 3)
BOXES = np.array(
    [[1, 2, 11, 8], [0, 0, 20, 10], [3, 3, 4, 9], [2, 1, 9, 9], [5, 5, 15, 6]], np.float32
)


@dataclasses.dataclass(frozen=True)
class Three(data.BaseSource):
    """Images 20 wide and 10 high with one object each, named a, b, c."""

    classes = ("x",)

    def __len__(self):
        return 3

    def __getitem__(self, i):
        boxes = np.array([[2, 2, 8 + i, 8]], np.float32)
        image = np.zeros((10, 20, 3), np.uint8)
        return {"image": image, "boxes": boxes, "labels": np.zeros(1, np.int64)}

    def image_id(self, i):
        return "abc"[i]


def written(path, **changes):
    content = {"counts": np.array(COUNTS), "boxes": BOXES, **changes}
    np.savez(path, **{k: v for k, v in content.items() if v is not None})
    return str(path)


def batch(source, *transforms):
    pipeline = data.Eval(source, transforms, batch_size=4)
    with contextlib.closing(pipeline.batches()) as batches:
        return next(batches)


@pytest.mark.parametrize("ids", [None, np.array(["c", "z", "b", "a"])])
def test_every_image_gets_its_own(tmp_path, ids):
    if ids is None:
        file, expected = written(tmp_path / "p.npz"), {0: [0, 1], 1: [], 2: [2, 3, 4]}
    else:
        file = written(tmp_path / "p.npz", ids=ids, counts=np.array([2, 0, 0, 3]))
        expected = {2: [0, 1], 1: [], 0: [2, 3, 4]}
    fresh = data.WithProposals(Three(), file, max_proposals=4)
    for source in (fresh, pickle.loads(pickle.dumps(fresh))):
        targets = batch(source).targets
        assert targets.proposals.shape == (4, 4, 4) and targets.proposals.dtype == np.float32
        for i, rows in expected.items():
            assert targets.proposal_valid[i].tolist() == [True] * len(rows) + [False] * (
                4 - len(rows)
            )
            np.testing.assert_array_equal(targets.proposals[i, : len(rows)], BOXES[rows])
        assert not targets.proposal_valid[3].any()  # padding of the batch
    few = data.WithProposals(Three(), file, max_proposals=1)
    assert batch(few).targets.proposal_valid.sum() == 2


def test_proposals_move_as_boxes_do(tmp_path):
    """The same boxes as objects and as proposals, through every way of placing an image."""
    example = {
        "image": RNG.integers(0, 255, (10, 20, 3)).astype(np.uint8),
        "boxes": BOXES,
        "labels": np.arange(5),
        "scale": np.ones(2, np.float32),
        **pad(BOXES, 6),
    }
    steps = (
        lambda e: geometry.resize(e, 30, 25),
        geometry.flip,
        lambda e: geometry.crop(e, 2, -3, 12, 14, (0, 0, 0)),
    )
    for step in steps:
        moved = step(example)
        assert (moved["boxes"] != BOXES).any()
        np.testing.assert_array_equal(moved["proposals"][:5], moved["boxes"])
        np.testing.assert_array_equal(moved["proposal_valid"], [True] * 5 + [False])
    cut = geometry.clip(geometry.crop(example, 0, 4, 10, 10, (0, 0, 0)))
    np.testing.assert_array_equal(cut["proposals"][:5][cut["proposal_valid"][:5]], cut["boxes"])
    assert 0 < cut["proposal_valid"].sum() < 5


def test_jittered_truth_lies_on_the_image_and_near_the_objects():
    example = Three()[0]
    rng = np.random.default_rng(1)
    found = data.JitteredTruth(count=200, spread=0.1, background=0.25)(example, rng)
    boxes = found["proposals"][found["proposal_valid"]]
    assert len(boxes) > 190
    assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= 20).all() and (boxes[:, [1, 3]] <= 10).all()
    near = np.abs(boxes - example["boxes"]).max(1) < 3
    assert 0.6 < near.mean() < 0.9
    none = {**example, "boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64)}
    assert data.JitteredTruth(count=20)(none, rng)["proposal_valid"].sum() > 15


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"boxes": None}, "has no 'boxes'"),
        ({"counts": np.array([2, 0, 4])}, r"not \(6, 4\) finite numbers"),
        ({"boxes": np.where(BOXES > 10, np.nan, BOXES)}, "finite numbers"),
        ({"counts": np.array([2, 3])}, "of 2 images, the source has 3"),
        ({"ids": np.array(["a", "b", "d"])}, "lack 1 images of the source, c first"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        data.WithProposals(Three(), written(tmp_path / "p.npz", **changes))


def test_no_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        data.WithProposals(Three(), str(tmp_path / "p.npz"))
    (tmp_path / "p.npz").write_text("not an npz")
    with pytest.raises(UserError, match="is no npz file"):
        data.WithProposals(Three(), str(tmp_path / "p.npz"))


def test_a_method_proposes_while_images_are_read():
    def method(image, seed):
        height, width = image.shape[:2]
        return np.array([[0, 0, width, height], [0, 0, 1 + seed % 5, 2], [3, 3, 3, 3]], np.float64)

    propose = data.Propose(method, max_proposals=4)
    example = {"image": np.zeros((10, 20, 3), np.uint8)}
    out = propose(example, np.random.default_rng(0))
    assert "proposals" not in example
    np.testing.assert_array_equal(out["proposals"][0], [0, 0, 20, 10])
    np.testing.assert_array_equal(out["proposal_valid"], [True, True, False, False])
    again = propose(example, np.random.default_rng(0))
    np.testing.assert_array_equal(out["proposals"], again["proposals"])
    assert data.Propose(method, max_proposals=1)(example, RNG)["proposals"].shape == (1, 4)


def test_images_with_proposals_keep_them():
    def method(image, seed):
        raise AssertionError("nothing is to be proposed")

    given = {"image": np.zeros((8, 8, 3), np.uint8), "proposals": np.ones((1, 4))}
    assert data.Propose(method)(given, np.random.default_rng(0)) is given
