"""Valid and damaged files of weights, and the readers of them."""

import functools
import io
import json
import pathlib
import pickle
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tests.fuzz.mutations import NUMBERS, archive, damaged, json_text
from tests.models.detectors import tiny_yolo
from tests.weights import caffe_files, torch_files, variables
from tests.weights.variables import drawn
from vision_jax import models
from vision_jax.weights import darknet, load, to_reference
from vision_jax.weights.darknet_sections import sections, shapes
from vision_jax.weights.files import read_state

CANARY = "CANARY"  # the file that hostile files try to make


class Format(NamedTuple):
    """One kind of input.

    Attributes:
      write: writes it into an empty folder: a valid one without a generator, else a damaged one.
      read: reads what is there as users' commands do; `UserError` is the only error it may raise.
    """

    write: Callable[[pathlib.Path, random.Random | None], None]
    read: Callable[[pathlib.Path], None]


def numbers(*shape, dtype=np.float32):
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape)


@functools.cache
def _classifier():
    """Returns a narrow ResNet."""
    backbone = models.ResNet(stages=(1,), block="basic", width=4)
    return models.Classifier(backbone, models.PoolHead(3))


@functools.cache
def _arrays():
    """Returns its weights by torchvision's names, in several types, and one that is not its."""
    state = to_reference(drawn(variables.shapes(_classifier(), 32)), _classifier())
    kinds = (np.float32, np.float32, np.float64, np.float16)
    arrays = {k: v.astype(kinds[i % 4]) for i, (k, v) in enumerate(state.items())}
    return {**arrays, "bn1.num_batches_tracked": numbers(1, dtype=np.int64)}


@functools.cache
def _torch(kind):
    """Returns a file of torch's, with the weights in a dict beside others."""
    write = torch_files.write_zip if kind == "zip" else torch_files.write_legacy
    with torch_files.stand_in() as torch, tempfile.TemporaryDirectory() as folder:
        content = {"state_dict": torch_files.state(_arrays()), "epoch": 3, "args": {"lr": 0.1}}
        path = pathlib.Path(folder) / "weights.pth"
        write(path, torch, content)
        return path.read_bytes()


def _call(module, name, *arguments):
    """Returns pickle's instructions for a call."""
    out = f"c{module}\n{name}\n(".encode()
    for argument in arguments:
        out += b"X" + struct.pack("<I", len(argument)) + argument.encode()
    return out + b"tR"


# What attackers pickle: calls that leave a trace, and some of torch's own misused.
STRIKES = (
    _call("os", "system", f"touch {CANARY}"),
    _call("posix", "system", f"touch {CANARY}"),
    _call("builtins", "open", CANARY, "w"),
    _call("builtins", "exec", f"open('{CANARY}', 'w')"),
    _call("builtins", "eval", f"open('{CANARY}', 'w')"),
    _call("subprocess", "Popen", f"touch {CANARY}"),
    _call("pathlib", "Path", CANARY),
    _call("torch.hub", "load", "x", "y"),
    _call("numpy", "load", CANARY),
    _call("builtins", "getattr", "os", "system"),
    _call("collections", "OrderedDict", "x"),
    _call("torch._utils", "_rebuild_tensor_v2", "x"),
)
_LONG = b"\x8b" + struct.pack("<i", 2**30)  # a number of a gigabyte


