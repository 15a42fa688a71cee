"""Python functions that XLA:CPU programs call, on their own buffers and without a copy.

The structures are those of XLA's C interface to foreign functions (xla/ffi/api/c_api.h), bound with
ctypes. A call costs some 9 µs and holds Python's lock only outside of the libraries that the
function calls.
"""

import atexit
import ctypes
import functools
from collections.abc import Callable, Sequence

import jax

# (the attribute, pointers to the operands, pointers to the results)
Handler = Callable[[bytes, Sequence[int], Sequence[int]], None]

_MAJOR = 0  # of the interface that is bound here; minor versions only add to the ends of structures
_METADATA = 1  # the extension by which XLA asks a handler for its version
_INTERNAL = 13  # the error code


class _Extension(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("type", ctypes.c_int), ("next", ctypes.c_void_p))


class _Extensible(ctypes.Structure):
    """The beginning of most of them; ctypes puts inherited fields in front."""

    _fields_ = (("size", ctypes.c_size_t), ("extension", ctypes.POINTER(_Extension)))


class _Version(_Extensible):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


class _Metadata(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("version", _Version))


class _MetadataExtension(ctypes.Structure):
    _fields_ = (("base", _Extension), ("metadata", ctypes.POINTER(_Metadata)))


class _Buffer(_Extensible):
    _fields_ = (("dtype", ctypes.c_int), ("data", ctypes.c_void_p))


class _Buffers(_Extensible):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _Numbers(ctypes.Structure):
    _fields_ = (("dtype", ctypes.c_int), ("count", ctypes.c_size_t), ("data", ctypes.c_void_p))


class _Attributes(_Extensible):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("names", ctypes.c_void_p),
        ("items", ctypes.POINTER(ctypes.POINTER(_Numbers))),
    )


class _ErrorArguments(_Extensible):
    _fields_ = (("message", ctypes.c_char_p), ("code", ctypes.c_int))


_CreateError = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))


class _Interface(_Extensible):
    _fields_ = (
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("create_error", _CreateError),
    )


class _Frame(_Extensible):
    _fields_ = (
        ("interface", ctypes.POINTER(_Interface)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("operands", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Frame))
_callbacks = []  # kept alive, since XLA keeps their addresses for good


def register(target: str, handler: Handler) -> None:
    """Registers `handler` as the function that CPU programs call as `target`.

    Args:
      target: the name in `jax.ffi.ffi_lowering` or `ffi_call`, with one attribute, an array of
        int64, or none.
      handler: is given that array's bytes. An exception in it becomes the program's error.
        Several threads may be in it.
    """

    def call(frame):
        frame = frame.contents
        try:
            if frame.extension and frame.extension.contents.type == _METADATA:
                _answer(frame)
            else:
                attribute = _attribute(frame.attributes)
                handler(attribute, _addresses(frame.operands), _addresses(frame.results))
        except BaseException as error:  # after an interrupt, too, there is no result
            message = f"{target}: {type(error).__name__}: {error}".encode()
            arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message, _INTERNAL)
            return frame.interface.contents.create_error(ctypes.byref(arguments))
        return None

    _keep_client()
    callback = _Callback(call)
    _callbacks.append(callback)
    jax.ffi.register_ffi_target(target, jax.ffi.pycapsule(callback), platform="cpu")


@functools.cache
def _keep_client() -> None:
    """Keeps JAX's client for the CPU beyond the interpreter's end.

    A program that still runs then cannot call Python any more, and the client's destructor would
    wait for it for ever.
    """

    def add_reference() -> None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(jax.devices("cpu")[0].client))

    atexit.register(add_reference)


def _addresses(buffers):
    """Returns the addresses of a frame's buffers."""
    return [buffers.items[i].contents.data for i in range(buffers.count)]


def _attribute(attributes):
    """Returns the bytes of a frame's only attribute, b'' where there is none."""
    if not attributes.count:
        return b""
    numbers = attributes.items[0].contents
    return ctypes.string_at(numbers.data, 8 * numbers.count)


def _answer(frame):
    """Writes the interface's version to where XLA asks for it: the minor one is XLA's own."""
    asked = ctypes.cast(frame.extension, ctypes.POINTER(_MetadataExtension)).contents
    asked.metadata.contents.version.major = _MAJOR
    asked.metadata.contents.version.minor = frame.interface.contents.version.minor
