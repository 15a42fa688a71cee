"""oneDNN's C interface (oneDNN 3, dnnl.h) as far as convolutions need it, bound with ctypes."""

import ctypes
import importlib.metadata
import os
from collections.abc import Sequence

PACKAGE, FILE = "onednn-cpu-gomp", "libdnnl.so.3"
DIRECT, TRAINING = 1, 64  # the algorithm and the kind of a convolution's primitive
WEIGHTS, DIFF_WEIGHTS, SCRATCHPAD = 131, 132, 136  # whose layout a primitive may be asked for
FROM, TO, SCRATCH = 1, 17, 80  # arguments of primitives
TYPES = {"bfloat16": 2, "float32": 3}  # the library's numbers of them
_CPU, _IN_ORDER, _ANY_LAYOUT, _USERS = 1, 1, 1, 1
_BFLOAT16 = 0x80  # among the bits of a processor's instructions: products of such numbers
# Threads that wait long for the next convolution would take the cores from other operations in
# between; a moment spares waking them within one. GCC's library reads this when it is loaded.
_WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000"}

Handle = ctypes.c_void_p


def load() -> "Library | None":
    """Loads the library; returns None where the wheel or the libgomp that it needs is missing."""
    try:
        files = importlib.metadata.files(PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        return None
    path = next((str(file.locate()) for file in files if file.name == FILE), None)
    if path is None:
        return None
    before = {name: os.environ.get(name) for name in _WAITING}
    if all(value is None for value in before.values()):
        os.environ.update(_WAITING)
    try:
        return Library(path)
    except OSError:
        return None
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


class Library:
    """oneDNN's functions as far as convolutions need them.

    Raises:
      RuntimeError: a function returned an error.
    """

    def __init__(self, path: str):
        self._library = ctypes.CDLL(path)
        self._quick = ctypes.PyDLL(path)  # for calls too short to let another thread begin
        self.size_of = self._library.dnnl_memory_desc_get_size
        self.size_of.restype, self.size_of.argtypes = ctypes.c_size_t, [Handle]
        self._query = self._library.dnnl_primitive_desc_query_md
        self._query.restype = Handle
        self._query.argtypes = [Handle, ctypes.c_int, ctypes.c_int]
        self.place = self._quick.dnnl_memory_set_data_handle
        self.place.argtypes = [Handle, Handle]
        self.engine = self.make("engine_create", _CPU, ctypes.c_size_t(0))
        self.attributes = self.make("primitive_attr_create")
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, _USERS)

    def call(self, function: str, *arguments: object) -> None:
        """Calls the function `dnnl_{function}`."""
        code = getattr(self._library, f"dnnl_{function}")(*arguments)
        if code:
            raise RuntimeError(f"oneDNN's {function} failed with status {code}")

    def make(self, function: str, *arguments: object) -> Handle:
        """Calls a function and returns the object that it makes, its first argument."""
        made = Handle()
        self.call(function, ctypes.byref(made), *arguments)
        return made

    def multiplies(self, number: int) -> bool:
        """Returns True if the processor multiplies numbers of a type, one of `TYPES`, itself.

        The library can compute with bfloat16 anywhere; without instructions for it this is slow.
        """
        instructions = self._library.dnnl_get_effective_cpu_isa()
        return number != TYPES["bfloat16"] or bool(instructions & _BFLOAT16)

    def layout(self, shape: Sequence[int], strides: Sequence[int] | None, number: int) -> Handle:
        """Describes an array in memory; without strides, the library chooses its layout.

        Args:
          shape, strides: in numbers.
          number: their type, one of `TYPES`.
        """
        sizes = (len(shape), numbers(shape), number)
        if strides is None:
            return self.make("memory_desc_create_with_tag", *sizes, _ANY_LAYOUT)
        return self.make("memory_desc_create_with_strides", *sizes, numbers(strides))

    def layout_of(self, primitive: Handle, array: int) -> Handle:
        """Returns the layout in which a primitive wants an array, such as `WEIGHTS`."""
        return Handle(self._query(primitive, array, 0))

    def memory(self, layout: Handle) -> Handle:
        """Makes a memory object, whose address `place` sets."""
        return self.make("memory_create", layout, self.engine, None)

    def stream(self) -> Handle:
        """Makes a stream, on which primitives are executed one after the other."""
        return self.make("stream_create", self.engine, _IN_ORDER)

    def convolution(self, description: Handle) -> Handle:
        """Makes the primitive that a description is of."""
        return self.make("primitive_create", description)

    def move(self, before: Handle, after: Handle) -> Handle:
        """Makes the primitive that copies an array from one layout to another."""
        ends = (before, self.engine, after, self.engine)
        return self.make(
            "primitive_create", self.make("reorder_primitive_desc_create", *ends, None)
        )

    def execute(self, primitive: Handle, stream: Handle, arguments: ctypes.Array) -> None:
        """Executes a primitive with arguments made by `arguments`."""
        self.call("primitive_execute", primitive, stream, len(arguments), arguments)


class _Argument(ctypes.Structure):
    _fields_ = (("name", ctypes.c_int), ("memory", ctypes.c_void_p))


def arguments(pairs: Sequence[tuple[int, Handle]]) -> ctypes.Array:
    """Returns named memory objects as primitives take them."""
    items = [_Argument(name, memory) for name, memory in pairs]
    return (_Argument * len(items))(*items)


def numbers(values: Sequence[int]) -> ctypes.Array:
    """Returns sizes as the library takes them."""
    return (ctypes.c_int64 * len(values))(*values)
