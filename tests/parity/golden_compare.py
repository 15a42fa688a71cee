"""How near our arrays must be to those that a golden file of operators stores."""

from typing import Any

import numpy as np

from tests.golden.seeded import Golden, subsample


def compare(ours: Any, golden: Golden, case: str, name: str, dtype: type) -> None:
    """Output `name` of a case: exactly for integers; in float32 within ten times the reference's
    own error, in float64 within 1e-9 of the largest value, or half a unit of the float32 in which
    the file stores what it stores in float32."""
    info = golden.meta["cases"][case]["outputs"][name]
    ours, wanted = np.asarray(ours), golden[f"{case}/out/{name}"].reshape(-1)
    assert list(ours.shape) == info["shape"], name
    ours = subsample(ours, info["stride"])
    if wanted.dtype.kind != "f":
        np.testing.assert_array_equal(ours, wanted)
        return
    largest = np.abs(wanted).max(initial=0)
    coarser = np.float32 if dtype is np.float32 else wanted.dtype
    stored = np.finfo(coarser).eps / 2 * largest
    allowed = 10 * info["float32_max_abs_diff"] if dtype is np.float32 else 1e-9 * largest
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=max(allowed, stored), err_msg=name)
