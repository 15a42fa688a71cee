"""A reader of `.safetensors` files, whose arrays share the memory of the file's bytes."""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from vision_jax.config import UserError, printable
from vision_jax.weights.safe_pickle import in_one_line

SUFFIX = ".safetensors"
_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("<i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("<u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("<c8"),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}
_MOST_AXES = 32
_LONGEST_HEADER = 100_000_000  # the format's own limit


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays by name.

    Raises:
      UserError: not such a file, cut short, damaged, or of a type that numpy has not.
    """
    data = path.read_bytes()
    with in_one_line("safetensors file"):
        header, start = _header(data)
        state: dict[str, np.ndarray] = {}
        used = 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            try:
                state[name] = _array(entry, data, start)
            except UserError as error:
                raise UserError(f"{printable(name)}: {error}") from None
            used += state[name].nbytes
        if used != len(data) - start:
            raise UserError(
                f"cut short or damaged: {used:,} bytes in its list of arrays, "
                f"{len(data) - start:,} in the file"
            )
    return state


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Returns the list of arrays, and where their bytes begin."""
    if len(data) < 8:
        raise UserError("not a readable safetensors file: it ends before its header")
    size = int.from_bytes(data[:8], "little")
    if size > min(_LONGEST_HEADER, len(data) - 8):
        raise UserError(f"not a readable safetensors file: a header of {size:,} bytes")
    header = json.loads(data[8 : 8 + size], object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise UserError("not a readable safetensors file: its header is no list of arrays")
    return header, 8 + size


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a dict of JSON's pairs."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise UserError("damaged: two arrays have one name")
    return entries


def _array(entry: Any, data: bytes, start: int) -> np.ndarray:
    """Returns the array that an entry of the header describes."""
    kind, shape = entry["dtype"], entry["shape"]
    begin, end = entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise UserError(f"of type {printable(kind, 20)}, which is not read")
    dtype = _DTYPES[kind]
    plain = len(shape) <= _MOST_AXES and all(type(n) is int for n in (*shape, begin, end))
    if not plain or min((*shape, begin), default=0) < 0:
        raise UserError("an impossible shape")
    if end - begin != math.prod(shape) * dtype.itemsize or start + end > len(data):
        raise UserError(f"cut short or damaged: its bytes do not fill the shape {tuple(shape)}")
    if begin == end:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, math.prod(shape), start + begin).reshape(shape)
