"""A reader of TensorFlow.js's weights: a manifest, JSON, and one file or several beside it.

Arrays are often stored in 8 or 16 bits, as `stored * scale + min`. No TensorFlow is needed.
"""

import json
import math
import pathlib
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import UserError, printable

SUFFIX = "weights_manifest.json"
_LONGEST = 100_000_000
_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "uint8": "u1"}
_STORED = {"uint8": "u1", "uint16": "<u2", "float16": "<f2"}


def manifest_of(path: Path) -> Path | None:
    """Returns a manifest itself, or that of the `.bin` which it is beside; None without."""
    if path.name.endswith(SUFFIX):
        return path
    manifest = path.with_name(f"{path.stem}-{SUFFIX}")
    return manifest if path.suffix.lower() == ".bin" and manifest.is_file() else None


def read_manifest(path: Path) -> dict[str, np.ndarray]:
    """Returns all arrays of a manifest's files by name, in TensorFlow's layouts.

    Raises:
      UserError: no manifest, or a damaged one; a file that is missing, too short or too long.
    """
    if path.stat().st_size > _LONGEST:
        raise UserError("a manifest of more than 100 MB")
    state: dict[str, np.ndarray] = {}
    try:
        for group in json.loads(path.read_bytes()):
            data, start = _joined(path, group["paths"]), 0
            for entry in group["weights"]:
                name = str(entry["name"])
                if name in state:
                    raise UserError(f"two arrays have the name {printable(name)}")
                state[name], start = _array(data, start, name, entry)
            if start != len(data):
                raise UserError(
                    f"{printable(group['paths'])} hold {len(data)} bytes, the manifest's arrays "
                    f"{start}; fetch them again"
                )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {printable(error)}"
        raise UserError(f"not a manifest of TensorFlow.js ({reason})") from None
    if not state:
        raise UserError("a manifest without arrays")
    return state


def _joined(manifest: Path, names: list[Any]) -> bytes:
    """Returns the bytes of a group's files, one after another."""
    parts = []
    for name in map(str, names):
        if name != pathlib.PurePath(name).name or "\0" in name or not name:
            raise UserError(f"its file {printable(name)!r} is no file beside it")
        file = manifest.parent / name
        if not file.is_file():
            raise UserError(f"its file {printable(name)!r} is missing beside it")
        parts.append(file.read_bytes())
    return b"".join(parts)


def _array(data: bytes, start: int, name: str, entry: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Returns an array that begins at a byte, and where it ends."""
    shape = tuple(int(n) for n in entry["shape"])
    if min(shape, default=0) < 0:
        raise UserError(f"{printable(name)} has a negative shape, {printable(shape)}")
    dtype, quantization = entry["dtype"], entry.get("quantization")
    if dtype not in _DTYPES:
        raise UserError(f"{printable(name)} is of dtype {printable(dtype)}, which is not read")
    stored = np.dtype(_STORED[quantization["dtype"]] if quantization else _DTYPES[dtype])
    end = start + math.prod(shape) * stored.itemsize
    if end > len(data):
        raise UserError(f"the files end within {printable(name)}; fetch them again")
    value = np.frombuffer(data[start:end], stored).reshape(shape)
    if quantization and "scale" in quantization:
        value = value.astype(np.float64) * float(quantization["scale"]) + float(quantization["min"])
        value = np.rint(value) if dtype == "int32" else value
    return value.astype(_DTYPES[dtype]), end
