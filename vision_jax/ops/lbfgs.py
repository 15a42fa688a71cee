"""L-BFGS on one array, as pure functions of its state, with a fixed step or a line search.

The two-loop recursion of Nocedal & Wright 2006, algorithm 7.4, whose first inverse Hessian is
s·y / y·y of the newest pair. What it leaves open is decided as torch.optim.LBFGS does: the first
step is scaled by min(1, 1 / Σ|g|), and a pair counts only if s·y > 1e-10.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from vision_jax.ops.wolfe import SMALLEST_CHANGE, choose, wolfe_step

Objective = Callable[[Float[Array, "*d"]], Float[Array, ""]]
_LEAST_CURVATURE = 1e-10
_SMALLEST_GRADIENT = 1e-7


class LBFGSState(NamedTuple):
    """What an iteration hands to the next one; arrays of fixed shape, to be saved as they are.

    Fields:
      gradient: where the last step began, flattened.
      move: the last step.
      moves, changes: the newest pairs of steps and of the gradients' changes, the newest last.
      curvature: 1 / s·y of each pair; 0 where there is none yet.
      scale: of the first inverse Hessian.
      iteration: steps that were tried.
    """

    gradient: Float[Array, "n"]
    move: Float[Array, "n"]
    moves: Float[Array, "m n"]
    changes: Float[Array, "m n"]
    curvature: Float[Array, "m"]
    scale: Float[Array, ""]
    iteration: Int[Array, ""]


def lbfgs_state(x: Float[Array, "*d"], history: int = 10) -> LBFGSState:
    """Makes the state before the first step from `x`; `history` pairs will be kept."""
    none, pairs = jnp.zeros(x.size, x.dtype), jnp.zeros((history, x.size), x.dtype)
    curvature, one = jnp.zeros(history, x.dtype), jnp.ones((), x.dtype)
    return LBFGSState(none, none, pairs, pairs, curvature, one, jnp.zeros((), jnp.int32))


def lbfgs_step(
    function: Objective,
    x: Float[Array, "*d"],
    state: LBFGSState,
    step_size: float = 1.0,
    line_search: bool = False,
) -> tuple[Float[Array, "*d"], LBFGSState, Float[Array, ""]]:
    """Makes one step; nothing moves any more where the gradient has vanished.

    Args:
      function: the objective, a scalar of the array.
      x: where to step from.
      state: of the steps before, see `lbfgs_state`.
      step_size: multiplies the direction.
      line_search: search for a step along the direction that fulfils the strong Wolfe conditions,
        beginning with `step_size`.

    Returns:
      The new array, the new state, and the objective before the step.
    """
    value, gradient = jax.value_and_grad(function)(x)
    x, state = lbfgs_move(x, value, gradient, state, step_size, function if line_search else None)
    return x, state, value


def lbfgs_move(
    x: Float[Array, "*d"],
    value: Float[Array, ""],
    gradient: Float[Array, "*d"],
    state: LBFGSState,
    step_size: float | Float[Array, ""] = 1.0,
    function: Objective | None = None,
) -> tuple[Float[Array, "*d"], LBFGSState]:
    """Makes one step where the objective and its gradient are known; see `lbfgs_step`.

    Args:
      x: where to step from.
      value, gradient: of the objective there.
      state: of the steps before.
      step_size: multiplies the direction.
      function: the objective, for a line search; None makes the whole step.

    Returns:
      The new array and the new state.
    """
    gradient = gradient.reshape(-1)
    later = _with_newest_pair(state, gradient)
    direction = _direction(later, gradient)
    is_first = state.iteration == 0
    scale = jnp.minimum(1.0, 1 / jnp.abs(gradient).sum())
    size = jnp.where(is_first, scale, 1.0).astype(x.dtype) * step_size
    slope = jnp.vdot(gradient, direction)
    is_done = jnp.abs(gradient).max() <= _SMALLEST_GRADIENT
    falls = (slope <= -SMALLEST_CHANGE) & ~is_done
    if function is not None:
        along = direction.reshape(x.shape)
        size = wolfe_step(function, x, along, size, value, slope, falls)
    move = jnp.where(falls, size * direction, 0)
    later = later._replace(gradient=gradient, move=move, iteration=state.iteration + 1)
    return x + move.reshape(x.shape), choose(is_done, state, later)


def lbfgs(
    function: Objective,
    x: Float[Array, "*d"],
    steps: int,
    state: LBFGSState | None = None,
    history: int = 10,
    step_size: float = 1.0,
    line_search: bool = False,
) -> tuple[Float[Array, "*d"], LBFGSState, Float[Array, "steps"]]:
    """Minimises a function of one array by a fixed number of steps, in one loop under `jit`.

    Chunks that hand on array and state give the same bits as one call with all steps, where both
    are compiled alike.

    Args:
      function, x, step_size, line_search: see `lbfgs_step`.
      steps: how many.
      state: of steps before, from an earlier call; None begins.
      history: pairs to keep, of a state that begins.

    Returns:
      The array, the state, and the objective before each step.
    """

    def body(carry, _):
        *carry, value = lbfgs_step(function, *carry, step_size, line_search)
        return tuple(carry), value

    state = lbfgs_state(x, history) if state is None else state
    (x, state), values = lax.scan(body, (x, state), length=steps)
    return x, state, values


def _with_newest_pair(state: LBFGSState, gradient: Float[Array, "n"]) -> LBFGSState:
    """Adds the last step and what it changed; the oldest pair goes."""
    change = gradient - state.gradient
    product = jnp.vdot(change, state.move)
    counts = (state.iteration > 0) & (product > _LEAST_CURVATURE)
    safe = jnp.where(counts, product, 1)

    def push(pairs, newest):
        return jnp.concatenate([pairs[1:], newest[None]])

    later = state._replace(
        moves=push(state.moves, state.move),
        changes=push(state.changes, change),
        curvature=push(state.curvature, 1 / safe),
        scale=safe / jnp.where(counts, jnp.vdot(change, change), 1),
    )
    return choose(counts, later, state)


def _direction(state: LBFGSState, gradient: Float[Array, "n"]) -> Float[Array, "n"]:
    """Multiplies the negative gradient by the inverse Hessian that the pairs stand for.

    Pairs that are not there yet have curvature 0, and so no part in it.
    """
    pairs = (state.moves, state.changes, state.curvature)

    def newest_first(q, pair):
        move, change, curvature = pair
        share = curvature * jnp.vdot(move, q)
        return q - share * change, share

    def oldest_first(r, pair):
        (move, change, curvature), share = pair
        return r + (share - curvature * jnp.vdot(change, r)) * move, None

    q, shares = lax.scan(newest_first, -gradient, pairs, reverse=True)
    return lax.scan(oldest_first, q * state.scale, (pairs, shares))[0]
