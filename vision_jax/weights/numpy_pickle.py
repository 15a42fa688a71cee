"""The parts of numpy's pickled arrays, which `safe_pickle` recognises and rebuilds by hand."""

import math
import re
from typing import Any, Literal

import numpy as np

from vision_jax.config import UserError, printable

CORES = ("numpy.core", "numpy._core")  # before and since numpy 2
_NUMBERS = re.compile(r"f[248]|[iu][1248]|b1")


class Raw:
    """An array's bytes, which pickles of Python 2 and of protocol 2 hold as text.

    Arrays that share them share what is made of them.
    """

    def __init__(self, content: str | bytes | bytearray) -> None:
        self._content = content
        self._numbers: dict[np.dtype, np.ndarray] = {}

    def read(self, dtype: np.dtype) -> np.ndarray:
        """Returns all numbers of a type, in the machine's byte order.

        Raises:
          UserError: they are no whole number of bytes, or the text is none of bytes.
        """
        if dtype not in self._numbers:
            if isinstance(self._content, str):
                self._content = self._content.encode("latin1")
            if len(self._content) % dtype.itemsize:
                raise UserError("a numpy array whose values do not fill its shape")
            numbers = np.frombuffer(self._content, dtype)
            self._numbers[dtype] = numbers.astype(dtype.newbyteorder("="), copy=False)
        return self._numbers[dtype]


class PickledType:
    """A dtype; only those of plain numbers can be read."""

    def __init__(self, code: Any) -> None:
        self.code = code
        is_number = isinstance(code, str) and _NUMBERS.fullmatch(code)
        self._dtype = np.dtype(code) if is_number else None

    @property
    def dtype(self) -> np.dtype:
        """The dtype.

        Raises:
          UserError: it is one of anything but numbers, such as objects, text or complex numbers.
        """
        if self._dtype is None:
            code = printable(repr(self.code), 40)
            raise UserError(f"it asks for numpy.dtype({code}), which is refused: not numbers")
        return self._dtype

    def set_state(self, state: Any) -> None:
        """Sets the byte order by (version, byte order, …); the rest matters for no numbers."""
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise UserError("a numpy type of unknown byte order")
        if self._dtype is not None:
            self._dtype = self._dtype.newbyteorder(order)


class PickledArray:
    """An array or a scalar; nothing is made of its values before they are read.

    Args:
      state: see `set_state`; it may follow in a second step.
    """

    def __init__(self, state: Any = None) -> None:
        self._state = state

    def set_state(self, state: Any) -> None:
        """Sets the values by (version, shape, dtype, whether in Fortran's order, bytes)."""
        self._state = state

    def read(self) -> np.ndarray:
        """Returns the values as a view of the pickle's bytes where the byte order allows it.

        Raises:
          UserError: not numbers, or too few or too many of them.
        """
        if self._state is None:
            raise UserError("an array without values")
        _, shape, kind, fortran, raw = self._state
        plain = isinstance(shape, tuple | list) and len(shape) <= 32
        plain = plain and all(type(n) is int and 0 <= n < 2**48 for n in shape)
        if not isinstance(kind, PickledType) or not plain:
            raise UserError("a numpy array of something other than numbers")
        dtype = kind.dtype
        if not isinstance(raw, Raw):
            raise UserError("a numpy array without bytes")
        numbers = raw.read(dtype)
        if math.prod(shape) != numbers.size:
            raise UserError("a numpy array whose values do not fill its shape")
        order: Literal["F", "C"] = "F" if fortran else "C"
        return numbers.reshape(tuple(shape), order=order)
