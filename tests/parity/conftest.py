import jax
import numpy as np
import pytest


@pytest.fixture
def precision(request):
    """Computes in float64 where a test's parameter `kind` asks for it."""
    parameters = getattr(request.node, "callspec", None)
    wide = parameters is not None and parameters.params.get("kind") is np.float64
    with jax.enable_x64(wide):
        yield
