"""Checkpoints as training scripts leave them: weights among much else, in the forms of all ages."""

import argparse
import collections

import numpy as np
import pytest

from tests.weights.torch_files import (
    Storage,
    Tensor,
    stand_in,
    state,
    tensor,
    write_legacy,
    write_program,
    write_zip,
)
from vision_jax.config import UserError
from vision_jax.weights import read_state

VALUES = {"a.weight": np.arange(24, dtype=np.float32).reshape(4, 6), "a.bias": np.ones(4, "f4")}


@pytest.fixture
def torch():
    with stand_in() as module:
        yield module


def assert_read(path, values=VALUES):
    read = read_state(path)
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value)


@pytest.mark.parametrize("write", [write_zip, write_legacy])
def test_tensors_of_2017(torch, tmp_path, write):
    write(tmp_path / "w.pth", torch, state(VALUES, "_rebuild_tensor"))
    assert_read(tmp_path / "w.pth")


EXTRAS = {
    "namespace": argparse.Namespace(lr=0.1),
    "scalar": np.float64(76.1),
    "array": np.arange(3.0),
    "objects": np.array([{}, None], object),
    "defaultdict": collections.defaultdict(list, loss=[1.0]),
    "counter": collections.Counter("aab"),
    "set": {1, 2},
    "complex": 1 + 2j,
    "tuple keys": {(1, 2): 3},
}


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".bin", ".ckpt"])
def test_what_lies_beside_the_weights_is_left(torch, tmp_path, extra, suffix):
    content = {"model": state(VALUES), "extra": EXTRAS[extra]}
    write_zip(tmp_path / f"w{suffix}", torch, content)
    assert_read(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "net", "params_ema", "own"])
def test_wrappers(torch, tmp_path, key):
    optimizer = {"state": {0: {"exp_avg": tensor(np.zeros(3, np.float32), "o")}}}
    write_zip(tmp_path / "w.pth", torch, {key: state(VALUES), "optimizer": optimizer})
    assert_read(tmp_path / "w.pth")


def test_averaged_weights_are_preferred_and_said(torch, tmp_path, caplog):
    plain = {name: tensor(value + 1, f"p{name}") for name, value in VALUES.items()}
    write_zip(tmp_path / "w.pth", torch, {"model": plain, "model_ema": state(VALUES)})
    assert_read(tmp_path / "w.pth")
    assert "taken from 'model_ema'; the file also holds 'model'" in caplog.text


def test_views_share_memory_in_half_precision_too(torch, tmp_path):
    for dtype in (np.float32, np.float16):
        base = Storage(np.arange(12, dtype=dtype), "0")
        views = {"a": Tensor(base, 0, (12,), (1,)), "b": Tensor(base, 1, (4, 2), (1, 4))}
        write_zip(tmp_path / "w.pth", torch, views)
        read = read_state(tmp_path / "w.pth")
        assert np.shares_memory(read["a"], read["b"]) and read["b"].dtype == np.float32
        np.testing.assert_array_equal(read["b"], np.arange(12)[1:9].reshape(2, 4).T)


MODULE = b"\x80\x02ctorch.nn.modules.container\nSequential\n)\x81}X\x08\x00\x00\x00_modules}sb"


@pytest.mark.parametrize("program", [MODULE + b".", b"\x80\x02}U\x05model" + MODULE[2:] + b"s."])
def test_a_whole_module_is_refused_with_what_to_do(tmp_path, program):
    write_program(tmp_path / "w.pth", program)
    with pytest.raises(UserError, match=r"Sequential.*torch\.save\(model\.state_dict\(\)"):
        read_state(tmp_path / "w.pth")


def test_tensors_of_kinds_that_are_not_read_are_named(torch, tmp_path):
    quantised = tensor(np.ones(3, np.int8), "0", "_rebuild_qtensor")
    write_zip(tmp_path / "w.pth", torch, {"conv.weight": quantised})
    with pytest.raises(UserError, match=r"conv\.weight: made by torch\._utils\._rebuild_qtensor"):
        read_state(tmp_path / "w.pth")


def test_control_characters_stay_in_the_file(torch, tmp_path):
    name = "\x1b[2J\n" + "x" * 10_000
    beyond = Tensor(Storage(np.ones(2, np.float32), "0"), 0, (3,), (1,))
    write_zip(tmp_path / "w.pth", torch, {name: beyond})
    with pytest.raises(UserError) as error:
        read_state(tmp_path / "w.pth")
    assert str(error.value).isprintable() and len(str(error.value)) < 500
