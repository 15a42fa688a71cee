"""The values that `safe_pickle` makes of what a pickle names: storages, tensors, opaque values."""

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np

from vision_jax.config import UserError, printable

# Types that are read only to be refused by name: `engine` takes real numbers of 16 bits and more.
_COMPLEX = {"ComplexFloatStorage": np.dtype("<c8"), "ComplexDoubleStorage": np.dtype("<c16")}
STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("<i1"),
    "ByteStorage": np.dtype("<u1"),
    "BoolStorage": np.dtype("?"),
    "QInt8Storage": np.dtype("<i1"),
    "QUInt8Storage": np.dtype("<u1"),
    "QInt32Storage": np.dtype("<i4"),
    "UntypedStorage": np.dtype("<u1"),
    **_COMPLEX,
}
DTYPES = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("<i1"),
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8_e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "float8_e8m0fnu": np.dtype(ml_dtypes.float8_e8m0fnu),
}
_MOST_AXES = 32
_MOST = 2**48  # of any size, offset or stride


@dataclasses.dataclass(frozen=True)
class Name:
    """A global that the pickle asked for; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return printable(f"{self.module}.{self.name}")


@dataclasses.dataclass(eq=False)
class Opaque:
    """An object that is not made: an error only where its values are needed.

    Fields:
      name: of what would have made it.
      state: the attributes that it would have got.
    """

    name: str
    state: Any = None

    def __str__(self) -> str:
        return self.name

    @property
    def is_module(self) -> bool:
        """True for a torch network that was pickled whole, or a compiled one."""
        has_parts = isinstance(self.state, dict) and "_modules" in self.state
        return has_parts or self.name.startswith("__torch__.")

    @property
    def is_tensor(self) -> bool:
        """True for a tensor of a kind that is not read: quantised, sparse, without values."""
        return self.name.startswith(("torch._utils._rebuild", "torch._tensor._rebuild"))


@dataclasses.dataclass(frozen=True)
class Storage:
    """The values that tensors are views of.

    Fields:
      dtype: None where it is unknown, which is an error where a tensor of it is read.
      key: its name in the file.
      count: the number of values in the file.
      start, size: the part of them that it is, of a storage that is a view of another.
    """

    dtype: np.dtype | None
    key: str
    count: int
    start: int = 0
    size: int | None = None


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides count values."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype | None  # of its values, where the storage is untyped

    def read(self, data: np.ndarray) -> np.ndarray:
        """Returns the tensor as a view of its storage's values.

        Raises:
          UserError: the shape is impossible or reaches beyond the storage.
        """
        if self.storage.size is not None:
            data = data[self.storage.start : self.storage.start + self.storage.size]
        numbers = (self.offset, *self.shape, *self.strides)
        plain = all(type(n) is int and 0 <= n < _MOST for n in numbers)
        if not plain or len(self.shape) != len(self.strides):
            raise UserError("a tensor with an impossible shape")
        size = math.prod(self.shape)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if size > data.size or (size and self.offset + last >= data.size):
            raise UserError("a tensor that reaches beyond its storage")
        if not size:
            return np.zeros(self.shape, data.dtype)
        width = data.itemsize
        strides = [s * width for s in self.strides]
        return np.ndarray(self.shape, data.dtype, data, self.offset * width, strides)


def tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, dtype: np.dtype | None = None
) -> Tensor:
    """Makes a tensor of what a pickle says of it; numbers are checked when it is read.

    Raises:
      UserError: there is no storage, or there are too many axes.
    """
    if not isinstance(storage, Storage):
        raise UserError("a tensor without a storage")
    for sizes in (shape, strides):
        if not isinstance(sizes, tuple | list) or len(sizes) > _MOST_AXES:
            raise UserError("a tensor with an impossible shape")
    return Tensor(storage, offset, tuple(shape), tuple(strides), dtype)


def storage(identity: Any) -> Storage | Name | Opaque:
    """Makes a storage of ('storage', type, key, device, number of values[, view]).

    A view is (key, start, number of values). Other identities are opaque; that of a module's
    class, ('module', class, …), is the class.

    Raises:
      UserError: an impossible size or key.
    """
    if not isinstance(identity, tuple) or not identity:
        return Opaque("a persistent object")
    if identity[0] == "module" and len(identity) > 1 and isinstance(identity[1], Name):
        return identity[1]
    if identity[0] != "storage" or len(identity) not in (5, 6):
        return Opaque("a persistent object")
    _, kind, key, _, count, *view = identity
    if not isinstance(key, str):
        raise UserError("a storage whose key is no text")
    start, size = 0, None
    if view and view[0] is not None:
        _, start, size = view[0]
    if any(type(n) is not int or not 0 <= n < _MOST for n in (count, start, size or 0)):
        raise UserError("a storage of impossible size")
    is_known = isinstance(kind, Name) and kind.module in ("torch", "torch.storage", "torch.cuda")
    return Storage(STORAGES.get(kind.name) if is_known else None, key, count, start, size)
