"""A writer of torch's files in both of their layouts, without torch."""

import collections
import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile

KINDS = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "|i1": "CharStorage",
    "<c8": "ComplexFloatStorage",
}
REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_qtensor")


class Module(types.ModuleType):
    """A module that pickle accepts as the home of the names that torch's pickles hold."""


@contextlib.contextmanager
def stand_in():
    """Puts modules in the place of torch that have the names which its pickles hold."""
    module, utils = Module("torch"), Module("torch._utils")
    for name in KINDS.values():
        setattr(module, name, type(name, (), {"__module__": "torch"}))
    for name in REBUILD:
        setattr(utils, name, _function("torch._utils", name))
    names = {"torch": module, "torch._utils": utils}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield module
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old


def _function(module, name):
    def function():
        raise AssertionError("never called")

    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


class Storage:
    def __init__(self, array, key):
        self.array, self.key = array, key


class Tensor:
    """Pickled as torch does: a view of a storage, with shape and strides in elements."""

    def __init__(self, storage, offset, shape, strides, how="_rebuild_tensor_v2"):
        self.how, self.arguments = how, (storage, offset, shape, strides)
        if how != "_rebuild_tensor":
            self.arguments += (False, collections.OrderedDict())

    def __reduce__(self):
        return getattr(sys.modules["torch._utils"], self.how), self.arguments


def tensor(array, key, how="_rebuild_tensor_v2"):
    strides = tuple(s // array.itemsize for s in array.strides)
    return Tensor(Storage(array, key), 0, array.shape, strides, how)


def state(values, how="_rebuild_tensor_v2"):
    return collections.OrderedDict(
        (k, tensor(v, str(i), how)) for i, (k, v) in enumerate(values.items())
    )


def dumped(torch, content, legacy=False, protocol=2):
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            if not isinstance(item, Storage):
                return None
            storages[item.key] = item.array
            kind = getattr(torch, KINDS[item.array.dtype.str])
            view = (None,) if legacy else ()
            return ("storage", kind, item.key, "cpu", item.array.size, *view)

    buffer = io.BytesIO()
    Pickler(buffer, protocol).dump(content)
    return buffer.getvalue(), storages


def write_zip(path, torch, content, compression=zipfile.ZIP_STORED, protocol=2):
    program, storages = dumped(torch, content, protocol=protocol)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes("A"))


def write_legacy(path, torch, content):
    program, storages = dumped(torch, content, legacy=True)
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        file.write(program)
        pickle.dump(sorted(storages), file, protocol=2)
        for key in sorted(storages):
            file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes("A"))


def write_program(path, program, storages=()):
    """Writes an archive of a pickle that was put together by hand."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program)
        for key, data in storages:
            archive.writestr(f"a/data/{key}", data)
