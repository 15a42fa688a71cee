"""How numpy pickles its arrays: told apart and rebuilt by hand, for `safe_pickle`."""

import math
import re
from typing import Any

import numpy as np

from vision_jax.config import UserError

RECONSTRUCT = "_reconstruct"
MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
_NUMBERS = re.compile(r"[fiu][1248]|b1")


class PickledType:
    """A dtype of plain numbers; its byte order follows in a second step."""

    def __init__(self, code: Any) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise UserError(f"it asks for numpy.dtype({code!r}), which is refused: not numbers")
        self.dtype = np.dtype(code)

    def set_state(self, state: Any) -> None:
        """(version, byte order, …): nothing else matters for numbers."""
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise UserError("a numpy type of unknown byte order")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """An array, whose values follow in a second step."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        """(version, shape, dtype, whether in Fortran's order, bytes)."""
        _, shape, kind, fortran, raw = state
        plain = all(type(n) is int and 0 <= n < 2**48 for n in shape)
        if not isinstance(kind, PickledType) or not isinstance(raw, bytes) or not plain:
            raise UserError("a numpy array of something other than numbers")
        if math.prod(shape) * kind.dtype.itemsize != len(raw):
            raise UserError("a numpy array whose values do not fill its shape")
        order = "F" if fortran else "C"
        flat = np.frombuffer(raw, kind.dtype)
        self.value = flat.reshape(shape, order=order).astype(kind.dtype.newbyteorder("="))
