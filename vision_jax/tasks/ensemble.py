"""Several trained classifiers as one: the mean of their probabilities."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Batch
from vision_jax.tasks.classification import Classification
from vision_jax.tasks.descriptions import Answers
from vision_jax.tasks.task import Variables


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """A `Predictor` of its members' mean probability (Krizhevsky et al. 2012, section 6).

    Attributes:
      members: classification tasks over the same classes, each with its own network and input
        statistics; they see the same batches.

    Raises:
      UserError: no member, one that is no classifier, or one whose labels are of the other kind.
    """

    members: tuple

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("logits",)

    def __post_init__(self):
        if not self.members:
            raise UserError("an ensemble needs at least one member")
        for member in self.members:
            if not isinstance(member, Classification):
                raise UserError(
                    f"an ensemble averages probabilities of classes, which {type(member).__name__} "
                    "does not give"
                )
        if len({member.multilabel for member in self.members}) > 1:
            raise UserError("an ensemble's members must all be multilabel, or none of them")

    def describe(
        self, outputs: dict[str, Array], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's most probable classes, as its members do."""
        return self.members[0].describe(outputs, classes, threshold)

    def predict(self, variables: tuple[Variables, ...], batch: Batch) -> dict[str, Array]:
        """Returns `logits` (b, k), whose softmax (sigmoid, for multilabel) is the mean probability.

        Args:
          variables: those of each member, in order.
          batch: what all members see.
        """
        members = zip(self.members, variables, strict=True)
        logits = jnp.stack([at_least_float32(m.predict(v, batch)["logits"]) for m, v in members])
        if self.members[0].multilabel:
            yes, no = _mean(jax.nn.log_sigmoid(logits)), _mean(jax.nn.log_sigmoid(-logits))
            return {"logits": yes - no}
        return {"logits": _mean(jax.nn.log_softmax(logits))}


def _mean(logs: Float[Array, "n b k"]) -> Float[Array, "b k"]:
    """Computes the logarithm of the mean of the numbers that these are logarithms of."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(float(logs.shape[0]))
