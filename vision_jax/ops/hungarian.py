"""The cheapest one-to-one assignment, exact and with static shapes, by shortest augmenting paths.

It is the method of Jonker & Volgenant (1987) as Crouse (2016) states it for oblong problems, which
SciPy's `linear_sum_assignment` has too, which programs on the CPU call. Elsewhere the loops over
columns are operations on whole vectors, and the loops over rows and along paths are one loop, so
that of several problems in one program (`vmap`) each goes at its own pace, and padded rows cost
nothing.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float, Int

from vision_jax.kernels.assignment import assign_on_cpu


class _State(NamedTuple):
    """A search for the shortest path from a row without a column to a column without a row.

    A row's price is not kept: it is that which makes its own column free of charge.
    """

    row_of: Array  # (c,) int32, each column's row; -1 for none
    column_of: Array  # (r,) int32, each row's column; -1 for none
    price: Array  # (c,) of the columns, at most 0
    distance: Array  # (c,) from the source, along the shortest path known
    before: Array  # (c,) int32, the last row of this path
    closed: Array  # (c,) bool, the distance is final
    row: Array  # () int32, the row that is looked from
    reached: Array  # () its distance
    source: Array  # () int32; -1: all rows have columns
    end: Array  # () int32, the column that a row is led to; -1 while there is none


def cheapest_assignment(
    cost: Float[Array, "r c"], valid: Bool[Array, "r"] | None = None
) -> Int[Array, "r"]:
    """Finds for each row a column of its own, such that the sum of costs is the least.

    Args:
      cost: finite; there are as many columns as rows, or more.
      valid: rows that take part; None: all.

    Returns:
      Each row's column, -1 for rows that do not take part.

    Raises:
      ValueError: more rows than columns.
    """
    rows, columns = cost.shape
    if rows > columns:
        raise ValueError(f"{rows} rows cannot have columns of their own among {columns}")
    valid = jnp.ones(rows, bool) if valid is None else valid
    if rows == 0:
        return jnp.zeros(0, jnp.int32)
    return _assign_all(lax.stop_gradient(cost)[None], valid[None])[0]


@custom_vmap
def _assign_all(cost: Array, valid: Array) -> Array:
    """Solves problems (n, r, c), each by itself, in the way that is the platform's fastest."""
    search = jax.vmap(search_assignment)
    return lax.platform_dependent(cost, valid, cpu=assign_on_cpu, default=search)


@_assign_all.def_vmap
def _assign_batches(size: int, batched: list[bool], cost: Array, valid: Array) -> tuple:
    """Puts the problems of a batch, and those of batches of batches, behind one another."""
    cost, valid = (
        x if there else jnp.broadcast_to(x[None], (size, *x.shape))
        for x, there in zip((cost, valid), batched, strict=True)
    )
    flat = _assign_all(cost.reshape(-1, *cost.shape[2:]), valid.reshape(-1, valid.shape[2]))
    return flat.reshape(valid.shape), True


def search_assignment(cost: Float[Array, "r c"], valid: Bool[Array, "r"]) -> Int[Array, "r"]:
    """Searches by vector operations alone; see `cheapest_assignment`. There is at least one row."""
    columns = cost.shape[1]
    row_of, column_of = _first_choices(cost, valid)
    blank = _State(
        row_of=row_of,
        column_of=column_of,
        price=jnp.zeros(columns, cost.dtype),
        distance=jnp.full(columns, jnp.inf, cost.dtype),
        before=jnp.full(columns, -1, jnp.int32),
        closed=jnp.zeros(columns, bool),
        row=jnp.int32(0),
        reached=jnp.zeros((), cost.dtype),
        source=jnp.int32(-1),
        end=jnp.int32(-1),
    )
    start = _restart(blank, valid)
    end = lax.while_loop(lambda s: s.source >= 0, lambda s: _step(s, cost, valid), start)
    return end.column_of


def _first_choices(cost: Array, valid: Array) -> tuple[Array, Array]:
    """Gives each row its cheapest column, where no row before it wants the same."""
    rows, columns = cost.shape
    choice = jnp.argmin(cost, 1).astype(jnp.int32)
    number = jnp.arange(rows, dtype=jnp.int32)
    wants = (choice[:, None] == jnp.arange(columns)[None]) & valid[:, None]
    first = jnp.min(jnp.where(wants, number[:, None], rows), 0)
    row_of = jnp.where(first < rows, first, -1).astype(jnp.int32)
    return row_of, jnp.where(valid & (row_of[choice] == number), choice, -1)


def _restart(s: _State, valid: Array) -> _State:
    """Begins at the first row that has no column."""
    alone = valid & (s.column_of < 0)
    source = jnp.where(alone.any(), jnp.argmax(alone), -1).astype(jnp.int32)
    return s._replace(
        distance=jnp.full_like(s.distance, jnp.inf),
        closed=jnp.zeros_like(s.closed),
        row=jnp.maximum(source, 0),
        reached=jnp.zeros_like(s.reached),
        source=source,
    )


def _step(s: _State, cost: Array, valid: Array) -> _State:
    """Looks from one row, or exchanges one pair along the path that was found."""
    s = _choose(s.end < 0, _look(s, cost), s)
    exchanged = _exchange(s)
    done = exchanged.end < 0
    s = _choose(s.end >= 0, _choose(done, _restart(exchanged, valid), exchanged), s)
    return s


def _look(s: _State, cost: Array) -> _State:
    """Closes the nearest column: the path ends at one without a row, else goes on from its row."""
    own = s.column_of[s.row]
    here = cost[s.row]
    paid = jnp.where(own < 0, 0, here[own] - s.price[own])
    distance = s.reached + (here - s.price - paid)
    shorter = ~s.closed & (distance < s.distance)
    distance = jnp.where(shorter, distance, s.distance)
    nearest = jnp.argmin(jnp.where(s.closed, jnp.inf, distance)).astype(jnp.int32)
    reached, row = distance[nearest], s.row_of[nearest]
    ends = row < 0
    closed = s.closed | (jnp.arange(len(distance)) == nearest)
    return s._replace(
        price=jnp.where(ends & closed, s.price + distance - reached, s.price),
        distance=distance,
        before=jnp.where(shorter, s.row, s.before),
        closed=closed,
        row=jnp.where(ends, s.row, row),
        reached=reached,
        end=jnp.where(ends, nearest, -1),
    )


def _exchange(s: _State) -> _State:
    """Gives the path's last column to the row before it, whose own column is then the last."""
    column = jnp.maximum(s.end, 0)
    row = jnp.maximum(s.before[column], 0)
    return s._replace(
        row_of=jnp.where(jnp.arange(len(s.row_of)) == column, row, s.row_of),
        column_of=jnp.where(jnp.arange(len(s.column_of)) == row, column, s.column_of),
        end=s.column_of[row],
    )


def _choose(condition: Array, one: _State, other: _State) -> _State:
    return _State(*(jnp.where(condition, a, b) for a, b in zip(one, other, strict=True)))
