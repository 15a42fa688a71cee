"""Parity of LSDA's adaptation: neighbours, weights, biases and scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.golden_ops import Case, cases
from vision_jax.ops.lsda import lend_changes, nearest_classes

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("precision")]


# The file's sums are float64's, and stored in float32.
@pytest.mark.parametrize("kind", [np.float64])
@pytest.mark.parametrize("name", cases("lsda", "adapt"))
def test_adaptation(name, kind):
    case = Case("lsda", name, kind)
    boxed, count = tuple(range(case.args["strong"])), case.args["k"]
    weights = case["classifier"]
    case.check("neighbours", nearest_classes(weights, boxed, count))
    before = jnp.concatenate([weights, case["classifier_bias"][:, None]], 1)
    after = jnp.concatenate([case["detector"], case["detector_bias"][:, None]], 1)
    changes = jnp.zeros_like(before).at[: len(boxed)].set(after - before[: len(boxed)])
    adapted = before + lend_changes(changes, weights, boxed, count)
    case.check("weight", adapted[:, :-1])
    case.check("bias", adapted[:, -1])
    background = case["features"] @ case["background"] + case["background_bias"]
    scores = case["features"] @ adapted[:, :-1].T + adapted[:, -1][None] - background[:, None]
    case.check("scores", scores)
