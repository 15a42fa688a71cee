"""Python functions in XLA's programs, by the interface of whichever jaxlib runs."""

import ctypes
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vision_jax.kernels import xla_call

pytestmark = pytest.mark.core


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_a_called_function_raises_is_the_programs_error(error):
    def fail(numbers, operands, results):
        raise error(f"{len(numbers)} bytes, {len(operands)} operands, {len(results)} results")

    name = f"vision_jax_test_{error.__name__}"
    xla_call.register(name, fail)
    call = jax.ffi.ffi_call(name, jax.ShapeDtypeStruct((2,), jnp.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="24 bytes, 1 operands, 1 results"):
        jax.block_until_ready(call(jnp.ones(2), numbers=np.arange(3)))


def test_the_program_goes_on_after_an_error():
    """An error leaves the client, and the function, as they were."""
    left = [ValueError("the first time"), None]

    def once(numbers, operands, results):
        error = left.pop(0)
        if error is not None:
            raise error
        ctypes.memmove(results[0], operands[0], 8)

    xla_call.register("vision_jax_test_once", once)
    call = jax.jit(
        jax.ffi.ffi_call("vision_jax_test_once", jax.ShapeDtypeStruct((2,), jnp.float32))
    )
    x = jnp.array([3.0, 4.0])
    with pytest.raises(
        jax.errors.JaxRuntimeError, match="vision_jax_test_once: ValueError: the fi"
    ):
        jax.block_until_ready(call(x))
    np.testing.assert_array_equal(call(x), x)


@pytest.mark.parametrize("minor", [3, 5, 8])
def test_the_version_is_the_running_library_s(minor):
    version = xla_call._Version(ctypes.sizeof(xla_call._Version), None, 0, minor)
    interface = xla_call._Interface(ctypes.sizeof(xla_call._Interface), None, version)
    metadata = xla_call._Metadata(ctypes.sizeof(xla_call._Metadata))
    base = xla_call._Extension(ctypes.sizeof(xla_call._MetadataExtension), xla_call._METADATA)
    asked = xla_call._MetadataExtension(base, ctypes.pointer(metadata))
    extension = ctypes.cast(ctypes.pointer(asked), ctypes.POINTER(xla_call._Extension))
    frame = xla_call._Frame(ctypes.sizeof(xla_call._Frame), extension, ctypes.pointer(interface))
    xla_call._answer(frame)
    assert (metadata.version.major, metadata.version.minor) == (0, minor)


def test_what_runs_is_what_its_header_says(monkeypatch):
    answered = []
    answer = xla_call._answer

    def noted(frame):
        answer(frame)
        version = frame.interface.contents.version
        answered.append((version.major, version.minor))

    monkeypatch.setattr(xla_call, "_answer", noted)
    xla_call.register("vision_jax_test_version", lambda numbers, operands, results: None)
    call = jax.ffi.ffi_call("vision_jax_test_version", jax.ShapeDtypeStruct((2,), jnp.float32))
    jax.block_until_ready(call(jnp.ones(2)))
    header = pathlib.Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h").read_text()
    numbers = [
        int(re.search(rf"#define XLA_FFI_API_{name} (\d+)", header)[1])
        for name in ("MAJOR", "MINOR")
    ]
    assert {*answered} == {tuple(numbers)}
