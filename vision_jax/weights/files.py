"""Files of weights with names: each kind's reader, and files that are one in several parts."""

import json
import pathlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from vision_jax.config import UserError, printable, suggest
from vision_jax.weights import caffe, darknet, detectron2, face_api, hed, safe_tensors, tfjs
from vision_jax.weights.pth import read_pth

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar")
INDEX = ".index.json"  # of 'model.safetensors.index.json', the list of a file's parts
_LONGEST_INDEX = 100_000_000
_HALF = (np.dtype("float16"), np.dtype(ml_dtypes.bfloat16))


def read_state(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the state dict in a file, in the reference's names and layouts.

    Values of less than 32 bits (float16, bfloat16) come as float32. Arrays are views of what was
    read, and of one another where the file says so: do not write into them.

    Raises:
      UserError: the file is missing or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such weights file")
    try:
        return _without_halves(_read_parts(path) if path.name.endswith(INDEX) else _read(path))
    except OSError as error:
        raise UserError(f"the file cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise UserError("the file does not fit in memory") from error


def _read(path: Path) -> dict[str, np.ndarray]:
    """Reads one file by its suffix."""
    suffix = path.suffix.lower()
    if suffix == caffe.SUFFIX:
        return caffe.read_caffemodel(path)
    if suffix == hed.SUFFIX:
        return hed.read_h5(path)
    if (manifest := tfjs.manifest_of(path)) is not None:
        return face_api.read_manifest(manifest)
    if suffix not in (*TORCH_SUFFIXES, safe_tensors.SUFFIX, detectron2.SUFFIX):
        others = (caffe, detectron2, darknet, hed, tfjs)
        suffixes = (*TORCH_SUFFIXES, *(reader.SUFFIX for reader in others), INDEX)
        known = ", ".join((safe_tensors.SUFFIX, *suffixes))
        raise UserError(f"weights in a {suffix or 'nameless'} file - known: {known}")
    # People rename files: these three kinds are told apart by how they begin.
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:] == b"{":
        return safe_tensors.read_safetensors(path)
    if suffix == safe_tensors.SUFFIX and start[:2] not in (b"PK", b"\x80\x02"):
        return safe_tensors.read_safetensors(path)
    if suffix == detectron2.SUFFIX and start[:2] != b"PK":
        return detectron2.read_pkl(path)
    return read_pth(path)


def _read_parts(path: Path) -> dict[str, np.ndarray]:
    """Reads all parts of a file that has a list of them, {'weight_map': {name: part}}.

    Raises:
      UserError: a damaged list, a part that is missing, or one that lacks an array.
    """
    if path.stat().st_size > _LONGEST_INDEX:
        raise UserError("an index of more than 100 MB")
    try:
        index = json.loads(path.read_bytes())
        places: dict[str, Any] = dict(index["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {printable(error)}"
        raise UserError(f"not a list of a file's parts, {{'weight_map': …}} ({reason})") from error
    names: dict[str, list[str]] = {}
    for name, place in places.items():
        names.setdefault(str(place), []).append(name)
    state: dict[str, np.ndarray] = {}
    for part, names_there in names.items():
        if part != pathlib.PurePath(part).name or "\0" in part or not part:
            raise UserError(f"its part {printable(part)!r} is no file beside it")
        file = path.parent / part
        if not file.is_file():
            close = suggest(part, [p.name for p in path.parent.iterdir()])
            raise UserError(f"its part {printable(part)!r} is missing{printable(close, 200)}")
        try:
            arrays = _read(file)
        except UserError as error:
            raise UserError(f"{printable(part)}: {error}") from None
        for name in names_there:
            if name not in arrays:
                raise UserError(f"{printable(part)} lacks {printable(name)}, which the index names")
            state[name] = arrays[name]
    return state


def part_of(path: Path) -> str | None:
    """Returns the name of the index that names a file as one of several parts, if there is one."""
    if "-of-" not in path.name:
        return None
    return next((p.name for p in path.parent.glob(f"*{INDEX}")), None)


def _without_halves(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns values of 16 bits into float32; views of one array stay views of one."""
    wide: dict[tuple[int, np.dtype], np.ndarray] = {}
    result: dict[str, np.ndarray] = {}
    for name, value in state.items():
        if value.dtype not in _HALF:
            result[name] = value
            continue
        root = value
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not root.flags.c_contiguous or root.nbytes % 2 or not value.size:
            result[name] = value.astype(np.float32)
            continue
        key = id(root), value.dtype
        if key not in wide:
            wide[key] = root.reshape(-1).view(value.dtype).astype(np.float32)
        start = value.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        strides = [2 * s for s in value.strides]
        result[name] = np.ndarray(value.shape, np.float32, wide[key], 2 * start, strides)
    return result
