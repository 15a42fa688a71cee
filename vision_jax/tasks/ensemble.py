"""Several trained classifiers as one: the mean of their probabilities."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.structs import Batch


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Predicts the mean probability of its members (Krizhevsky et al. 2012, section 6).

    Attributes:
      members: classification tasks over the same classes, each with its own network and input
        statistics; they see the same batches.

    Raises:
      UserError: no member, or one whose labels are of the other kind.
    """

    members: tuple

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("logits",)

    def __post_init__(self):
        if not self.members:
            raise UserError("an ensemble needs at least one member")
        for member in self.members:
            if not hasattr(member, "multilabel"):
                raise UserError(
                    f"an ensemble averages probabilities of classes, which {type(member).__name__} "
                    "does not give"
                )
        if len({member.multilabel for member in self.members}) > 1:
            raise UserError("an ensemble's members must all be multilabel, or none of them")

    def describe(self, outputs: dict[str, Array], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """As of its members."""
        return self.members[0].describe(outputs, classes)

    def predict(self, variables: tuple[dict[str, Any], ...], batch: Batch) -> dict[str, Array]:
        """`logits` (b, k), whose softmax (sigmoid, for multilabel) is the mean probability.

        Args:
          variables: of each member, in order.
        """
        parts = zip(self.members, variables, strict=True)
        logits = jnp.stack([_wide(task.predict(v, batch)["logits"]) for task, v in parts])
        if self.members[0].multilabel:
            yes, no = _mean(jax.nn.log_sigmoid(logits)), _mean(jax.nn.log_sigmoid(-logits))
            return {"logits": yes - no}
        return {"logits": _mean(jax.nn.log_softmax(logits))}


def _mean(logs: Float[Array, "n b k"]) -> Float[Array, "b k"]:
    """The logarithm of the mean of what these are logarithms of."""
    return jax.nn.logsumexp(logs, axis=0) - jnp.log(float(logs.shape[0]))


def _wide(x: Array) -> Array:
    """As float32, or wider if it is."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
