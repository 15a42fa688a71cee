"""Proposals that come with the data, measured as if a network had made them."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Key

from vision_jax.config import UserError
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Batch, Detections, Terms
from vision_jax.tasks.descriptions import Answers, describe_objects
from vision_jax.tasks.task import ImageTask, Predictor, Variables


@dataclasses.dataclass(frozen=True)
class GivenProposals(ImageTask):
    """A task without a network: its answer is the batch's own proposals.

    An experiment needs `solver=Untrained()`, and data with proposals, from `data.WithProposals` or
    `data.Propose`. Pictures show the best box of each object, see `predict`.

    Attributes:
      shown_of: proposals of an image, the first, among which the pictures' boxes are chosen.
    """

    model: Any = None
    shown_of: int = 100

    shown: ClassVar[tuple[str, ...]] = ("detections",)

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        """Returns no variables."""
        return {"params": {}}

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Refuses: there is nothing to train.

        Raises:
          UserError: always.
        """
        raise UserError("given proposals are not trained: set solver to node(tasks.Untrained)")

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Any]:
        """Returns `proposals`, `proposal_valid`, and each object's best one as `detections`.

        The score of such a detection is its IoU, its label the object's. `proposal_scores` say no
        more than the proposals' order: they fall from 1 by equal steps.

        Raises:
          ValueError: a batch without proposals.
        """
        targets = batch.targets
        if targets.proposals is None or targets.proposal_valid is None:
            raise ValueError("there are no proposals: use data.WithProposals or data.Propose")
        order = 1 - jnp.arange(targets.proposals.shape[1]) / targets.proposals.shape[1]
        outputs = {
            "proposals": targets.proposals,
            "proposal_scores": jnp.where(targets.proposal_valid, order[None], 0),
            "proposal_valid": targets.proposal_valid,
        }
        if targets.boxes is None or targets.labels is None or targets.valid is None:
            rows = batch.valid.shape[0]
            none = (jnp.zeros((rows, 1)), jnp.full((rows, 1), -1), jnp.zeros((rows, 1), bool))
            return {**outputs, "detections": Detections(jnp.zeros((rows, 1, 4)), *none)}
        first = targets.proposals[:, : self.shown_of]
        iou = box_ops.iou(targets.boxes[:, :, None], first[:, None])
        iou = jnp.where(targets.proposal_valid[:, None, : self.shown_of], iou, 0)
        best, score = iou.argmax(-1), jnp.where(targets.valid, iou.max(-1), 0)
        order = jnp.argsort(-score, axis=-1)
        boxes = jnp.take_along_axis(first, best[..., None], 1)
        boxes, score, labels = (
            jnp.take_along_axis(x, order[..., None] if x.ndim == 3 else order, 1)
            for x in (boxes, score, targets.labels)
        )
        there = score > 0
        detections = Detections(boxes, score, jnp.where(there, labels, -1), there)
        return {**outputs, "detections": detections}

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells the best box of each object; see `Task.describe`."""
        return describe_objects(outputs["detections"], classes, threshold)


@dataclasses.dataclass(frozen=True)
class Untrained:
    """A `Solver` that leaves the variables as they are, for tasks that have nothing to learn."""

    def solve(
        self, task: Predictor, variables: Variables, batches: Iterable[Batch], steps: int
    ) -> Variables:
        """Returns the variables; see `Solver.solve`."""
        return variables
