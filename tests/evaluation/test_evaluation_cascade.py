"""Windows and faces left after each network of a cascade, counted by hand."""

from typing import NamedTuple

import numpy as np
import pytest

from vision_jax.evaluation import CascadeStages
from vision_jax.structs import Array, Batch, Targets


class Windows(NamedTuple):
    boxes: Array
    valid: Array


def windows(*rows):
    """Makes two images' windows of 10 pixels, from their places; None is padding."""
    boxes = [[[x, 0, x + 10, 10] if x is not None else [0] * 4 for x in row] for row in rows]
    valid = [[x is not None for x in row] for row in rows]
    return Windows(np.array(boxes, np.float32), np.array(valid))


def test_windows_and_faces_are_counted():
    batch = Batch(
        image=None,
        valid=np.array([True, True]),
        index=np.arange(2),
        targets=Targets(
            boxes=np.array([[[0, 0, 10, 10], [50, 0, 60, 10]], [[20, 0, 30, 10], [0] * 4]], float),
            valid=np.array([[True, True], [True, False]]),
        ),
    )
    batch = batch.replace(targets=batch.targets.replace(boxes=np.float32(batch.targets.boxes)))
    all_windows = windows([2, 52, 80], [22, 90, None])
    after_12, after_24, left = (
        windows([2, 52, None], [22, 90, None]),
        windows([2, None, None], [22, None, None]),
        windows([None, None, None], [21, None, None]),
    )
    outputs = {
        "seen": (all_windows, after_12, after_24),
        "passed": (after_12, after_24, left),
        "calibrated": tuple(w.boxes - np.float32([2, 0, 2, 0]) for w in (after_12, after_24, left)),
        "detections": left,
    }
    metric = CascadeStages()
    state = metric.empty()
    new = metric.update(outputs, batch)
    assert set(new) == set(metric.names()) == set(state)
    result = metric.result({name: (np.float64(a), np.int64(b)) for name, (a, b) in new.items()})
    assert [result[f"windows{p}"] for p in ("12", "24", "48", "_left")] == [2.5, 2, 1, 0.5]
    recalls = [result[f"recall{p}"] for p in ("12", "24", "48", "_left")]
    np.testing.assert_allclose(recalls, [1, 1, 2 / 3, 1 / 3])
    two_off, one_off = 8 / 12, 9 / 11
    np.testing.assert_allclose(result["iou12"], two_off)
    np.testing.assert_allclose(result["calibrated_iou12"], 1)
    np.testing.assert_allclose(result["iou24"], 2 * two_off / 3, rtol=1e-6)
    np.testing.assert_allclose(result["calibrated_iou48"], one_off / 3, rtol=1e-6)
    line = result["curve/share left/networks passed/windows"]
    np.testing.assert_allclose(line, [[0, 1, 2, 3], [1, 0.8, 0.4, 0.2]])
    padded = batch.replace(valid=np.array([True, False]))
    assert float(metric.update(outputs, padded)["windows12"][0]) == 3
    with pytest.raises(ValueError, match="targets"):
        metric.update(outputs, batch.replace(targets=Targets()))
