"""Caffe's `.caffemodel` files: protobuf's wire format, read without Caffe or protobuf.

Only names, kinds and blobs of layers are read; of caffe.proto, the numbers of these fields. Both
forms of layers are known: `layer`, whose kind is a word, and the older `layers`, with a number.

Caffe's networks read images as B, G, R in 0..255 less a mean. Here the first convolution's inputs
are turned to R, G, B, and nothing else: a task that reads images as these networks do has a `std`
of 1 / 255 each and as `mean` (R, G, B, over 255) the file's: VGG's 123.68, 116.779, 103.939; SSD's
123, 117, 104; CaffeNet, AlexNet and GoogLeNet have ImageNet's mean image, about the same.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vision_jax.config import UserError

SUFFIX = ".caffemodel"
Field = tuple[int, int | memoryview]  # number, and a varint or the bytes

_MOST = 1_000_000  # fields; published networks have thousands, and each costs a step here
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
# Numbers of fields in NetParameter, and in a layer of each form: name, kind, blobs.
_LAYERS = {2: (4, 5, 6), 100: (1, 2, 7)}
_OLDEST = 1  # in the older form of a layer: the wrapped form before that, of 2013
_CONVOLUTION, _INNER_PRODUCT = ("Convolution", 4), ("InnerProduct", 14)
_PARTS = ("weight", "bias")


def read_caffemodel(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name: '<layer>.weight' and '<layer>.bias', then '<layer>.2', ….

    Convolutions are (out, in / groups, h, w), inner products (out, in), all float32.

    Raises:
      UserError: not such a file, cut short, damaged, or without weights.
    """
    data, budget = memoryview(path.read_bytes()), _Budget()
    state: dict[str, np.ndarray] = {}
    is_first = True
    for number, layer in _fields(data, budget):
        if number not in _LAYERS:
            continue
        name, kind, blobs = _layer(_bytes(layer), _LAYERS[number], budget)
        for i, blob in enumerate(blobs):
            key = f"{name}.{_PARTS[i] if i < len(_PARTS) else i}"
            if key in state:
                raise UserError(f"two layers with weights have the name {name}")
            state[key] = _shaped(blob, kind, i, key)
        if kind in _CONVOLUTION and blobs and is_first:
            is_first = False
            weight = state[f"{name}.weight"]
            if weight.shape[1] == 3:
                state[f"{name}.weight"] = weight[:, ::-1]
    if not state:
        raise UserError("no layer with weights in it; is it a .caffemodel?")
    return state


class _Budget:
    """Counts fields, so that a hostile file is refused in seconds."""

    def __init__(self):
        self.left = _MOST

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise UserError(f"more than {_MOST:,} fields; no .caffemodel has so many")


def _layer(
    data: memoryview, numbers: tuple[int, int, int], budget: _Budget
) -> tuple[str, str | int, list[np.ndarray]]:
    """Name, kind and blobs."""
    name, kind, blobs = "", "", []
    for number, value in _fields(data, budget):
        if number == numbers[0]:
            name = _text(value)
        elif number == numbers[1]:
            kind = value if isinstance(value, int) else _text(value)
        elif number == numbers[2]:
            blobs.append(_blob(_bytes(value), name or "a layer", budget))
        elif number == _OLDEST and numbers == _LAYERS[2]:
            raise UserError("layers of Caffe's first form; Caffe's upgrade_net_proto_binary helps")
    return name, kind, blobs


def _blob(data: memoryview, name: str, budget: _Budget) -> np.ndarray:
    """A BlobProto: numbers, and a shape or the older num, channels, height, width."""
    old, shape, parts = {}, None, []
    for number, value in _fields(data, budget):
        if number in (1, 2, 3, 4):
            old[number] = _dimension(value)
        elif number in (5, 8):
            parts.append(_numbers(value, "<f4" if number == 5 else "<f8"))
        elif number == 7:
            shape = _shape(_bytes(value), budget)
    if shape is None:
        shape = [old.get(i, 0) for i in (1, 2, 3, 4)]
    found = sum(part.size for part in parts)
    if found != math.prod(shape):
        raise UserError(f"{name}: {found:,} numbers for a blob of shape {tuple(shape)}")
    joined = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return joined.astype(np.float32).reshape(shape)


def _shape(data: memoryview, budget: _Budget) -> list[int]:
    """A BlobShape: sizes one by one, or packed."""
    shape: list[int] = []
    for number, value in _fields(data, budget):
        if number != 1:
            continue
        if isinstance(value, int):
            shape.append(_dimension(value))
            continue
        place = 0
        while place < len(value):
            budget.spend()
            size, place = _varint(value, place)
            shape.append(_dimension(size))
    if len(shape) > 32:
        raise UserError(f"a blob of {len(shape)} dimensions")
    return shape


def _shaped(blob: np.ndarray, kind: str | int, number: int, name: str) -> np.ndarray:
    """The blob without the dimensions of one that the older form fills up with."""
    if kind in _CONVOLUTION + _INNER_PRODUCT:
        if number == 1:
            return blob.reshape(-1)
        if number == 0 and kind in _INNER_PRODUCT and blob.shape[:-2] in ((1, 1), ()):
            blob = blob.reshape(blob.shape[-2:])
        if number == 0 and blob.ndim != (4 if kind in _CONVOLUTION else 2):
            raise UserError(f"{name}: shape {blob.shape} does not suit such a layer")
    return blob


def _fields(data: memoryview, budget: _Budget) -> Iterator[Field]:
    """The fields of a message in order; lengths are checked before anything is made of them."""
    place = 0
    while place < len(data):
        budget.spend()
        key, place = _varint(data, place)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, place = _varint(data, place)
            yield number, value
            continue
        if wire == _BYTES:
            size, place = _varint(data, place)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise UserError(f"damaged, or no .caffemodel: wire type {wire}")
        if size > len(data) - place:
            left = len(data) - place
            raise UserError(f"cut short or damaged: {size:,} bytes are due, {left:,} are left")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where the next thing begins."""
    value = 0
    for i in range(10):
        if place + i >= len(data):
            raise UserError("cut short within a number")
        byte = data[place + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, place + i + 1
    raise UserError("damaged, or no .caffemodel: a number of more than ten bytes")


def _numbers(value: int | memoryview, kind: str) -> np.ndarray:
    """One number, or many packed."""
    value = _bytes(value)
    if len(value) % np.dtype(kind).itemsize:
        raise UserError(f"damaged: {len(value):,} bytes are no whole number of floats")
    return np.frombuffer(value, kind)


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise UserError("damaged, or no .caffemodel: a number stands where bytes should")
    return value


def _dimension(value: int | memoryview) -> int:
    if not isinstance(value, int) or value >= 1 << 31:
        raise UserError("damaged: the size of a blob is negative or no number")
    return value


def _text(value: int | memoryview) -> str:
    """Fit for a line of text, whatever the file holds."""
    text = bytes(_bytes(value)[:100]).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
