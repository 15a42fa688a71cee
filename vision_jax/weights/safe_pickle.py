"""Pickles of tensors and containers, interpreted by hand.

A pickle is a program: unpickling one runs whatever it names. Here nothing that it names is looked
up. Containers, numbers, text, tensors and numpy's arrays are built; anything else becomes an
`Opaque` value, which is an error only where a tensor is needed.

Each instruction makes or copies no more than the file itself holds, so that memory and time grow
with the file's size alone.
"""

import contextlib
import pickletools
from collections.abc import Callable, Iterator
from typing import IO, Any

from vision_jax.config import UserError, printable
from vision_jax.weights.numpy_pickle import CORES, PickledArray, PickledType, Raw
from vision_jax.weights.pickled import DTYPES, Name, Opaque, Storage, Tensor, storage, tensor

_KEYS = (str, int, float, bool, type(None))  # of dicts; hashing nested tuples can take for ever
_MOST_STEPS = 20_000_000  # published files take thousands
_MOST_COPIES = 1_000_000  # items of containers that are given to another as its argument


class Machine:
    """A pickle's stack and memo, with a method for each group of known instructions."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}  # all that the pickle names, by key
        self._raw: dict[int, Raw] = {}
        self._contents: list[Any] = []  # keeps the identities in `_raw` taken
        self._copies = 0

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def mark(self) -> None:
        """Notes where the items of the next container begin."""
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        """Takes all values above the last mark off the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def take(self, count: int) -> list[Any]:
        """Takes the uppermost values off the stack, the lowest of them first."""
        if count > len(self.stack):
            raise UserError("a pickle that takes from an empty stack")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def drop(self) -> None:
        """Takes the uppermost value, or a mark, off the stack."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.take(1)

    def put(self, key: int | None) -> None:
        """Notes the uppermost value in the memo, under the next number if none is given."""
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def get(self, key: int) -> None:
        """Puts a value of the memo on the stack."""
        self.push(self.memo[key])

    def fill(self, items: list[Any]) -> None:
        """Puts keys and values, or items, into the container on top of the stack."""
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                if _is_key(key):
                    target[key] = value
        elif isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise UserError(f"items for {_described(target)}")

    def push_filled(self, container: dict[Any, Any] | list[Any]) -> None:
        """Fills a new container with what lies above the last mark, and puts it there."""
        items = self.since_mark()
        self.push(container)
        self.fill(items)

    def call(self, function: Any, arguments: Any) -> None:
        """Puts what a call makes on the stack; what is not known is opaque."""
        known = _CALLS.get((function.module, function.name)) if isinstance(function, Name) else None
        if known is None or not isinstance(arguments, tuple | list):
            self.push(Opaque(_described(function)))
        else:
            self.push(known(self, *arguments))

    def set_state(self) -> None:
        """Gives an array its values; other attributes, as a state dict's `_metadata`, are left."""
        (state,) = self.take(1)
        target = self.stack[-1]
        if isinstance(target, PickledArray):
            if isinstance(state, tuple) and len(state) == 5:
                target.set_state((*state[:4], self.raw(state[4])))
        elif isinstance(target, PickledType):
            target.set_state(state)
        elif isinstance(target, Opaque):
            # Objects with slots have a pair of dicts.
            is_pair = isinstance(state, tuple) and len(state) == 2 and state[0] is None
            target.state = state[1] if is_pair else state

    def raw(self, content: Any) -> Raw | None:
        """Returns an array's bytes, one object for all arrays that share them; None for others."""
        if isinstance(content, Raw):
            return content
        if not isinstance(content, str | bytes | bytearray):
            return None
        if id(content) not in self._raw:
            self._raw[id(content)] = Raw(content)
            self._contents.append(content)
        return self._raw[id(content)]

    def copies(self, count: int) -> None:
        """Counts items that are copied out of another container, which may be done repeatedly."""
        self._copies += count
        if self._copies > _MOST_COPIES:
            raise UserError(f"a pickle that copies more than {_MOST_COPIES:,} items")

    def push_storage(self) -> None:
        """Puts the storage on the stack that the uppermost value names."""
        (identity,) = self.take(1)
        value = storage(identity)
        if isinstance(value, Storage):
            self.storages.setdefault(value.key, value)
        self.push(value)

    def push_name(self) -> None:
        """Puts a global on the stack, named by the two texts there."""
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise UserError("a global whose name is no text")
        self.push(Name(module, name))


def _dict(machine: Machine, items: Any = (), *_: Any) -> dict[Any, Any]:
    """Makes a dict: of nothing, of another dict, or of pairs, as Python 2 wrote an OrderedDict."""
    pairs = items.items() if isinstance(items, dict) else items
    if not isinstance(items, dict | tuple | list):
        return {}
    machine.copies(len(items))
    return {k: v for k, v in pairs if _is_key(k)}


def _default_dict(machine: Machine, factory: Any = None, items: Any = (), *_: Any) -> Any:
    return _dict(machine, items)


