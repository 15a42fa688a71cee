"""A reader of Caffe's `.caffemodel` files: protobuf's wire format, without Caffe or protobuf.

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

from vision_jax.config import UserError, printable

SUFFIX = ".caffemodel"
Field = tuple[int, int | memoryview]  # number, and a varint or the bytes

_MAX_FIELDS = 1_000_000  # published networks have thousands, and each costs a step here
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
# Numbers of fields in NetParameter, and in a layer of each form: name, kind, blobs.
_LAYERS = {2: (4, 5, 6), 100: (1, 2, 7)}
_OLDEST = 1  # in the older form of a layer: the wrapped form before that, of 2013
_CONVOLUTION, _INNER_PRODUCT = ("Convolution", 4), ("InnerProduct", 14)
_DECONVOLUTION = ("Deconvolution", 39)
_PARTS = ("weight", "bias")


def read_caffemodel(path: Path) -> dict[str, np.ndarray]:
    """Returns a file's arrays by name: '<layer>.weight', '<layer>.bias', then '<layer>.2', ….

    Convolutions are (out, in / groups, h, w), inner products (out, in), all float32. What comes
    before the first convolution, such as a norm of the images, is turned round with it.

    Raises:
      UserError: not such a file, cut short, damaged, or without weights.
    """
    data, budget = memoryview(path.read_bytes()), _Budget()
    state: dict[str, np.ndarray] = {}
    is_first = True  # no kernel came yet
    before: list[str] = []  # arrays of channels of the images, such as a norm's
    for number, layer in _fields(data, budget):
        if number not in _LAYERS:
            continue
        name, kind, blobs = _layer(_bytes(layer), _LAYERS[number], budget)
        for i, blob in enumerate(blobs):
            key = f"{name}.{_PARTS[i] if i < len(_PARTS) else i}"
            if key in state:
                raise UserError(f"two layers with weights have the name {name}")
            state[key] = _shaped(blob, kind, i, key)
            if is_first and state[key].size == 3:
                before.append(key)
        if not blobs or not _is_kernel(kind, state[f"{name}.weight"]):
            continue
        weight = state[f"{name}.weight"]
        if is_first and kind in _CONVOLUTION and weight.shape[1] == 3:
            state[f"{name}.weight"] = weight[:, ::-1]
            for key in before:
                if not key.startswith(f"{name}."):
                    state[key] = state[key].reshape(-1)[::-1].reshape(state[key].shape)
        elif is_first and kind in _DECONVOLUTION:
            raise UserError(f"{name}: damaged, a deconvolution where the image is read")
        is_first = False
    if not state:
        raise UserError("no layer with weights in it; is it a .caffemodel?")
    return state


class _Budget:
    """Counts fields, so that a hostile file is refused in seconds."""

    def __init__(self) -> None:
        self.left = _MAX_FIELDS

    def spend(self) -> None:
        """Counts one field.

        Raises:
          UserError: there were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise UserError(f"more than {_MAX_FIELDS:,} fields; no .caffemodel has so many")


def _layer(
    data: memoryview, numbers: tuple[int, int, int], budget: _Budget
) -> tuple[str, str | int, list[np.ndarray]]:
    """Reads a layer's name, kind and blobs."""
    name = ""
    kind: str | int = ""
    blobs: list[np.ndarray] = []
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
    """Reads a BlobProto: numbers, and a shape or the older num, channels, height, width."""
    old: dict[int, int] = {}
    shape: list[int] | None = None
    parts: list[np.ndarray] = []
    for number, value in _fields(data, budget):
        if number in (1, 2, 3, 4):
            old[number] = _dimension(value)
        elif number in (5, 8):
            parts.append(_numbers(value, "<f4" if number == 5 else "<f8"))
        elif number == 7:
            shape = _shape(_bytes(value), budget)
    if shape is None:
        shape = [old.get(i, 0) for i in (1, 2, 3, 4)]
    count = sum(part.size for part in parts)
    if count != math.prod(shape):
        raise UserError(f"{name}: {count:,} numbers for a blob of shape {tuple(shape)}")
    joined = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return joined.astype(np.float32).reshape(shape)


