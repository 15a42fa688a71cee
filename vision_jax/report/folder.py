"""The files of a run folder: rows of JSON that survive a kill, and named arrays."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from vision_jax.config import UserError


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a whole file, or, when killed on the way, leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    with open(half, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(half, path)


def row_line(step: int, values: Mapping[str, Any]) -> bytes:
    """Writes a row as a line of JSON: the step, then the values sorted by name.

    Floats are written as Python's shortest text that reads back as the same float64, so that equal
    numbers are equal bytes; what is not finite, which JSON lacks, becomes null.

    Raises:
      TypeError: a value that is not a scalar.
    """
    row: dict[str, Any] = {"step": int(step)}
    for name in sorted(values):
        row[name] = _plain(name, values[name])
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_rows(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads a .jsonl file's rows up to the first that is damaged; none if there is no file."""
    path = pathlib.Path(path)
    return [row for row, _ in _whole_rows(path.read_bytes())] if path.exists() else []


def keep_rows(path: pathlib.Path, keep: Callable[[dict[str, Any]], bool]) -> str | None:
    """Cuts a .jsonl file back to the whole rows that `keep` accepts, in place and atomically.

    Returns:
      One line about damage that was cut away; None if there was none, or no file.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    rows = list(_whole_rows(content))
    shorter = b"".join(line + b"\n" for row, line in rows if keep(row))
    if shorter != content:
        write_atomically(path, shorter)
    if len(rows) == len(content.splitlines()):
        return None
    return f"{path.name}: row {len(rows) + 1} was half written and is cut off with what follows"


def save_arrays(
    folder: str | os.PathLike, name: str, arrays: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """Saves named arrays as `<folder>/arrays/<name>.npz`, for the report to read.

    The report shows
      'confusion': `matrix` (c, c) counts, rows true classes; optional `classes` (c,) names;
      'per_class': `classes` (c,) names, and any number of (c,) values by metric;
      'predictions', 'detections', 'segmentations': what the galleries' `result` returns;
      'curves', 'precision_recall': as `save_evaluation` writes them.
    """
    path = pathlib.Path(folder) / "arrays" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{name}.{os.getpid()}.npz")
    np.savez_compressed(half, **{key: np.asarray(value) for key, value in arrays.items()})
    os.replace(half, path)
    return path


def load_arrays(folder: str | os.PathLike, name: str) -> dict[str, np.ndarray] | None:
    """Reads the arrays that `save_arrays` saved; None if there are none of that name.

    Raises:
      UserError: the file is damaged.
    """
    path = pathlib.Path(folder) / "arrays" / f"{name}.npz"
    if not path.exists():
        return None
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zipfile, zlib, numpy: each has its own
        raise UserError(f"{path} is damaged ({error}); delete it and evaluate again") from error


def _plain(name: str, value: Any) -> int | float | str | bool | None:
    """Turns a scalar into one of JSON's types."""
    if isinstance(value, (str, bool)) or value is None:
        return value
    if np.ndim(value):
        raise TypeError(f"value {name!r} of shape {np.shape(value)} is not a scalar")
    number = np.asarray(value).item()
    if isinstance(number, (bool, int)):
        return number
    number = float(number)
    return number if math.isfinite(number) else None


def _whole_rows(content: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yields each row and its line, up to the first that is damaged."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            return
        yield row, line
