"""The files of a run folder: rows of JSON that survive a kill, and named arrays."""

import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.system import disk


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a whole file, or, when killed on the way, leaves what was there.

    Raises:
      UserError: the disk takes no more, or is gone.
    """
    with disk.whole_file(path) as half, open(half, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
    """Reads a .jsonl file's rows but those that are damaged; none if there is no file."""
    path = pathlib.Path(path)
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [row for line in lines if (row := _row(line)) is not None]


def keep_rows(
    path: pathlib.Path, keep: Callable[[dict[str, Any]], bool], repeats: bool = True
) -> str | None:
    """Cuts a .jsonl file back to the whole rows that `keep` accepts, in place and atomically.

    Args:
      path: the file.
      keep: whether a row stays.
      repeats: a row may be there twice; False keeps the first.

    Returns:
      One line about rows that were damaged or there twice; None if none was, or there is no file.

    Raises:
      UserError: the disk takes no more, or is gone.
    """
    if not path.exists():
        return None
    content = path.read_bytes()
    lines = content.splitlines()
    rows = [_row(line) for line in lines]
    first = dict(zip(reversed(lines), reversed(range(len(lines))), strict=True))
    twice = [] if repeats else [n for n, line in enumerate(lines) if first[line] != n]
    shorter = b"".join(
        line + b"\n"
        for number, (row, line) in enumerate(zip(rows, lines, strict=True))
        if row is not None and number not in twice and keep(row)
    )
    if shorter != content:
        write_atomically(path, shorter)
    damaged = [number for number, row in enumerate(rows) if row is None]
    if not damaged and not twice:
        return None
    if damaged == [len(lines) - 1] and not twice:
        return f"{path.name}: row {len(lines)} was half written and is cut off"
    said = {"damaged": damaged, "there twice": twice}
    counts = [f"{len(which)} {how} (row {which[0] + 1})" for how, which in said.items() if which]
    return f"{path.name}: rows left out: {', '.join(counts)}"


def save_arrays(
    folder: str | os.PathLike, name: str, arrays: Mapping[str, np.ndarray]
) -> pathlib.Path:
    """Saves named arrays as `<folder>/arrays/<name>.npz`, for the report to read.

    The report shows
      'confusion': `matrix` (c, c) counts, rows true classes; optional `classes` (c,) names;
      'per_class': `classes` (c,) names, and any number of (c,) values by metric;
      'predictions', 'detections', 'segmentations', 'images', 'attention', 'slots',
      'sequences': what the
      galleries' `result` returns;
      'made': `image` (h, w, 3), the first of the images that a network makes;
      'curves', 'precision_recall': as `save_evaluation` writes them.

    Raises:
      UserError: the disk takes no more, or is gone.
    """
    path = pathlib.Path(folder) / "arrays" / f"{name}.npz"
    with disk.whole_file(path) as half, open(half, "wb") as file:
        np.savez_compressed(file, **{key: np.asarray(value) for key, value in arrays.items()})
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


def _row(line: bytes) -> dict[str, Any] | None:
    """Reads a row; None where it is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