def _tensor(machine: Machine, data: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    return tensor(data, offset, shape, strides)


def _typed_tensor(
    machine: Machine, data: Any, offset: Any, shape: Any, strides: Any, *more: Any
) -> Tensor | Opaque:
    """Makes the tensor of an untyped storage: (…, requires_grad, hooks, dtype, …)."""
    dtype = more[2] if len(more) > 2 else None
    if not isinstance(dtype, Name) or dtype.module != "torch" or dtype.name not in DTYPES:
        return Opaque(f"torch._utils._rebuild_tensor_v3 of {_described(dtype)}")
    return tensor(data, offset, shape, strides, DTYPES[dtype.name])


def _first(machine: Machine, value: Any = None, *_: Any) -> Any:
    """Returns the tensor, array or tuple that something is made of."""
    return value


def _of_type(machine: Machine, function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """Makes a tensor of a derived class as its base would be."""
    machine.call(function, arguments)
    return machine.take(1)[0]


def _encode(machine: Machine, text: Any, encoding: Any = "latin1", *_: Any) -> Any:
    is_bytes = isinstance(text, str) and encoding in ("latin1", "latin-1")
    return machine.raw(text) if is_bytes else Opaque("_codecs.encode")


def _reconstruct(machine: Machine, *_: Any) -> PickledArray:
    return PickledArray()


def _dtype(machine: Machine, code: Any, *_: Any) -> PickledType:
    return PickledType(code)


def _scalar(machine: Machine, kind: Any, content: Any = None, *_: Any) -> PickledArray:
    return PickledArray((1, (), kind, False, machine.raw(content)))


def _from_buffer(
    machine: Machine, content: Any, kind: Any, shape: Any, order: Any = "C", *_: Any
) -> PickledArray:
    return PickledArray((1, shape, kind, order == "F", machine.raw(content)))


_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dict,
    ("collections", "Counter"): _dict,
    ("collections", "defaultdict"): _default_dict,
    ("builtins", "dict"): _dict,
    ("__builtin__", "dict"): _dict,
    ("torch", "Size"): _first,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch._utils", "_rebuild_parameter_with_state"): _first,
    ("torch._utils", "_rebuild_device_tensor_from_numpy"): _first,
    ("torch._utils", "_rebuild_xla_tensor"): _first,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    ("torch.nn.parameter", "Parameter"): _first,
    ("torch.nn.parameter", "Buffer"): _first,
    ("torch.autograd.variable", "Variable"): _first,
    ("torch.autograd", "Variable"): _first,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    **{(f"{core}.multiarray", "_reconstruct"): _reconstruct for core in CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in CORES},
}
_LITERALS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BYTEARRAY8"),
)
# What each instruction does to the machine, given its argument.
_INSTRUCTIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(_LITERALS, Machine.push),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(Opaque("a set")),
    "MARK": lambda machine, _: machine.mark(),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"), Machine.put),
    **dict.fromkeys(("BINGET", "LONG_BINGET", "GET"), Machine.get),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "POP": lambda machine, _: machine.drop(),
    "POP_MARK": lambda machine, _: machine.since_mark().clear(),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.take(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.take(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.take(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "APPEND": lambda machine, _: machine.fill(machine.take(1)),
    "SETITEM": lambda machine, _: machine.fill(machine.take(2)),
    **dict.fromkeys(
        ("APPENDS", "SETITEMS", "ADDITEMS"), lambda machine, _: machine.fill(machine.since_mark())
    ),
    "DICT": lambda machine, _: machine.push_filled({}),
    "LIST": lambda machine, _: machine.push_filled([]),
    "FROZENSET": lambda machine, _: machine.push_filled([]),
    "GLOBAL": lambda machine, text: machine.push(Name(*text.split(" ", 1))),
    "STACK_GLOBAL": lambda machine, _: machine.push_name(),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), lambda machine, _: machine.push(Opaque("a code"))),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), lambda machine, _: machine.call(*machine.take(2))),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.take(3)[:2]),
    "OBJ": lambda machine, _: _call_all(machine, *machine.since_mark()),
    "INST": lambda machine, text: machine.call(Name(*text.split(" ", 1)), machine.since_mark()),
    "BUILD": lambda machine, _: machine.set_state(),
    "BINPERSID": lambda machine, _: machine.push_storage(),
    "PERSID": lambda machine, _: machine.push(Opaque("a persistent object")),
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
}


def _call_all(machine: Machine, function: Any, *arguments: Any) -> None:
    machine.call(function, arguments)


def interpret(file: IO[bytes]) -> Any:
    """Returns what one pickle in the file describes; see `run`."""
    return run(file)[0]


def run(file: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """Follows one pickle in the file, which is left behind its end.

    Returns:
      What it describes, and the storages that it names, by key.

    Raises:
      UserError: an instruction that weights do not need, or more of them than any has.
      Exception: of any kind, where the pickle is damaged.
    """
    machine = Machine()
    for step, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if instruction.name == "STOP":
            return machine.take(1)[0], machine.storages
        if instruction.name not in _INSTRUCTIONS:
            raise UserError(f"the pickle instruction {instruction.name}, which weights do not need")
        if step > _MOST_STEPS:
            raise UserError(f"a pickle of more than {_MOST_STEPS:,} instructions")
        _INSTRUCTIONS[instruction.name](machine, argument)
    raise UserError("a pickle without an end")


@contextlib.contextmanager
def in_one_line(kind: str) -> Iterator[None]:
    """Turns whatever a damaged or hostile file makes its reader raise into one short line.

    Args:
      kind: of file, 'torch file'.

    Raises:
      UserError: an error was raised within.
    """
    try:
        yield
    except UserError as error:
        raise UserError(printable(error, 400)) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {printable(error, 200)}"
        raise UserError(f"not a readable {kind} ({reason})") from error


def _is_key(value: Any) -> bool:
    """Returns whether a dict gets a key; others are no names of tensors.

    Hashing nested tuples can take for ever, and a number takes as long as it is.
    """
    return isinstance(value, _KEYS) and not (isinstance(value, int) and value.bit_length() > 64)


def _described(value: Any) -> str:
    """Names a value, or its type, for a message."""
    return str(value) if isinstance(value, Name | Opaque) else f"a {type(value).__name__}"
