"""A line search for the strong Wolfe conditions, in loops of fixed shape.

Nocedal & Wright 2006, algorithms 3.5 and 3.6, with cubic interpolation. Bounds of the trial steps
are those of minFunc (Schmidt 2005), which torch.optim.LBFGS took over.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

Tree = Any
SMALLEST_CHANGE = 1e-9  # of the objective by the slope, and of the array; less ends a search
_DECREASE, _CURVATURE = 1e-4, 0.9  # c1 and c2 of the conditions
_MOST_TRIALS = 25


class _Point(NamedTuple):
    """A point on the line: how far along it, the objective there, and its slope."""

    at: Float[Array, ""]
    value: Float[Array, ""]
    slope: Float[Array, ""]


class _Bracket(NamedTuple):
    """Two points between which an acceptable one lies.

    Fields:
      low, high: the points, the one with the lower value first.
      trials: evaluations so far.
      is_done: `low` is acceptable.
      is_slow: the last trial lay close to the border.
    """

    low: _Point
    high: _Point
    trials: Int[Array, ""]
    is_done: Bool[Array, ""]
    is_slow: Bool[Array, ""]


def wolfe_step(
    function: Callable[[Float[Array, "*d"]], Float[Array, ""]],
    x: Float[Array, "*d"],
    direction: Float[Array, "*d"],
    step: Float[Array, ""],
    value: Float[Array, ""],
    slope: Float[Array, ""],
    wanted: Bool[Array, ""],
) -> Float[Array, ""]:
    """Finds how far to go along a direction, so that the strong Wolfe conditions hold (eq. 3.7).

    Args:
      function: the objective.
      x: where the line begins.
      direction: of the line; the objective must fall along it.
      step: the first one to try.
      value: the objective at x.
      slope: its derivative along the direction.
      wanted: if False nothing is searched, and what is returned means nothing.
    """
    start = _Point(jnp.zeros_like(step), value, slope)

    def evaluate(at: Float[Array, ""]) -> _Point:
        value, gradient = jax.value_and_grad(function)(x + at * direction)
        return _Point(at, value, jnp.vdot(gradient, direction))

    def rises(point: _Point) -> Bool[Array, ""]:
        return point.value > value + _DECREASE * point.at * slope

    def is_flat(point: _Point) -> Bool[Array, ""]:
        return jnp.abs(point.slope) <= -_CURVATURE * slope

    bracket = _enclose(evaluate, rises, is_flat, start, step, wanted)
    length = jnp.abs(direction).max()

    def goes_on(bracket: _Bracket) -> Bool[Array, ""]:
        width = jnp.abs(bracket.high.at - bracket.low.at) * length
        is_left = (bracket.trials < _MOST_TRIALS) & (width >= SMALLEST_CHANGE)
        return is_left & ~bracket.is_done & wanted

    def narrow(bracket: _Bracket) -> _Bracket:
        at, is_slow = _trial(bracket)
        point = evaluate(at)
        low, high = bracket.low, bracket.high
        is_worse = rises(point) | (point.value >= low.value)
        turns = point.slope * (high.at - low.at) >= 0
        is_done = ~is_worse & is_flat(point)
        other = choose(is_worse, point, choose(turns & ~is_done, low, high))
        low, high = _sorted(choose(is_worse, low, point), other, is_worse)
        return _Bracket(low, high, bracket.trials + 1, is_done, is_slow)

    return lax.while_loop(goes_on, narrow, bracket).low.at


def _enclose(evaluate, rises, is_flat, start, step, wanted):
    """Lengthens the step until an acceptable point is found, or lies before it."""

    def is_end(before, point, trials):
        stops = rises(point) | ((trials > 1) & (point.value >= before.value))
        return stops | is_flat(point) | (point.slope >= 0)

    def goes_on(state):
        return wanted & (state[2] < _MOST_TRIALS) & ~is_end(*state)

    def lengthen(state):
        before, point, trials = state
        least = point.at + 0.01 * (point.at - before.at)
        return point, evaluate(_cubic(before, point, least, point.at * 10)), trials + 1

    # Without a search the first evaluation is spared too.
    first = lax.cond(wanted, evaluate, lambda at: start._replace(at=at), step)
    before, point, trials = lax.while_loop(goes_on, lengthen, (start, first, jnp.int32(0)))
    fails = rises(point) | ((trials > 1) & (point.value >= before.value))
    is_done = ~fails & is_flat(point) & (trials < _MOST_TRIALS)
    before = choose(trials < _MOST_TRIALS, before, start)
    low, high = _sorted(before, point, jnp.bool_(True))
    low, high = choose(is_done, point, low), choose(is_done, point, high)
    return _Bracket(low, high, trials, is_done, jnp.bool_(False))


def _trial(bracket):
    """Chooses where to try next, and says whether that is close to the bracket's border."""
    one, other = bracket.low.at, bracket.high.at
    least, most = jnp.minimum(one, other), jnp.maximum(one, other)
    at = _cubic(bracket.low, bracket.high, least, most)
    margin = 0.1 * (most - least)
    is_close = jnp.minimum(most - at, at - least) < margin
    moves = is_close & (bracket.is_slow | (at >= most) | (at <= least))
    is_right = jnp.abs(at - most) < jnp.abs(at - least)
    inside = jnp.where(is_right, most - margin, least + margin)
    return jnp.where(moves, inside, at), is_close & ~moves


def _cubic(one, other, least, most):
    """Finds the minimum of the cubic through two points and slopes, within bounds (eq. 3.59)."""
    swap = one.at > other.at
    left, right = choose(swap, other, one), choose(swap, one, other)
    width = right.at - left.at
    bend = left.slope + right.slope + 3 * (left.value - right.value) / width
    squared = bend * bend - left.slope * right.slope
    has_minimum = squared >= 0
    root = jnp.sqrt(jnp.where(has_minimum, squared, 0))
    share = (right.slope + root - bend) / (right.slope - left.slope + 2 * root)
    at = jnp.clip(right.at - width * share, least, most)
    return jnp.where(has_minimum, at, (least + most) / 2)


def _sorted(one, other, may_swap):
    """Returns two points, the lower one first; in their order where they may not be swapped."""
    swap = may_swap & (other.value < one.value)
    return choose(swap, other, one), choose(swap, one, other)


def choose(condition: Bool[Array, ""], one: Tree, other: Tree) -> Tree:
    """Takes the arrays of one tree where the condition holds, the other's where not."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), one, other)
