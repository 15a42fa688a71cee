"""Convolutions by oneDNN on CPU, from the wheel `onednn-cpu-gomp`, where that is installed.

XLA:CPU's own convolutions take 1.2 to 2 times as long forward and up to 9 times as long towards
the kernel (docs/profiles.md). Programs reach the library by `xla_call`.
`VISION_JAX_ONEDNN=0` does without it.
"""

import collections
import contextlib
import ctypes
import functools
import math
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from vision_jax.kernels import dnnl, xla_call
from vision_jax.kernels.conv_lax import Geometry

TARGET = "vision_jax_onednn_convolution"
FORWARD, IMAGE_GRADIENT, KERNEL_GRADIENT = range(3)
# By kind: where image, kernel and output are among first operand, second operand and result.
_ORDER = ((0, 1, 2), (2, 1, 0), (1, 2, 0))
_ARGUMENTS = ((1, 33, 17), (129, 33, 145), (1, 161, 145))  # oneDNN's numbers of these three
# The arrays of a call: the kernel in the program's layout, then (inner) in the library's own.
_IMAGE, _KERNEL, _OUTPUT, _INNER, _SCRATCH = range(5)
_ALIGNMENT = 64


class Sizes(NamedTuple):
    """The sizes of one convolution, or of a gradient of it.

    Attributes:
      kind: FORWARD, IMAGE_GRADIENT or KERNEL_GRADIENT.
      runs: number of convolutions, whose arrays lie one after the other.
      images, channels, features: b, c and o of a run.
      geometry: the rest.
      number: type of all numbers, one of `dnnl.TYPES`; sums are float32.
    """

    kind: int
    runs: int
    images: int
    channels: int
    features: int
    geometry: Geometry
    number: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of a run's images, kernel and output."""
        g = self.geometry
        return (
            (self.images, *g.image, self.channels),
            (*g.kernel, self.channels // g.groups, self.features),
            (self.images, *g.output, self.features),
        )

    @classmethod
    def of(
        cls, kind: int, shapes: Sequence[Sequence[int]], geometry: Geometry, dtype: str
    ) -> "Sizes":
        """Reads the sizes off the shapes of both operands and the result, whose type is `dtype`.

        The shapes may have an axis of runs in front.
        """
        image, _, output = (shapes[i] for i in _ORDER[kind])
        runs = image[0] if len(image) == 5 else 1
        number = dnnl.TYPES[dtype]
        return cls(kind, runs, image[-4], image[-1], output[-1], geometry, number)

    def pack(self) -> list[int]:
        """Returns the sizes as plain numbers."""
        return jax.tree.leaves(self)

    @classmethod
    def unpack(cls, data: bytes) -> "Sizes":
        """Reads the sizes from the bytes of these numbers, int64."""
        return jax.tree.unflatten(_STRUCTURE, struct.unpack(f"{_NUMBERS}q", data))


_PAIR = (0, 0)
_NO_GEOMETRY = Geometry(_PAIR, _PAIR, _PAIR, (_PAIR, _PAIR), _PAIR, 0)
_STRUCTURE = jax.tree.structure(Sizes(0, 0, 0, 0, 0, _NO_GEOMETRY, 0))
_BYTES = {dnnl.TYPES["bfloat16"]: 2, dnnl.TYPES["float32"]: 4}  # of a number
_NUMBERS = _STRUCTURE.num_leaves


@functools.cache
def available() -> bool:
    """Returns True if oneDNN is installed and not disabled by VISION_JAX_ONEDNN=0."""
    return _caller() is not None


def takes(sizes: Sizes) -> bool:
    """Returns True if CPU programs may call `TARGET` with these sizes."""
    caller = _caller()
    if caller is None:
        return False
    try:
        caller.plan(struct.pack(f"{_NUMBERS}q", *sizes.pack()))
    except RuntimeError:
        return False
    return True


@functools.cache
def _caller():
    library = None if os.environ.get("VISION_JAX_ONEDNN") == "0" else dnnl.load()
    if library is None:
        return None
    caller = _Caller(library)
    xla_call.register(TARGET, caller)
    return caller


class _Pool:
    """Objects that one thread at a time may use, made when there is none to spare."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._spare = make, collections.deque()

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Any]:
        """Lends an object, until the context ends."""
        try:
            item = self._spare.pop()
        except IndexError:
            item = self._make()
        try:
            yield item
        finally:
            self._spare.append(item)


class _Workspace:
    """Memory that convolutions use while they run; it grows with their needs."""

    def __init__(self):
        self._bytes = b""

    def address(self, size: int) -> int:
        """Returns the aligned address of a buffer of at least `size` bytes."""
        if len(self._bytes) < size + _ALIGNMENT:
            self._bytes = ctypes.create_string_buffer(size + _ALIGNMENT)
        return _aligned(ctypes.addressof(self._bytes))


class _Caller:
    """The handler of `TARGET`: prepares each convolution on its first call, and runs it."""

    def __init__(self, library: dnnl.Library):
        self._library = library
        self._plans: dict[bytes, _Plan] = {}
        self._lock = threading.Lock()
        self._workspaces = _Pool(_Workspace)

    def plan(self, data: bytes) -> "_Plan":
        """Returns the convolution of packed `Sizes`, prepared once.

        Raises:
          RuntimeError: the library has no way to compute it, or none that is quick.
        """
        plan = self._plans.get(data)
        if plan is None:
            sizes = Sizes.unpack(data)
            if not self._library.multiplies(sizes.number):
                raise RuntimeError("the processor does not multiply numbers of this type")
            with self._lock:
                plan = self._plans.get(data) or _Plan(self._library, sizes)
                self._plans[data] = plan
        return plan

    def __call__(self, data: bytes, operands: Sequence[int], results: Sequence[int]) -> None:
        with self._workspaces.borrowed() as workspace:
            self.plan(data).run((*operands, *results), workspace)


class _Plan:
    """A convolution prepared for its sizes.

    The library lays kernels out in its own way, so that each run moves the kernel before or after.
    """

    def __init__(self, library: dnnl.Library, sizes: Sizes):
        self._kind, self._runs = sizes.kind, sizes.runs
        each = _BYTES[sizes.number]
        self._steps = [each * math.prod(shape) for shape in sizes.shapes]  # bytes from run to run
        description, kernel = _describe(library, sizes)
        is_result = sizes.kind == KERNEL_GRADIENT
        inner = library.layout_of(description, dnnl.DIFF_WEIGHTS if is_result else dnnl.WEIGHTS)
        scratch = library.layout_of(description, dnnl.SCRATCHPAD)
        self._inner_size = _aligned(library.size_of(inner))
        self._workspace_size = self._inner_size + library.size_of(scratch)
        image, output = _image_layouts(library, sizes)
        layouts = (image, kernel, output, inner, scratch)
        names = (*_ARGUMENTS[sizes.kind], dnnl.SCRATCH)
        arguments = tuple(zip(names, (_IMAGE, _INNER, _OUTPUT, _SCRATCH), strict=True))
        calls = [(library.convolution(description), arguments)]
        if is_result:
            move = library.move(inner, kernel), ((dnnl.FROM, _INNER), (dnnl.TO, _KERNEL))
            calls.append(move)
        else:
            move = library.move(kernel, inner), ((dnnl.FROM, _KERNEL), (dnnl.TO, _INNER))
            calls.insert(0, move)
        self._calls = _Pool(lambda: _Call(library, layouts, calls))

    def run(self, addresses: Sequence[int], workspace: _Workspace) -> None:
        """Computes all runs.

        Args:
          addresses: of the operands and the result.
          workspace: memory for the kernel in the library's layout, and for its own use.
        """
        arrays = [addresses[i] for i in _ORDER[self._kind]]
        inner = workspace.address(self._workspace_size)
        scratch = inner + self._inner_size
        with self._calls.borrowed() as call:
            for run in range(self._runs):
                places = (a + run * step for a, step in zip(arrays, self._steps, strict=True))
                call(*places, inner, scratch)


class _Call:
    """Primitives with memory objects of their own, which one thread at a time may use."""

    def __init__(
        self,
        library: dnnl.Library,
        layouts: Sequence[dnnl.Handle],
        calls: Sequence[tuple[dnnl.Handle, Sequence[tuple[int, int]]]],
    ):
        self._library = library
        self._memories = [library.memory(layout) for layout in layouts]
        self._stream = library.stream()
        self._calls = [
            (primitive, dnnl.arguments([(name, self._memories[i]) for name, i in arguments]))
            for primitive, arguments in calls
        ]

    def __call__(self, *addresses: int) -> None:
        """Executes the primitives on memory at these addresses."""
        for memory, address in zip(self._memories, addresses, strict=True):
            self._library.place(memory, address)
        for primitive, arguments in self._calls:
            self._library.execute(primitive, self._stream, arguments)


def _aligned(number):
    """Rounds a size or an address up to the alignment."""
    return -(-number // _ALIGNMENT) * _ALIGNMENT


def _image_layouts(library, sizes):
    """Describes image and output, which are logically (b, c, h, w), and NHWC in memory."""
    image, _, output = sizes.shapes
    return [
        library.layout((b, c, h, w), (h * w * c, 1, w * c, c), sizes.number)
        for b, h, w, c in (image, output)
    ]


def _describe(library, sizes):
    """Returns the primitive's description, and the layout of the program's kernels, HWIO."""
    geometry = sizes.geometry
    kh, kw, c, o = sizes.shapes[1]
    shape, strides = (o, c, kh, kw), (1, o, kw * c * o, c * o)
    if geometry.groups > 1:
        each = o // geometry.groups
        shape, strides = (geometry.groups, each, *shape[1:]), (each, *strides)
    image, output = _image_layouts(library, sizes)
    kernel = library.layout(shape, None, sizes.number)
    dilation = [n - 1 for n in geometry.dilation]
    before, after = zip(*geometry.padding, strict=True)
    window = [dnnl.numbers(v) for v in (geometry.stride, dilation, before, after)]

    def create(direction, *arrays):
        name = f"convolution_{direction}_primitive_desc_create"
        return library.make(name, library.engine, *arrays, *window, *hint, library.attributes)

    hint = ()
    description = create("forward", dnnl.TRAINING, dnnl.DIRECT, image, kernel, None, output)
    hint = (description,)  # gradients are created with a hint of the forward direction
    if sizes.kind == IMAGE_GRADIENT:
        description = create("backward_data", dnnl.DIRECT, image, kernel, output)
    elif sizes.kind == KERNEL_GRADIENT:
        description = create("backward_weights", dnnl.DIRECT, image, kernel, None, output)
    return description, library.layout(shape, strides, sizes.number)
