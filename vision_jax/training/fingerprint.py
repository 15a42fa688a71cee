"""Fingerprints of data: enough to notice that a data set is not the one it was.

A fingerprint costs the same for a million images as for a thousand: the number of examples and the
classes are known anyway; of the images 1,024, evenly spaced, give their ids and 16 of them all that
they hold. So it reads at most about a thousand records, which takes a second or less, and it does
not notice that a few among many were exchanged for others.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.data import Source

_IDS, _WHOLE = 1024, 16  # images that give their ids, and all that they hold


def of(source: Source) -> dict[str, Any]:
    """Takes a source's fingerprint, in JSON's types.

    Returns:
      'examples', their number; 'classes', their names; 'version', of the data set; 'ids' and
      'contents', hashes.
    """
    count = len(source)
    ids, contents = hashlib.sha256(), hashlib.sha256()
    for i in _spaced(count, _IDS):
        _add(ids, _readable(source.image_id, i))
    for i in _spaced(count, _WHOLE):
        _add(contents, _readable(source.__getitem__, i))
    return {
        "examples": count,
        "classes": list(source.classes),
        "version": source.version,
        "ids": ids.hexdigest(),
        "contents": contents.hexdigest(),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Tells in words what differs between two fingerprints; nothing where they are equal."""
    told = [
        f"{old.get(key)} -> {new[key]} {key}"
        for key in ("examples", "version")
        if old.get(key) != new[key]
    ]
    before, after = old.get("classes", []), new["classes"]
    if before != after:
        gone = [f"without {name!r}" for name in before if name not in after]
        added = [f"with {name!r}" for name in after if name not in before]
        changed = ", ".join([*gone, *added][:3]) or "in another order"
        told.append(f"{len(before)} -> {len(after)} classes ({changed})")
    if not told and old.get("ids") != new["ids"]:
        told.append("other images")
    if not told and old.get("contents") != new["contents"]:
        told.append("other pixels or annotations")
    return told


def _spaced(count: int, some: int) -> list[int]:
    """Returns numbers of evenly spaced examples, the first and the last among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, some))}) if count else []


def _readable(read: Any, i: int) -> Any:
    """Reads something of an example; of one that cannot be read the message stands for it."""
    try:
        return read(i)
    except UserError as error:
        return f"unreadable: {error}"


def _add(total: Any, value: Any) -> None:
    """Adds a value to a hash: arrays, text, numbers, and containers of them, by their contents."""
    if isinstance(value, np.ndarray):
        total.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, bytes):
        total.update(b"bytes%d:" % len(value) + value)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            total.update(f"{key}=".encode())
            _add(total, value[key])
    elif isinstance(value, list | tuple):
        total.update(f"[{len(value)}]".encode())
        for item in value:
            _add(total, item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _add(total, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, str | int | float | np.generic | None):
        total.update(f"{value!r};".encode())
    else:  # of a kind that nobody knows here, and that may show its address
        total.update(type(value).__name__.encode())
