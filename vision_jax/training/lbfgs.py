"""L-BFGS as an update rule, for what is deterministic, such as an image that is optimised."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from vision_jax import ops
from vision_jax.config import UserError, within
from vision_jax.training.optimizer import Objective, Transform, Tree


@dataclasses.dataclass(frozen=True)
class Lbfgs:
    """L-BFGS in torch.optim's form (`ops.lbfgs_move`); the learning rate is the step's length.

    It needs a loss that is the same function in every step: the same batch, no dropout. The first
    step is scaled by min(1, 1 / Σ|g|), and gradients below 1e-7 count as none, so that a loss whose
    gradients are tiny needs a factor.

    Attributes:
      history: pairs of steps and of the gradients' changes that are kept.
      line_search: search along each direction for a step that fulfils the strong Wolfe conditions;
        on one device alone.

    Raises:
      UserError: no history; on use, a line search over several devices.
    """

    history: int = 10
    line_search: bool = False

    def __post_init__(self) -> None:
        within(self, "[1, inf)", "history")

    def build(self, decay: Transform, rate: Transform) -> Transform:
        """Chains decay and the rule, which takes the learning rate itself; see `Rule`."""

        def init(params: Tree) -> ops.LBFGSState:
            return ops.lbfgs_state(ravel_pytree(params)[0], self.history)

        def update(
            gradients: Tree,
            state: ops.LBFGSState,
            params: Tree | None = None,
            *,
            learning_rate: jax.Array,
            objective: Objective | None = None,
            **unused: Any,
        ) -> tuple[Tree, ops.LBFGSState]:
            del unused  # optax hands every transform of a chain the same arguments
            x, unravel = ravel_pytree(params)
            gradient = ravel_pytree(gradients)[0]
            function, value = None, jnp.zeros((), x.dtype)
            if self.line_search:
                if objective is None:
                    raise UserError("line_search needs one device; set parallel='single'")
                of_tree = objective

                def function(flat: jax.Array) -> jax.Array:
                    return of_tree(unravel(flat))

                value = function(x)
            moved, state = ops.lbfgs_move(x, value, gradient, state, learning_rate, function)
            return unravel(moved - x), state

        return optax.chain(decay, optax.GradientTransformationExtraArgs(init, update))
