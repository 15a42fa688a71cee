"""torchvision's names of FCOS."""

from collections.abc import Iterator

from vision_jax.models.detectors.fcos import FCOS
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import BATCH_NORMS, is_plain_resnet
from vision_jax.weights.torchvision_retinanet import coco_classes, resnet_fpn


def fcos(model: FCOS) -> Iterator[Row]:
    """Yields the layers of fcos.py.

    A head of 91 labels gives the 80 classes of COCO to a network of 80.

    Args:
      model: the network.
    """
    yield from resnet_fpn(model.backbone, model.pyramid)
    for theirs, ours in (("classification_head", "class"), ("regression_head", "box")):
        for i in range(model.depth):
            path = f"{ours}_tower/conv{i + 1}"
            yield Row(f"head.{theirs}.conv.{3 * i}", f"{path}/conv", "conv_bias")
            yield Row(f"head.{theirs}.conv.{3 * i + 1}", f"{path}/norm", "affine")
    for theirs, ours in (
        ("classification_head.cls_logits", "cls_logits"),
        ("regression_head.bbox_reg", "bbox_pred"),
        ("regression_head.bbox_ctrness", "centerness"),
    ):
        pick = coco_classes(model.num_classes, 1) if ours == "cls_logits" else None
        yield Row(f"head.{theirs}", ours, "conv_bias", pick=pick)


def has_fcos(model: FCOS) -> bool:
    """Returns True on a ResNet without tweaks, with group norm in the towers."""
    backbone = model.backbone
    is_theirs = is_plain_resnet(backbone) and backbone.layers.norm in BATCH_NORMS
    return is_theirs and model.layers.norm == "group"
