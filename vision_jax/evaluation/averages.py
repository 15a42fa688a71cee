"""Means of numbers that a task has computed for each image, such as losses."""

import dataclasses

import jax.numpy as jnp

from vision_jax.config import UserError, suggest
from vision_jax.evaluation.metric import RatioMetric
from vision_jax.structs import Array, Batch


@dataclasses.dataclass(frozen=True)
class Averages(RatioMetric):
    """The mean over images of each named output (b,).

    Attributes:
      of: the outputs' names, which the results bear too.

    Raises:
      UserError: on use, an output that is not there.
    """

    of: tuple[str, ...] = ("style_loss", "content_loss")

    def names(self) -> tuple[str, ...]:
        return self.of

    def update(self, outputs: dict[str, Array], batch: Batch) -> dict[str, tuple[Array, Array]]:
        for name in self.of:
            if name not in outputs:
                raise UserError(f"Averages: no output {name!r}{suggest(name, outputs)}")
        valid = jnp.asarray(batch.valid)
        count = valid.sum(dtype=jnp.int32)
        return {name: (jnp.where(valid, outputs[name], 0).sum(), count) for name in self.of}
