"""The strict world that every test runs in.

Shapes in signatures are checked, arrays of different rank do not silently broadcast, and there are
eight virtual devices. (Warnings become errors in pyproject.toml.)
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import jax
import jaxtyping
import pytest

CHECKED = [f"vision_jax.{room}" for room in ("ops", "models", "tasks", "evaluation")]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _strict_dtypes_in_ops(request):
    """Ops are also held to explicit dtypes; rooms above may mix a float with an int."""
    if "/tests/ops/" not in str(request.node.path):
        yield
        return
    with jax.numpy_dtype_promotion("strict"):
        yield
