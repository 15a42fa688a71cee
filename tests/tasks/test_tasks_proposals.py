"""A network's proposals, written to a file and read again beside the images."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from vision_jax import data
from vision_jax.structs import Batch
from vision_jax.tasks import WriteProposals

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


def batches():
    """Yields two batches of three, the last two rows padding; the images shrunk by (y, x)."""
    for ids in ([0, 1, 2], [3, -1, -1]):
        ids = np.array(ids, np.int32)
        yield Batch(
            image=np.zeros((3, 4, 4, 3), np.uint8),
            valid=ids >= 0,
            index=np.arange(3, dtype=np.int32),
            scale=np.tile(np.array([[0.25, 0.5]], np.float32), (3, 1)),
            id=ids,
        )


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
