"""Names of github.com/meetshah1995/pytorch-semseg."""

from collections.abc import Iterator
from typing import Any

from vision_jax.weights.engine import Row


def segnet(model: Any) -> Iterator[Row]:
    """segnet.py: convolution, norm and ReLU are the unit `cbr_unit`."""
    for stage, kernels in enumerate(model.backbone.kernels, start=1):
        for i in range(1, len(kernels) + 1):
            yield from _unit(f"down{stage}.conv{i}", f"backbone/conv{stage}_{i}")
    for stage, count in enumerate(model.head.convs, start=1):
        for i in range(1, count + 1):
            yield from _unit(f"up{stage}.conv{i}", f"head/up{stage}_{i}")


def has_segnet(model: Any) -> bool:
    """With norms everywhere, also at the end."""
    kind, head = type(model.head).__name__, model.head
    return (
        kind == "SegNetHead"
        and "none" not in (head.norm, model.backbone.norm)
        and (head.last == "norm")
    )


def _unit(theirs: str, ours: str) -> Iterator[Row]:
    yield Row(f"{theirs}.cbr_unit.0", f"{ours}/conv", "conv_bias")
    yield Row(f"{theirs}.cbr_unit.1", f"{ours}/norm", "norm")
