"""A metric under other names measures the same."""

import jax.numpy as jnp
import numpy as np

from vision_jax.evaluation import VOC, Loss, Prefixed, Segmentation, TopK
from vision_jax.structs import Batch, Targets


def test_a_prefix_goes_before_every_result():
    metric = Prefixed(TopK(ks=(1, 2)), "small_")
    assert metric.names() == ("small_top1", "small_top2") and not metric.gathers
    labels = Targets(label=np.array([0, 1, 1], np.int32))
    batch = Batch(None, np.ones(3, bool), np.arange(3, dtype=np.int32), labels)
    logits = jnp.array([[3.0, 2, 1], [3, 2, 1], [3, 1, 2]])
    state = metric.update({"logits": logits}, batch)
    state = {key: (np.float64(t), np.int64(count)) for key, (t, count) in state.items()}
    results = metric.result(state)
    assert list(results) == ["small_top1", "small_top2"]
    np.testing.assert_allclose([*results.values()], [1 / 3, 2 / 3], rtol=1e-6)


def test_a_metric_that_gathers_still_does():
    metric = Prefixed(VOC(num_classes=2, iou_threshold=0.75), "a/")
    assert metric.gathers and metric.outputs == ("detections",)
    assert metric.names() == ("a/ap75",) and metric.empty() == [] and metric.result([]) == {}


def test_names_of_metrics_without_settings():
    assert Loss().names() == ("loss",)
    matrix = np.array([[3, 1], [0, 4]])
    numbers = {k for k, v in Segmentation(2).result(matrix).items() if np.ndim(v) == 0}
    assert numbers == {*Segmentation(2).names()}
