"""The golden files of operations: their cases, and how outputs are compared with them.

Every case runs in float32, within 10 times the reference's own float32 noise, and in float64, where
1e-9 of the greatest value (or the rounding with which the file stores it) must do. Integers, and
values that the reference itself computes without rounding, are exact.
"""

import functools
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.seeded import Golden

FOLDER = Path(os.environ.get("VISION_JAX_GOLDENS", Path(__file__).parents[1] / "golden")) / "ops"
BOTH = pytest.mark.parametrize("kind", [np.float32, np.float64])


@functools.cache
def golden(family: str) -> Golden:
    return Golden(FOLDER / f"{family}.npz")


def cases(family: str, *words: str) -> list[str]:
    """Lists the cases that begin with one of the words (all without words)."""
    names = golden(family).meta["cases"] if (FOLDER / f"{family}.npz").exists() else []
    return [n for n in names if not words or n.startswith(words)]


class Case:
    """One case's inputs, in a float type of choice, and the comparison of its outputs."""

    def __init__(self, family: str, name: str, kind: type = np.float32):
        self.file, self.name, self.kind = golden(family), name, kind
        self.meta = self.file.meta["cases"][name]
        self.args = self.meta["args"]

    def __getitem__(self, key: str) -> jax.Array:
        value = self.file[self.meta["inputs"][key]]
        return jnp.asarray(value.astype(self.kind) if value.dtype.kind == "f" else value)

    def check(self, key: str, output: Any) -> None:
        """Compares an output with the stored one."""
        info, expected = self.meta["outputs"][key], self.file[f"{self.name}/out/{key}"]
        output = np.asarray(output)
        assert list(output.shape) == info["shape"]
        output = output.reshape(-1)[:: info["stride"]]
        expected = expected.reshape(-1)
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(output, expected)
            return
        assert output.dtype in (self.kind, np.float64)
        noise = info.get("float32_max_abs_diff", 0.0)
        greatest = float(np.abs(expected).max(initial=0))
        # The file's own rounding; and no float32 is nearer to a number than half its spacing.
        coarser = np.float32 if self.kind is np.float32 else expected.dtype
        rounding = np.finfo(coarser).eps / 2 * greatest
        allowed = 10 * noise if self.kind is np.float32 else 1e-9 * greatest
        np.testing.assert_allclose(output, expected, rtol=0, atol=max(allowed, rounding))
