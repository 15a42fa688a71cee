"""The names of github.com/meetshah1995/pytorch-semseg."""

from collections.abc import Iterator

from vision_jax.models.segmenters.segmenter import Segmenter
from vision_jax.models.segmenters.segnet import SegNetHead
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import vgg_stages


def segnet(model: Segmenter) -> Iterator[Row]:
    """Yields the layers of segnet.py: convolution, norm and ReLU are the unit `cbr_unit`."""
    for stage, names in enumerate(vgg_stages(model.backbone), start=1):
        for i, name in enumerate(names, start=1):
            yield from _unit(f"down{stage}.conv{i}", f"backbone/{name}")
    for stage, count in enumerate(model.head.convs, start=1):
        for i in range(1, count + 1):
            yield from _unit(f"up{stage}.conv{i}", f"head/up{stage}_{i}")


def has_segnet(model: Segmenter) -> bool:
    """Returns True for SegNet with norms everywhere, also at the end."""
    head = model.head
    if not isinstance(head, SegNetHead) or head.last != "norm":
        return False
    return "none" not in (head.layers.norm, model.backbone.layers.norm)


def _unit(theirs: str, ours: str) -> Iterator[Row]:
    """Yields a convolution with a bias, and its norm."""
    yield Row(f"{theirs}.cbr_unit.0", f"{ours}/conv", "conv_bias")
    yield Row(f"{theirs}.cbr_unit.1", f"{ours}/norm", "norm")
