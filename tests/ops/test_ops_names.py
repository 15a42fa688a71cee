"""The operations' public names: all there, and each one what it says."""

import inspect
import pathlib

import pytest

from vision_jax import ops

MODULES = {path.stem for path in pathlib.Path(ops.__file__).parent.glob("[a-z]*.py")}


@pytest.mark.parametrize("name", ops.__all__)
def test_every_name_is_a_module_or_a_documented_operation(name):
    value = getattr(ops, name)
    if inspect.ismodule(value):
        assert value.__name__ == f"vision_jax.ops.{name}"
        return
    assert value.__name__ == name
    assert value.__module__.startswith(("vision_jax.ops.", "vision_jax.kernels."))
    assert inspect.getdoc(value)


def test_all_that_is_imported_is_public():
    operations = {
        name
        for name, value in vars(ops).items()
        if not inspect.ismodule(value) and value is not None and hasattr(value, "__module__")
        if value.__module__.startswith("vision_jax.")
    }
    assert operations <= set(ops.__all__) <= operations | MODULES
    assert len(set(ops.__all__)) == len(ops.__all__)
