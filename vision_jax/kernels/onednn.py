"""Convolutions by oneDNN on CPU, from the wheel `onednn-cpu-gomp`, where that is installed.

XLA:CPU's own convolutions take 1.2 to 2 times as long forward and up to 9 times as long towards
the kernel (benchmarks/README.md). Programs reach the library by `xla_call`.
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
# Where image, kernel and output are among the first operand, the second one and the result.
_ORDER = ((0, 1, 2), (2, 1, 0), (1, 2, 0))
_ARGUMENTS = ((1, 33, 17), (129, 33, 145), (1, 161, 145))  # what oneDNN calls these three
# The arrays of a call: the kernel as it is given, and as the library lays it out.
_IMAGE, _KERNEL, _OUTPUT, _INNER, _SCRATCH = range(5)
_ALIGNMENT = 64


class Sizes(NamedTuple):
    """One convolution, or a gradient of it.

    Fields:
      what: FORWARD, IMAGE_GRADIENT or KERNEL_GRADIENT.
      runs: so many lie one after the other in each array.
      images, channels, features: b, c and o of a run.
      geometry: the rest.
    """

    what: int
    runs: int
    images: int
    channels: int
    features: int
    geometry: Geometry

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of a run's images, kernel and output."""
        g = self.geometry
        return (
            (self.images, *g.image, self.channels),
            (*g.kernel, self.channels // g.groups, self.features),
            (self.images, *g.output, self.features),
        )

    @classmethod
    def of(cls, what: int, shapes: Sequence[Sequence[int]], geometry: Geometry) -> "Sizes":
        """From the shapes of both operands and the result, with or without an axis of runs."""
        image, _, output = (shapes[i] for i in _ORDER[what])
        runs = image[0] if len(image) == 5 else 1
        return cls(what, runs, image[-4], image[-1], output[-1], geometry)

    def pack(self) -> list[int]:
        """As plain numbers."""
        return jax.tree.leaves(self)

    @classmethod
    def unpack(cls, data: bytes) -> "Sizes":
        """From the bytes of these numbers, int64."""
        return jax.tree.unflatten(_STRUCTURE, struct.unpack(f"{_NUMBERS}q", data))


_PAIR = (0, 0)
_NO_GEOMETRY = Geometry(_PAIR, _PAIR, _PAIR, (_PAIR, _PAIR), _PAIR, 0)
_STRUCTURE = jax.tree.structure(Sizes(0, 0, 0, 0, 0, _NO_GEOMETRY))
_NUMBERS = _STRUCTURE.num_leaves


@functools.cache
def available() -> bool:
    """Whether oneDNN is there and wanted; programs may then call `TARGET`."""
    return _caller() is not None


def takes(sizes: Sizes) -> bool:
    """Whether programs may call `TARGET` with these sizes."""
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
    """Things for one thread at a time, made when there is none to spare."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._spare = make, collections.deque()

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Any]:
        try:
            thing = self._spare.pop()
        except IndexError:
            thing = self._make()
        try:
            yield thing
        finally:
            self._spare.append(thing)


class _Room:
    """Memory for what a convolution puts aside."""

    def __init__(self):
        self._bytes = b""

    def address(self, size: int) -> int:
        """Of at least so many bytes."""
        if len(self._bytes) < size + _ALIGNMENT:
            self._bytes = ctypes.create_string_buffer(size + _ALIGNMENT)
        return _aligned(ctypes.addressof(self._bytes))


class _Caller:
    """Makes each convolution that is called for once, and runs it."""

    def __init__(self, library: dnnl.Library):
        self._library = library
        self._plans: dict[bytes, _Plan] = {}
        self._lock = threading.Lock()
        self._rooms = _Pool(_Room)

    def plan(self, data: bytes) -> "_Plan":
        """Of sizes in bytes; RuntimeError where the library has no way."""
        plan = self._plans.get(data)
        if plan is None:
            with self._lock:
                plan = self._plans.get(data) or _Plan(self._library, Sizes.unpack(data))
                self._plans[data] = plan
        return plan

    def __call__(self, data: bytes, operands: Sequence[int], results: Sequence[int]) -> None:
        with self._rooms.borrowed() as room:
            self.plan(data).run((*operands, *results), room)


class _Plan:
    """A convolution that was made for its sizes.

    The library lays kernels out in its own way, so that each run moves the kernel before or after.
    """

    def __init__(self, library: dnnl.Library, sizes: Sizes):
        self._what, self._runs = sizes.what, sizes.runs
        self._steps = [4 * math.prod(shape) for shape in sizes.shapes]  # bytes from run to run
        description, kernel = _describe(library, sizes)
        is_result = sizes.what == KERNEL_GRADIENT
        inner = library.layout_of(description, dnnl.DIFF_WEIGHTS if is_result else dnnl.WEIGHTS)
        scratch = library.layout_of(description, dnnl.SCRATCHPAD)
        self._inner_size = _aligned(library.size_of(inner))
        self._room_size = self._inner_size + library.size_of(scratch)
        image, output = _image_layouts(library, sizes)
        layouts = (image, kernel, output, inner, scratch)
        names = (*_ARGUMENTS[sizes.what], dnnl.SCRATCH)
        arguments = tuple(zip(names, (_IMAGE, _INNER, _OUTPUT, _SCRATCH), strict=True))
        calls = [(library.convolution(description), arguments)]
        if is_result:
            move = library.move(inner, kernel), ((dnnl.FROM, _INNER), (dnnl.TO, _KERNEL))
            calls.append(move)
        else:
            move = library.move(kernel, inner), ((dnnl.FROM, _KERNEL), (dnnl.TO, _INNER))
            calls.insert(0, move)
        self._calls = _Pool(lambda: _Call(library, layouts, calls))

    def run(self, addresses: Sequence[int], room: _Room) -> None:
        """With the addresses of the operands and the result of all runs."""
        arrays = [addresses[i] for i in _ORDER[self._what]]
        inner = room.address(self._room_size)
        aside = inner, inner + self._inner_size
        with self._calls.borrowed() as call:
            for run in range(self._runs):
                own = (a + run * step for a, step in zip(arrays, self._steps, strict=True))
                call(*own, *aside)


class _Call:
    """Primitives with memory objects of their own."""

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
        """With the memories' addresses."""
        for memory, address in zip(self._memories, addresses, strict=True):
            self._library.place(memory, address)
        for primitive, arguments in self._calls:
            self._library.execute(primitive, self._stream, arguments)


def _aligned(number):
    return -(-number // _ALIGNMENT) * _ALIGNMENT


def _image_layouts(library, sizes):
    """Of the image and the output: logically (b, c, h, w), and NHWC in memory."""
    image, _, output = sizes.shapes
    return [
        library.layout((b, c, h, w), (h * w * c, 1, w * c, c)) for b, h, w, c in (image, output)
    ]


def _describe(library, sizes):
    """The primitive's description, and the layout of kernels as they are given, HWIO."""
    geometry = sizes.geometry
    kh, kw, c, o = sizes.shapes[1]
    shape, strides = (o, c, kh, kw), (1, o, kw * c * o, c * o)
    if geometry.groups > 1:
        each = o // geometry.groups
        shape, strides = (geometry.groups, each, *shape[1:]), (each, *strides)
    image, output = _image_layouts(library, sizes)
    kernel = library.layout(shape, None)
    dilation = [n - 1 for n in geometry.dilation]
    before, after = zip(*geometry.padding, strict=True)
    window = [dnnl.numbers(v) for v in (geometry.stride, dilation, before, after)]

    def create(direction, *arrays):
        name = f"convolution_{direction}_primitive_desc_create"
        return library.make(name, library.engine, *arrays, *window, *hint, library.attributes)

    hint = ()
    found = create("forward", dnnl.TRAINING, dnnl.DIRECT, image, kernel, None, output)
    hint = (found,)
    if sizes.what == IMAGE_GRADIENT:
        found = create("backward_data", dnnl.DIRECT, image, kernel, output)
    elif sizes.what == KERNEL_GRADIENT:
        found = create("backward_weights", dnnl.DIRECT, image, kernel, None, output)
    return found, library.layout(shape, strides)
