"""A network's proposals, written to a file and read again beside the images."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax import data
from vision_jax.structs import Batch
from vision_jax.tasks import WriteProposals
from vision_jax.tasks.solvers import Pass

P = 5


@dataclasses.dataclass(frozen=True)
class Proposing:
    """A network that makes i proposals for image number i of the source; their scores fall."""

    shown = ()

    def predict(self, variables, batch):
        place = jnp.arange(P)[None]
        number = batch.id[:, None]
        corner = (number * 10 + place).astype(jnp.float32)[..., None]
        boxes = jnp.concatenate([corner, corner, corner + 4, corner + 8], -1)
        scores = jnp.broadcast_to(1.0 - place / 10, (*number.shape[:1], P))
        return {
            "proposals": boxes * variables["params"],
            "proposal_scores": scores,
            "proposal_valid": place < number,
        }

    def describe(self, outputs, classes):
        return []


class Four(data.BaseSource):
    classes = ("x",)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return {"image": np.zeros((4, 4, 3), np.uint8)}


def batch_of(ids):
    """Makes a batch of three images, shrunk by (y, x); rows of -1 are padding."""
    ids = np.array(ids, np.int32)
    return Batch(
        image=np.zeros((3, 4, 4, 3), np.uint8),
        valid=ids >= 0,
        index=np.arange(3, dtype=np.int32),
        scale=np.tile(np.array([[0.25, 0.5]], np.float32), (3, 1)),
        id=ids,
    )


def batches():
    yield from (batch_of([0, 1, 2]), batch_of([3, -1, -1]))


class Killed(Exception):
    pass


class Reader:
    """A pass over ten batches, which is killed before one of them; notes what is read."""

    def __init__(self, killed_before=None):
        self.read, self.killed_before = [], killed_before

    def batches(self):
        return Pass(self.begin)

    def begin(self, start):
        for number in range(start, 10):
            if number == self.killed_before:
                raise Killed
            self.read.append(number)
            yield batch_of(np.arange(3) + 3 * number)


def content(file):
    with np.load(file) as stored:
        return {name: stored[name].tobytes() for name in stored.files}


def test_what_is_written_is_read_in_the_originals_pixels(tmp_path):
    file = tmp_path / "stage" / "proposals.npz"
    variables = {"params": jnp.float32(1.0)}
    solver = WriteProposals(str(file), most=2)
    assert solver.solve(Proposing(), variables, batches(), 2) is variables
    source = data.WithProposals(Four(), str(file), max_proposals=3)
    for i in range(4):
        example, count = source[i], min(i, 2)
        assert example["proposal_valid"].tolist() == [k < count for k in range(3)]
        for k in range(count):
            c = i * 10 + k
            box = [c / 0.5, c / 0.25, (c + 4) / 0.5, (c + 8) / 0.25]
            np.testing.assert_allclose(example["proposals"][k], box)
    with np.load(file) as content:
        np.testing.assert_allclose(content["scores"], [1.0, 1.0, 0.9, 1.0, 0.9])


def test_what_is_done_is_not_read_again(tmp_path):
    whole, cut = (WriteProposals(str(tmp_path / name)) for name in ("whole.npz", "cut.npz"))
    variables, other = ({"params": jnp.float32(factor)} for factor in (1.0, 2.0))
    whole.solve(Proposing(), variables, Reader().batches(), 10)

    def killed(variables, number):
        with pytest.raises(Killed):
            cut.solve(Proposing(), variables, Reader(number).batches(), 10)

    killed(other, 9)  # of another network: nothing of it is taken
    killed(variables, 2)
    killed(variables, 6)
    reader = Reader()
    cut.solve(Proposing(), variables, reader.batches(), 10)
    assert reader.read == [4, 5, 6, 7, 8, 9]
    assert content(tmp_path / "cut.npz") == content(tmp_path / "whole.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.npz", "whole.npz"]
