"""A reader of torch's .pth and .pt files, without torch and without running what they say.

Both of torch's layouts are read: the zip archive (since 1.6) and the older sequence of pickles.
"""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import UserError, printable
from vision_jax.weights.contents import state_of
from vision_jax.weights.numpy_pickle import PickledArray
from vision_jax.weights.pickled import Storage
from vision_jax.weights.safe_pickle import in_one_line, interpret, run

_ZIP = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
Load = Callable[[Storage], np.ndarray]  # reads the values of a storage, in its own type


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays by name in a torch file; views of one storage share its memory.

    A checkpoint may hold its weights under 'state_dict', 'model', …; see `contents.state_of`. What
    it holds beside them is not looked at.

    Raises:
      UserError: not a torch file, damaged, or without tensors by name.
    """
    with in_one_line("torch file"):
        if zipfile.is_zipfile(path):
            return _read_zip(path)
        with path.open("rb") as file:
            if file.read(len(_ZIP)) == _ZIP:  # an archive's list of contents is at its end
                raise UserError("the file is cut short, its end is missing; fetch it again")
        return _read_legacy(path)


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    """Reads the layout since torch 1.6: an archive of a pickle and of its storages."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        pickles = [n for n in names if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise UserError("a zip archive, but not one that torch.save wrote")
        root = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise UserError("a compressed archive; torch.save stores its records as they are")
        order = root + "byteorder"
        if order in names and archive.read(order) != b"little":
            raise UserError("big-endian weights")
        content = interpret(io.BytesIO(archive.read(pickles[0])))
        read = 0

        def load(storage: Storage) -> np.ndarray:
            nonlocal read
            name = f"{root}data/{storage.key}"
            if name not in names:
                raise UserError(f"the archive lacks the storage {printable(storage.key)!r}")
            read += archive.getinfo(name).file_size
            if read > size:
                raise UserError("records that overlap")
            return _numbers(archive.read(name), storage, 0)

        return _read_tensors(content, load)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    """Reads the layout before torch 1.6: pickles one after another, then the storages.

    A file of a single pickle, which Python itself wrote, may hold numpy's arrays.
    """
    data = path.read_bytes()
    file = io.BytesIO(data)
    first = interpret(file)
    if isinstance(first, dict | list | tuple):
        return _read_tensors(first, _no_storages)
    if first != _LEGACY_MAGIC:
        raise UserError("not a torch file")
    interpret(file)  # protocol version
    system = interpret(file)
    if not system.get("little_endian", True):
        raise UserError("big-endian weights")
    content, known = run(file)
    keys = interpret(file)
    storages: dict[str, np.ndarray] = {}
    start = file.tell()
    for key in keys:
        shown = repr(printable(key))
        if key not in known:
            raise UserError(f"a storage {shown} that no tensor names")
        (count,) = struct.unpack_from("<q", data, start)
        if count != known[key].count:
            raise UserError(f"a storage {shown} of {count} values instead of {known[key].count}")
        storages[key] = _numbers(data, known[key], start + 8)
        start += 8 + storages[key].nbytes
    return _read_tensors(content, lambda storage: storages[storage.key])


def _no_storages(storage: Storage) -> np.ndarray:
    raise UserError("tensors without their storages")


def _numbers(data: bytes, storage: Storage, start: int) -> np.ndarray:
    """Returns a storage's values, which begin at a byte of `data` and share its memory."""
    shown = repr(printable(storage.key))
    if storage.dtype is None:
        raise UserError(f"a storage {shown} of a type that is not read")
    size = storage.count * storage.dtype.itemsize
    if start + size > len(data):
        raise UserError(f"cut short or damaged: {size:,} bytes are due for storage {shown}")
    if not size:
        return np.zeros(0, storage.dtype)
    return np.frombuffer(data, storage.dtype, storage.count, start)


def _read_tensors(content: Any, load: Load) -> dict[str, np.ndarray]:
    """Returns the arrays by name; `load` reads a storage, each of them once."""
    storages: dict[tuple[str, np.dtype | None], np.ndarray] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, value in state_of(content).items():
        try:
            if isinstance(value, PickledArray):
                arrays[name] = value.read()
                continue
            key = value.storage.key, None
            if key not in storages:
                storages[key] = load(value.storage)
            if storages[key].dtype != value.storage.dtype:
                raise UserError("a tensor whose storage has another type")
            if value.dtype is not None and (key[0], value.dtype) not in storages:
                storages[key[0], value.dtype] = storages[key].view(value.dtype)
            arrays[name] = value.read(storages[key[0], value.dtype])
        except UserError as error:
            raise UserError(f"{printable(name)}: {error}") from None
    return arrays
