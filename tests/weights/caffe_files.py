"""A tiny writer of `.caffemodel` files, both forms, for tests."""

import struct

import numpy as np

_KINDS = {"Convolution": 4, "InnerProduct": 14, "Data": 5}  # numbers of the older form


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, data):
    """Writes a length-delimited field, or a number."""
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(array, old=False, packed=True, double=False):
    array = np.asarray(array)
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(field(i, n) for i, n in enumerate(shape, start=1))
    else:
        out = field(7, field(1, b"".join(varint(n) for n in array.shape)))
    if double:
        return out + field(8, array.astype("<f8").tobytes())
    if packed:
        return out + field(5, array.astype("<f4").tobytes())
    key = varint(5 << 3 | 5)
    return out + b"".join(key + struct.pack("<f", x) for x in array.reshape(-1))


def net(layers, old=False, **options):
    """Writes a network; layers are (name, kind, arrays)."""
    out = field(1, b"a net")
    for name, kind, arrays in layers:
        blobs = [blob(a, old, **options) for a in arrays]
        if old:
            inner = field(2, b"bottom") + field(4, name.encode()) + field(5, _KINDS.get(kind, 0))
            inner += b"".join(field(6, b) for b in blobs)
            out += field(2, inner)
        else:
            inner = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"bottom")
            inner += b"".join(field(7, b) for b in blobs)
            out += field(100, inner)
    return out
