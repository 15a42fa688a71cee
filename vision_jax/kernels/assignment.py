"""The cheapest assignments of many problems, found by SciPy within XLA:CPU's programs.

SciPy's search looks at a column after the other, with early exits that vector operations in lock
step have not. It is called on the program's own buffers, without the way over `pure_callback`.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vision_jax.kernels import xla_call

TARGET = "vision_jax_assignment"
_KINDS = {4: ctypes.c_float, 8: ctypes.c_double}


def assign_on_cpu(cost: Float[Array, "n r c"], valid: Bool[Array, "n r"]) -> Int[Array, "n r"]:
    """Finds for each row a column of its own, such that each problem's sum of costs is the least.

    It is for programs on the CPU alone.

    Args:
      cost: finite, float32 or float64; there are as many columns as rows, or more.
      valid: rows that take part.

    Returns:
      Each row's column, -1 for rows that do not take part.
    """
    _register()
    shape = np.array([*cost.shape, cost.dtype.itemsize], np.int64)
    result = jax.ShapeDtypeStruct(valid.shape, np.int32)
    return jax.ffi.ffi_call(TARGET, result)(cost, valid, shape=shape)


@functools.cache
def _register() -> None:
    _search()  # imported here rather than within a program
    xla_call.register(TARGET, _solve)


@functools.cache
def _search() -> Callable:
    """Imports SciPy's search, a quarter of a second that most networks do without."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment


def _solve(attribute: bytes, operands: Sequence[int], results: Sequence[int]) -> None:
    """Solves problem after problem; see `xla_call.Handler`."""
    n, rows, columns, size = np.frombuffer(attribute, np.int64).tolist()
    costs = _array(operands[0], _KINDS[size], (n, rows, columns))
    valid = _array(operands[1], ctypes.c_bool, (n, rows))
    found = _array(results[0], ctypes.c_int32, (n, rows))
    found[:] = -1
    for cost, there, column_of in zip(costs, valid, found, strict=True):
        taking_part = np.flatnonzero(there)
        if len(taking_part):
            column_of[taking_part] = _search()(cost[taking_part])[1]


def _array(address: int, kind: type, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the array of a buffer, without a copy."""
    pointer = ctypes.cast(address, ctypes.POINTER(kind))
    return np.ctypeslib.as_array(pointer, shape)