def _odd_program(rng):
    """Returns a pickle put together by hand: calls, depth, doublings, lengths of nothing."""
    kind = rng.randrange(9)
    strike = rng.choice(STRIKES)
    if kind < 3:
        return b"\x80\x02}X\x05\x00\x00\x00state" + strike + b"s."
    if kind == 3:
        return b"\x80\x04" + b"(" * rng.choice((10, 100_000)) + strike + b"."
    if kind == 4:  # each container holds the one before twice
        return b"\x80\x02]q\x00" + b"]q\x01h\x00ah\x00aq\x00" * rng.choice((30, 20_000)) + b"."
    if kind == 5:
        return b"\x80\x02" + rng.choice((_LONG, b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\xff")) + b"."
    if kind == 6:
        return b"\x80\x04" + strike + b"0" * rng.randint(0, 5) + b"2" * 1000 + b"."
    if kind == 7:
        return b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."
    return damaged(rng, b"\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b" + strike + b"u.")


def write_zip(folder, rng):
    content = _torch("zip")
    if rng is not None and rng.random() < 0.25:
        content = _with_program(content, _odd_program(rng))
    elif rng is not None:
        content = archive(rng, content) if rng.random() < 0.7 else damaged(rng, content)
    (folder / "weights.pth").write_bytes(content)


def _with_program(content, program):
    """Puts another pickle into an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, program if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def write_legacy(folder, rng):
    content = _torch("legacy")
    if rng is not None:
        content = damaged(rng, content)
    (folder / "weights.pth").write_bytes(content)


def write_pickle(folder, rng):
    """Writes detectron2's kind of file: a pickle of NumPy arrays."""
    named = {"stem.conv1.weight": numbers(4, 3, 7, 7), "stem.conv1.norm.bias": numbers(4)}
    protocol = 2 if rng is None else rng.choice((0, 2, 3, 4, 5))
    content = pickle.dumps({"model": named, "matching_heuristics": True}, protocol)
    if rng is not None:
        content = _odd_program(rng) if rng.random() < 0.5 else damaged(rng, content)
    (folder / "weights.pkl").write_bytes(content)


def write_safetensors(folder, rng):
    """Writes a header of JSON after its length, and the arrays; or an index of two parts."""
    if rng is not None and rng.random() < 0.25:
        return _write_parts(folder, rng)
    content = _safetensors(_arrays(), rng)
    if rng is not None and rng.random() < 0.4:
        content = damaged(rng, content)
    (folder / "weights.safetensors").write_bytes(content)
    return None


def _safetensors(arrays, rng=None):
    kinds = {"<f4": "F32", "<f8": "F64", "<i8": "I64", "<f2": "F16"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        end = len(data) + array.nbytes
        header[name] = {
            "dtype": kinds[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [len(data), end],
        }
        data += array.tobytes()
    text = json.dumps(header).encode() if rng is None else json_text(rng, header)
    size = len(text)
    if rng is not None and rng.random() < 0.1:
        size = rng.choice(NUMBERS) % 2**64
    return struct.pack("<Q", size) + text + data


def _write_parts(folder, rng):
    part = "a-00001-of-00001.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(_arrays(), part)}
    (folder / part).write_bytes(_safetensors(_arrays()))
    (folder / "a.safetensors.index.json").write_bytes(json_text(rng, index))


def read_weights(folder):
    """Reads all arrays, and then the weights of a network, whose names some formats lack."""
    (path,) = [p for p in folder.iterdir() if "-of-" not in p.name]
    for value in read_state(path).values():
        np.asarray(value).sum(dtype=complex)
    if path.suffix not in (".pkl", ".caffemodel"):
        load(path, _classifier())


@functools.cache
def _yolo():
    model = tiny_yolo.v1()
    return model, shapes(model)


def write_darknet(folder, rng):
    """Writes the numbers with their header, and a .cfg beside them."""
    _, arrays = _yolo()
    count = sum(int(np.prod(shape)) for shape in arrays.values())
    weights = struct.pack("<3iq", 0, 2, 5, 1000) + np.ones(count, "<f4").tobytes()
    text = _cfg()
    if rng is not None:
        kind = rng.random()
        weights = damaged(rng, weights) if kind < 0.5 else weights
        text = damaged(rng, text) if kind > 0.3 else text
        if kind > 0.95:
            text = rng.choice((b"[net]\n" * 50_000, rng.randbytes(500), b"[", b"=" * 10_000))
    (folder / "yolo.weights").write_bytes(weights)
    (folder / "yolo.cfg").write_bytes(text)


@functools.cache
def _cfg():
    """Returns the text that describes the network."""
    lines = ["[net]", "width=64"]
    for section in sections(_yolo()[0]):
        lines.append(f"[{section.kind}]")
        for key, value in section.options.items():
            items = value if isinstance(value, list | tuple) else [value]
            lines.append(f"{key}={','.join(map(str, items))}")
    return "\n".join(lines).encode()


def read_darknet(folder):
    darknet.load(folder / "yolo.weights", _yolo()[0])


def write_caffe(folder, rng):
    layers = [
        ("conv1", "Convolution", [numbers(4, 3, 3, 3), numbers(4)]),
        ("fc", "InnerProduct", [numbers(2, 4), numbers(2)]),
    ]
    old = rng is not None and rng.random() < 0.5
    content = caffe_files.net(layers, old)
    if rng is not None:
        content = damaged(rng, content)
    (folder / "net.caffemodel").write_bytes(content)


FORMATS = {
    "pth_zip": Format(write_zip, read_weights),
    "pth_legacy": Format(write_legacy, read_weights),
    "pickle": Format(write_pickle, read_weights),
    "safetensors": Format(write_safetensors, read_weights),
    "darknet": Format(write_darknet, read_darknet),
    "caffe": Format(write_caffe, read_weights),
}
