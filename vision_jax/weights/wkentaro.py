"""Names of github.com/wkentaro/pytorch-fcn, which follow Caffe's of the published networks."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row

# By the skips' number: the reference's names of the layers that upsample, the last one at the end.
UPSAMPLING = {
    0: ("upscore",),
    1: ("upscore2", "upscore16"),
    2: ("upscore2", "upscore_pool4", "upscore8"),
}


def fcn(model: Any) -> Iterator[Row]:
    """fcn32s.py, fcn16s.py, fcn8s.py."""
    backbone, head = model.backbone, model.head
    for stage, kernels in enumerate(backbone.kernels, start=1):
        for i in range(1, len(kernels) + 1):
            name = f"conv{stage}_{i}"
            yield Row(name, f"backbone/{name}/conv", "conv_bias")
    for name in ("fc6", "fc7"):
        yield Row(name, f"head/{name}", "conv_bias")
    yield Row("score_fr", "head/score", "conv_bias")
    for name in head.skips:
        yield Row(f"score_{name}", f"head/score_{name}", "conv_bias")
    ours = [f"upscore_{name}" for name in head.skips] + ["upscore"]
    for theirs, name in zip(UPSAMPLING[len(head.skips)], ours, strict=True):
        yield Row(theirs, f"head/{name}", "conv_transpose")


def has_fcn(model: Any) -> bool:
    """On VGG, with transposed convolutions; a last one that is fixed leaves its weights unused."""
    skips = ("pool4", "pool3")
    return (
        type(model.backbone).__name__ == "VGG"
        and model.backbone.norm == "none"
        and model.head.learn != "none"
        and len(model.head.hidden) == 2
        and model.head.skips in ((), skips[:1], skips)
    )