def _shape(data: memoryview, budget: _Budget) -> list[int]:
    """Reads a BlobShape: sizes one by one, or packed."""
    shape: list[int] = []
    for number, value in _fields(data, budget):
        if number != 1:
            continue
        if isinstance(value, int):
            shape.append(_dimension(value))
            continue
        offset = 0
        while offset < len(value):
            budget.spend()
            size, offset = _varint(value, offset)
            shape.append(_dimension(size))
    if len(shape) > 32:
        raise UserError(f"a blob of {len(shape)} dimensions")
    return shape


def _shaped(blob: np.ndarray, kind: str | int, number: int, name: str) -> np.ndarray:
    """Takes off the dimensions of size 1 with which the older form fills a shape up."""
    if kind in _CONVOLUTION + _INNER_PRODUCT:
        if number == 1:
            return blob.reshape(-1)
        if number == 0 and kind in _INNER_PRODUCT and blob.shape[:-2] in ((1, 1), ()):
            blob = blob.reshape(blob.shape[-2:])
        if number == 0 and blob.ndim != (4 if kind in _CONVOLUTION else 2):
            raise UserError(f"{name}: shape {blob.shape} does not suit such a layer")
    return blob


def _is_kernel(kind: str | int, weight: np.ndarray) -> bool:
    """Returns whether a layer convolves or multiplies.

    The first one reads blue, green, red; so nothing may hide that it is the first.

    Raises:
      UserError: it has a kernel, but is of a kind that has none.
    """
    if kind in _CONVOLUTION + _DECONVOLUTION + _INNER_PRODUCT:
        return True
    if weight.ndim == 4 and weight.shape[:2] != (1, 1):
        raise UserError(
            f"damaged: a kernel of shape {weight.shape} in a layer of kind {kind!r}, which has none"
        )
    return False


def _fields(data: memoryview, budget: _Budget) -> Iterator[Field]:
    """Yields a message's fields in order; lengths are checked before anything is made of them."""
    offset = 0
    while offset < len(data):
        budget.spend()
        key, offset = _varint(data, offset)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, offset = _varint(data, offset)
            yield number, value
            continue
        if wire == _BYTES:
            size, offset = _varint(data, offset)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise UserError(f"damaged, or no .caffemodel: wire type {wire}")
        left = len(data) - offset
        if size > left:
            raise UserError(f"cut short or damaged: {size:,} bytes are due, {left:,} are left")
        yield number, data[offset : offset + size]
        offset += size


def _varint(data: memoryview, offset: int) -> tuple[int, int]:
    """Reads a number of up to 64 bits; also returns where the next field begins."""
    value = 0
    for i in range(10):
        if offset + i >= len(data):
            raise UserError("cut short within a number")
        byte = data[offset + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, offset + i + 1
    raise UserError("damaged, or no .caffemodel: a number of more than ten bytes")


def _numbers(value: int | memoryview, kind: str) -> np.ndarray:
    """Reads one number, or many packed."""
    value = _bytes(value)
    if len(value) % np.dtype(kind).itemsize:
        raise UserError(f"damaged: {len(value):,} bytes are no whole number of floats")
    return np.frombuffer(value, kind)


def _bytes(value: int | memoryview) -> memoryview:
    """Returns a field's bytes; refuses a number."""
    if isinstance(value, int):
        raise UserError("damaged, or no .caffemodel: a number stands where bytes should")
    return value


def _dimension(value: int | memoryview) -> int:
    """Returns the size of one dimension; refuses anything else."""
    if not isinstance(value, int) or value >= 1 << 31:
        raise UserError("damaged: the size of a blob is negative or no number")
    return value


def _text(value: int | memoryview) -> str:
    """Returns text that fits on a line, whatever the file holds."""
    return printable(bytes(_bytes(value)[:100]).decode("utf-8", "replace"), 100)
