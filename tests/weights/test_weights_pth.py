"""torch's files without torch: the writer here produces both of its layouts."""

import collections
import io
import os
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.weights.pth import read_pth

KINDS = {
    "<f4": "FloatStorage",
    "<f8": "DoubleStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
}


class Module(types.ModuleType):
    """A module that pickle accepts as the home of the names that torch's pickles hold."""


@pytest.fixture
def torch(monkeypatch):
    module, utils = Module("torch"), Module("torch._utils")
    for name in KINDS.values():
        storage = type(name, (), {"__module__": "torch"})
        setattr(module, name, storage)

    def _rebuild_tensor_v2():
        raise AssertionError("never called")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


class Storage:
    def __init__(self, array, key):
        self.array, self.key = array, key


class Tensor:
    """Pickled as torch does: a view of a storage, with shape and strides in elements."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = storage, offset, shape, strides, False, collections.OrderedDict()

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


def tensor(array, key):
    strides = tuple(s // array.itemsize for s in array.strides)
    return Tensor(Storage(array, key), 0, array.shape, strides)


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


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.standard_normal((4, 3, 2, 2)).astype(np.float32),
        "conv.half": rng.standard_normal(5).astype(np.float16),
        "norm.num_batches_tracked": np.array(7),
    }


def state(values):
    return collections.OrderedDict(
        (k, tensor(v, str(i))) for i, (k, v) in enumerate(values.items())
    )


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_both_layouts_give_back_what_was_written(torch, tmp_path, write, wrapped):
    content = state(arrays())
    content._metadata = collections.OrderedDict(version=1)  # as torch's state dicts have
    if wrapped:
        content = {
            "epoch": 3,
            "best": 0.5,
            "state_dict": {f"module.{k}": v for k, v in content.items()},
        }
    write(tmp_path / "w.pth", torch, content)
    found = read_pth(tmp_path / "w.pth")
    assert found.keys() == arrays().keys()
    for name, value in arrays().items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_views_of_one_storage(torch, tmp_path, protocol):
    base = Storage(np.arange(12, dtype=np.float32), "0")
    content = {
        "rows": Tensor(base, 0, (3, 4), (4, 1)),
        "columns": Tensor(base, 1, (4, 2), (1, 4)),
        "scalar": Tensor(base, 11, (), ()),
        "empty": Tensor(base, 0, (0, 3), (3, 1)),
    }
    if protocol == 0:  # its text opcode for storages is not torch's
        protocol = 3
    write_zip(tmp_path / "w.pt", torch, content, protocol=protocol)
    found = read_pth(tmp_path / "w.pt")
    grid = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(found["rows"], grid)
    np.testing.assert_array_equal(found["columns"], np.arange(12)[1:9].reshape(2, 4).T)
    assert found["scalar"] == 11 and found["empty"].shape == (0, 3)


def test_load_takes_a_networks_weights_from_a_torch_file(torch, tmp_path):
    model = models.CifarResNet(8)
    rng = np.random.default_rng(0)
    reference = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in _reference_shapes(model).items()
    }
    write_zip(tmp_path / "w.th", torch, {"state_dict": state(reference), "best_prec1": 0.9})
    variables = weights.load(tmp_path / "w.th", model)
    back = weights.to_reference(variables, model)
    assert back.keys() == reference.keys()
    for name in reference:
        np.testing.assert_array_equal(back[name], reference[name])


def _reference_shapes(model):
    import jax
    import jax.numpy as jnp

    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, np.float32), shapes)
    return {k: v.shape for k, v in weights.to_reference(zeros, model).items()}


def test_half_precision_is_loaded_as_float32(torch, tmp_path):
    write_zip(tmp_path / "w.pth", torch, state(arrays()))
    found = weights.read_state(tmp_path / "w.pth")
    assert found["conv.half"].dtype == np.float32
    np.testing.assert_array_equal(found["conv.half"], arrays()["conv.half"])


class Bomb:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _refused(path):
    with pytest.raises(UserError) as error:
        read_pth(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
@pytest.mark.parametrize(
    "function, name",
    [(os.mkdir, "posix.mkdir"), (eval, "builtins.eval"), (getattr, "builtins.getattr")],
)
def test_malicious_pickles_are_refused_by_name(torch, tmp_path, write, function, name):
    target = tmp_path / "made"
    arguments = (str(target),) if function is os.mkdir else (f"open({str(target)!r}, 'w')",)
    content = {**state(arrays()), "bomb": Bomb(function, *arguments)}
    write(tmp_path / "w.pth", torch, content)
    text = _refused(tmp_path / "w.pth")
    assert name in text or f"__builtin__.{name.split('.')[1]}" in text
    assert not target.exists()


def _raw(tmp_path, program):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("a/data.pkl", program)
    return _refused(tmp_path / "w.pth")


def test_other_ways_to_run_code_are_refused(tmp_path):
    assert "asks for os.system" in _raw(tmp_path, b"(S'ls'\nios\nsystem\n.")
    assert "asks for os.system" in _raw(tmp_path, b"(cos\nsystem\nS'ls'\no.")
    assert "asks for os.system" in _raw(tmp_path, b"\x80\x02cos\nsystem\n)\x81.")
    assert "attributes for os.system" in _raw(tmp_path, b"\x80\x02cos\nsystem\n}b.")
    assert "instruction EXT1" in _raw(tmp_path, b"\x80\x02\x82\x01.")
    assert "no text" in _raw(tmp_path, b"\x80\x04)\x8c\x01a\x93.")
    assert "it asks for o s.a" in _raw(tmp_path, b"\x80\x04\x8c\x03o\ns\x8c\x01a\x93)R.")
    assert "dict key of type tuple" in _raw(tmp_path, b"\x80\x02})\x88s.")


def test_tensors_beyond_their_storage_are_refused(torch, tmp_path):
    base = Storage(np.arange(4, dtype=np.float32), "0")
    for offset, shape, strides in [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (2,), (1,)),
        (0, (10**9, 4), (0, 1)),
        (0, (2,), (1, 1)),
    ]:
        write_zip(tmp_path / "w.pth", torch, {"x": Tensor(base, offset, shape, strides)})
        assert "a tensor" in _refused(tmp_path / "w.pth")


def test_archives_of_other_kinds_are_refused(torch, tmp_path):
    write_zip(tmp_path / "w.pth", torch, state(arrays()), zipfile.ZIP_DEFLATED)
    assert "compressed" in _refused(tmp_path / "w.pth")
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "not one that torch.save wrote" in _refused(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"")
    assert "not a readable torch file" in _refused(tmp_path / "w.pth")


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_damaged_files_are_one_line_or_the_same_tensors(torch, tmp_path, write):
    """Bytes flipped and tails cut at random: never an exception of another kind."""
    path = tmp_path / "w.pth"
    write(path, torch, state(arrays()))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[place] = rng.integers(0, 256)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(0, len(whole))]
        path.write_bytes(damaged)
        try:
            found = read_pth(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(isinstance(value, np.ndarray) for value in found.values())
    assert refused > 100
