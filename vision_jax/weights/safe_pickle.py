"""Pickles of tensors and containers, interpreted by hand.

A pickle is a program: unpickling one runs whatever it names. Here nothing that it names is looked
up. Containers, numbers, text, tensors and numpy's arrays are built; anything else is an error with
its name.
"""

import dataclasses
import io
import math
import pickletools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from vision_jax.config import UserError
from vision_jax.weights.numpy_pickle import MODULES, RECONSTRUCT, PickledArray, PickledType

_STORAGES = {
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
}
_KEYS = (str, int, float, bool, type(None))  # of dicts; hashing nested tuples can take for ever


@dataclasses.dataclass(frozen=True)
class Name:
    """A global that the pickle asked for; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(frozen=True)
class Storage:
    """The values that tensors are views of."""

    dtype: np.dtype
    key: str
    count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, data: np.ndarray) -> np.ndarray:
        """The tensor's values, given its storage's; checked to lie within them."""
        numbers = (self.offset, *self.shape, *self.strides)
        plain = all(type(n) is int and 0 <= n < 2**48 for n in numbers)
        if not plain or len(self.shape) != len(self.strides):
            raise UserError("a tensor with an impossible shape")
        size = math.prod(self.shape)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if size > data.size or (size and self.offset + last >= data.size):
            raise UserError("a tensor that reaches beyond its storage")
        if not size:
            return np.zeros(self.shape, data.dtype)
        strides = [s * data.itemsize for s in self.strides]
        view = np.lib.stride_tricks.as_strided(data[self.offset :], self.shape, strides)
        return view.copy()


class _Machine:
    """A pickle's stack and memo. One method for each group of instructions that is understood."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def take(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise UserError("a pickle that takes from an empty stack")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def fill(self, items: list[Any]) -> None:
        """Puts keys and values, or items, into the dict or list on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, _KEYS):
                    raise UserError(f"a dict key of type {type(key).__name__}")
                target[key] = value
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise UserError(f"items for {_described(target)}")

    def call(self) -> None:
        """A constructor: only those of containers and tensors are known."""
        name, arguments = self.take(2)
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise UserError(f"a call of {_described(name)}")
        if name == Name("collections", "OrderedDict"):
            if arguments not in ((), ([],)):
                raise UserError("an OrderedDict with arguments")
            self.stack.append({})
        elif name == Name("torch", "Size"):
            (shape,) = arguments
            self.stack.append(shape)
        elif name == Name("torch._utils", "_rebuild_tensor_v2"):
            storage, offset, shape, strides = arguments[:4]
            if not isinstance(storage, Storage):
                raise UserError("a tensor without a storage")
            self.stack.append(Tensor(storage, offset, tuple(shape), tuple(strides)))
        elif name == Name("torch._utils", "_rebuild_parameter"):
            self.stack.append(arguments[0])
        elif name in _ARRAYS and arguments[0] == Name("numpy", "ndarray"):
            self.stack.append(PickledArray())
        elif name == Name("numpy", "dtype"):
            self.stack.append(PickledType(arguments[0]))
        elif name == Name("_codecs", "encode") and arguments[1:] == ("latin1",):
            self.stack.append(arguments[0].encode("latin1"))
        else:
            raise _refused(name)

    def set_state(self) -> None:
        """An array's values; or attributes: a state dict's `_metadata`, which nobody needs."""
        (state,) = self.take(1)
        if isinstance(self.stack[-1], PickledArray | PickledType):
            self.stack[-1].set_state(state)
            return
        if not isinstance(self.stack[-1], dict) or not isinstance(state, dict):
            raise UserError(f"attributes for {_described(self.stack[-1])}")

    def name(self) -> None:
        """A global by the two texts on the stack."""
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise UserError("a global whose name is no text")
        self.stack.append(Name(module, name))

    def storage(self) -> None:
        """A persistent id: ('storage', type, key, device, number of values)."""
        (identity,) = self.take(1)
        kind, name, key, _, count, *view = identity
        if not isinstance(key, str):
            raise UserError("a storage whose key is no text")
        if kind != "storage" or not isinstance(name, Name) or any(v is not None for v in view):
            raise UserError("a reference to something other than a storage")
        if name.module != "torch" or name.name not in _STORAGES:
            raise _refused(name)
        if type(count) is not int or count < 0:
            raise UserError("a storage of impossible size")
        self.stack.append(Storage(_STORAGES[name.name], key, count))


_ARRAYS = tuple(Name(module, RECONSTRUCT) for module in MODULES)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
}


def interpret(file: io.BufferedIOBase) -> Any:
    """What one pickle in the file describes; the file is left behind its end."""
    machine = _Machine()
    stack, memo = machine.stack, machine.memo
    for instruction, value, _ in pickletools.genops(file):
        name = instruction.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(value)
        elif name == "MARK":
            machine.marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[value] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[value])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(machine.take(int(name[-1]))))
        elif name == "TUPLE":
            stack.append(tuple(machine.since_mark()))
        elif name in ("APPEND", "SETITEM"):
            machine.fill(machine.take(1 if name == "APPEND" else 2))
        elif name in ("APPENDS", "SETITEMS"):
            machine.fill(machine.since_mark())
        elif name in ("DICT", "LIST"):
            items = machine.since_mark()
            stack.append({} if name == "DICT" else [])
            machine.fill(items)
        elif name == "GLOBAL":
            stack.append(Name(*value.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            machine.name()
        elif name == "REDUCE":
            machine.call()
        elif name == "NEWOBJ":
            raise _refused(machine.take(2)[0])
        elif name == "OBJ":
            raise _refused(machine.since_mark()[0])
        elif name == "INST":
            raise _refused(Name(*value.split(" ", 1)))
        elif name == "BUILD":
            machine.set_state()
        elif name == "BINPERSID":
            machine.storage()
        elif name == "STOP":
            return machine.take(1)[0]
        elif name not in ("PROTO", "FRAME"):
            raise UserError(f"the pickle instruction {name}, which weights do not need")
    raise UserError("a pickle without an end")


def _described(value: Any) -> str:
    return str(value) if isinstance(value, Name) else f"a {type(value).__name__}"


def _refused(name: Any) -> UserError:
    return UserError(
        f"it asks for {_described(name)}, which is refused: only tensors, arrays and containers "
        "are read"
    )
