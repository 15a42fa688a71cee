"""The names of github.com/wkentaro/pytorch-fcn, which are Caffe's of the published networks."""

from collections.abc import Iterator

from vision_jax.models.classifiers.vgg import VGG
from vision_jax.models.segmenters.fcn import FCN, FCNHead
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import vgg_by_name

# By the skips' number: the reference's names of the layers that upsample, the last one at the end.
UPSAMPLING = {
    0: ("upscore",),
    1: ("upscore2", "upscore16"),
    2: ("upscore2", "upscore_pool4", "upscore8"),
}


def fcn(model: FCN) -> Iterator[Row]:
    """Yields the layers of fcn32s.py, fcn16s.py and fcn8s.py."""
    skips = model.head.skips
    yield from vgg_by_name(model.backbone)
    for name in ("fc6", "fc7"):
        yield Row(name, f"head/{name}", "conv_bias")
    yield Row("score_fr", "head/score", "conv_bias")
    for name in skips:
        yield Row(f"score_{name}", f"head/score_{name}", "conv_bias")
    ours = [f"upscore_{name}" for name in skips] + ["upscore"]
    for theirs, name in zip(UPSAMPLING[len(skips)], ours, strict=True):
        yield Row(theirs, f"head/{name}", "conv_transpose")


def has_fcn(model: FCN) -> bool:
    """Returns True on VGG, with transposed convolutions.

    A last one that is fixed leaves its weights unused.
    """
    backbone, head = model.backbone, model.head
    if not isinstance(backbone, VGG) or not isinstance(head, FCNHead):
        return False
    is_plain = backbone.layers.norm == "none" and len(head.hidden) == 2
    return is_plain and head.learn != "none" and head.skips == ("pool4", "pool3")[: len(head.skips)]
