"""torch's .pth and .pt files, read without torch and without running what they say.

Both of torch's layouts are read: the zip archive (since 1.6) and the older sequence of pickles.
"""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vision_jax.config import UserError
from vision_jax.weights.safe_pickle import Storage, Tensor, interpret

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """The arrays by name in a torch file.

    Of a checkpoint that holds its weights under 'state_dict', 'model' or 'model_state_dict', those;
    the prefix 'module.' of data-parallel training is taken off.

    Raises:
      UserError: not a torch file, damaged, or asking for more than tensors and containers.
    """
    try:
        found = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except UserError as error:
        raise UserError(_line(error)) from error
    except Exception as error:  # a hostile file may make the parser raise anything
        text = f"not a readable torch file ({type(error).__name__}: {_line(error)})"
        raise UserError(text) from error
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    return found


def _line(error: Exception) -> str:
    """The message on one short line, whatever names the file put into it."""
    return " ".join(str(error).split())[:300]


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl") or n == "data.pkl"]
        if len(pickles) != 1:
            raise UserError("a zip archive, but not one that torch.save wrote")
        root = pickles[0].removesuffix("data.pkl")
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise UserError("a compressed archive; torch.save stores its records as they are")
        order = root + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise UserError("big-endian weights")
        content = interpret(io.BytesIO(archive.read(pickles[0])))

        def load(storage: Storage) -> np.ndarray:
            raw = archive.read(f"{root}data/{storage.key}")
            return np.frombuffer(raw, storage.dtype, storage.count)

        return _filled(content, load)


def _read_legacy(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        if interpret(file) != _LEGACY_MAGIC:
            raise UserError("not a torch file")
        interpret(file)  # protocol version
        system = interpret(file)
        if not system.get("little_endian", True):
            raise UserError("big-endian weights")
        content = interpret(file)
        keys = interpret(file)
        wanted = {tensor.storage.key: tensor.storage for tensor in _found(content).values()}
        data = {}
        for key in keys:
            (count,) = struct.unpack("<q", file.read(8))
            if key not in wanted:
                raise UserError(f"a storage {key!r} that no tensor names")
            storage = wanted[key]
            if count != storage.count:
                raise UserError(f"a storage {key!r} of {count} values instead of {storage.count}")
            data[key] = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype)
        return _filled(content, lambda storage: data[storage.key])


def _found(content: Any) -> dict[str, Tensor]:
    """The tensors of a state dict or of a checkpoint that holds one."""
    if not isinstance(content, dict):
        raise UserError(f"a {type(content).__name__} where a state dict should be")
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
    found = {k: v for k, v in content.items() if isinstance(v, Tensor) and isinstance(k, str)}
    if not found:
        raise UserError("no tensors by name")
    return found


def _filled(content: Any, load: Callable[[Storage], np.ndarray]) -> dict[str, np.ndarray]:
    storages: dict[str, np.ndarray] = {}
    filled = {}
    for name, tensor in _found(content).items():
        key = tensor.storage.key
        if key not in storages:
            storages[key] = load(tensor.storage)
        filled[name] = tensor.read(storages[key])
    return filled
