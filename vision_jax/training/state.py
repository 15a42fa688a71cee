"""The state of training: all that a run must remember from one step to the next."""

from typing import Any

import jax
import numpy as np
from flax import struct

Tree = Any


class PlateauState(struct.PyTreeNode):
    """The counters of `schedule.ReduceOnPlateau`; as created they leave the learning rate alone."""

    best: Any  # () float32, best value seen; infinite before the first
    bad: Any  # () int32, evaluations since then
    scale: Any  # () float32, factor on the learning rate

    @classmethod
    def create(cls) -> "PlateauState":
        """Makes the counters of a run that has seen nothing yet: factor 1."""
        return cls(best=np.float32(np.inf), bad=np.int32(0), scale=np.float32(1))


class TrainState(struct.PyTreeNode):
    """The state of training. There is no random state: a step's key is fold_in(key(seed), step).

    `ema` averages the float leaves of every collection beside the parameters: weights averaged
    over thousands of steps with the batch statistics of the last ones would be a network that
    never existed. (Szegedy et al.'s published models and timm's ModelEma do likewise.)
    """

    step: Any  # () int32, number of updates made
    params: Tree  # float32, nested dicts
    collections: dict[str, Tree]  # what the model holds beside parameters, such as 'batch_stats'
    opt_state: Tree
    ema: dict[str, Tree] | None  # averaged variables: {'params': ..., 'batch_stats': ...}
    plateau: PlateauState

    @property
    def variables(self) -> dict[str, Tree]:
        """The parameters and collections, as `task.predict` takes them."""
        return {"params": self.params, **self.collections}

    @property
    def averaged(self) -> dict[str, Tree]:
        """The variables to evaluate: the averaged ones where the run keeps them."""
        return self.variables if self.ema is None else self.ema


def create(variables: dict[str, Tree], update: Any, ema: bool = False) -> TrainState:
    """Makes the state before the first step.

    Args:
      variables: from `task.init`: 'params' and any other collections.
      update: from `Optimizer.build`; it initialises the optimizer's state.
      ema: whether to keep averaged variables.
    """
    collections = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables["params"]
    return TrainState(
        step=np.int32(0),
        params=params,
        collections=collections,
        opt_state=update.init(params),
        # A copy: the step donates its state, and a buffer cannot be donated twice.
        ema=jax.tree.map(lambda x: x.copy(), dict(variables)) if ema else None,
        plateau=PlateauState.create(),
    )
