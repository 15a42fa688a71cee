"""torch's files without torch: the writer here produces both of its layouts."""

import collections
import os
import zipfile

import numpy as np
import pytest

from tests.weights.torch_files import (
    Storage,
    Tensor,
    stand_in,
    state,
    write_legacy,
    write_program,
    write_zip,
)
from tests.weights.variables import drawn, shapes
from vision_jax import models, weights
from vision_jax.config import UserError
from vision_jax.weights.pth import read_pth

pytestmark = pytest.mark.core


@pytest.fixture
def torch():
    with stand_in() as module:
        yield module


def arrays():
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.standard_normal((4, 3, 2, 2)).astype(np.float32),
        "conv.half": rng.standard_normal(5).astype(np.float16),
        "norm.num_batches_tracked": np.array(7),
    }


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
    read = read_pth(tmp_path / "w.pth")
    if wrapped:
        read = {name.removeprefix("module."): value for name, value in read.items()}
    assert read.keys() == arrays().keys()
    for name, value in arrays().items():
        assert read[name].dtype == value.dtype
        np.testing.assert_array_equal(read[name], value)


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
    read = read_pth(tmp_path / "w.pt")
    grid = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(read["rows"], grid)
    np.testing.assert_array_equal(read["columns"], np.arange(12)[1:9].reshape(2, 4).T)
    assert read["scalar"] == 11 and read["empty"].shape == (0, 3)


def test_load_takes_a_networks_weights_from_a_torch_file(torch, tmp_path):
    model = models.CifarResNet(8)
    reference = weights.to_reference(drawn(shapes(model, 32)), model)
    write_zip(tmp_path / "w.th", torch, {"state_dict": state(reference), "best_prec1": 0.9})
    variables = weights.load(tmp_path / "w.th", model)
    back = weights.to_reference(variables, model)
    assert back.keys() == reference.keys()
    for name in reference:
        np.testing.assert_array_equal(back[name], reference[name])


def test_half_precision_is_loaded_as_float32(torch, tmp_path):
    write_zip(tmp_path / "w.pth", torch, state(arrays()))
    read = weights.read_state(tmp_path / "w.pth")
    assert read["conv.half"].dtype == np.float32
    np.testing.assert_array_equal(read["conv.half"], arrays()["conv.half"])


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
    [(os.mkdir, "posix.mkdir"), (eval, "builtin"), (getattr, "builtin")],
)
def test_what_a_pickle_calls_is_never_run(torch, tmp_path, write, function, name):
    target = tmp_path / "made"
    arguments = (str(target),) if function is os.mkdir else (f"open({str(target)!r}, 'w')",)
    bomb = Bomb(function, *arguments)
    write(tmp_path / "w.pth", torch, {**state(arrays()), "bomb": bomb})
    assert read_pth(tmp_path / "w.pth").keys() == arrays().keys()
    write(tmp_path / "w.pth", torch, {"weight": bomb})
    assert f"asks for {name}" in _refused(tmp_path / "w.pth").replace("__builtin__", "builtin")
    assert not target.exists()


def _raw(tmp_path, program):
    write_program(tmp_path / "w.pth", program)
    return _refused(tmp_path / "w.pth")


def test_other_ways_to_run_code_are_refused(tmp_path):
    assert "asks for os.system" in _raw(tmp_path, b"(S'ls'\nios\nsystem\n.")
    assert "asks for os.system" in _raw(tmp_path, b"(cos\nsystem\nS'ls'\no.")
    assert "asks for os.system" in _raw(tmp_path, b"\x80\x02cos\nsystem\n)\x81.")
    assert "asks for os.system" in _raw(tmp_path, b"\x80\x02cos\nsystem\n}b.")
    assert "asks for a code" in _raw(tmp_path, b"\x80\x02\x82\x01.")
    assert "instruction NEXT_BUFFER" in _raw(tmp_path, b"\x80\x05\x97.")
    assert "no text" in _raw(tmp_path, b"\x80\x04)\x8c\x01a\x93.")
    assert "it asks for o s.a" in _raw(tmp_path, b"\x80\x04\x8c\x03o\ns\x8c\x01a\x93)R.")


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


def test_an_archive_without_its_end_is_cut_short(torch, tmp_path):
    path = tmp_path / "w.pth"
    write_zip(path, torch, state(arrays()))
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        assert "cut short" in _refused(path)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_damaged_files_are_one_line_or_the_same_tensors(torch, tmp_path, write):
    """Bytes flipped and tails cut at random: never an exception of another kind."""
    path = tmp_path / "w.pth"
    write(path, torch, state(arrays()))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), rng.integers(1, 6)):
            damaged[position] = rng.integers(0, 256)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(0, len(whole))]
        path.write_bytes(damaged)
        try:
            read = read_pth(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(isinstance(value, np.ndarray) for value in read.values())
    assert refused > 100
