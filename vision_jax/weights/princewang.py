"""The names of github.com/princewang1994/R-FCN.pytorch: R-FCN on ResNets.

Its checkpoints have the 1x1 convolution behind conv5_x twice, alone and as the second layer of
`RCNN_conv_new`. Its convolutions have no biases but in the RPN.
"""

import dataclasses
from collections.abc import Iterator

from vision_jax.models.detectors.region_pool import ResNetStage
from vision_jax.models.detectors.rfcn import RFCN
from vision_jax.weights.engine import Row
from vision_jax.weights.shared_rows import BATCH_NORMS, conv_norm, is_plain_resnet
from vision_jax.weights.torchvision import residual_stages


def rfcn(model: RFCN) -> Iterator[Row]:
    """Yields the layers of rfcn.py and resnet_atrous.py with boxes that all classes share."""
    yield from conv_norm("RCNN_base.0", "RCNN_base.1", "backbone/conv1")
    body = model.score_maps.body
    assert isinstance(body, ResNetStage), "see has_rfcn"
    stages = (*model.backbone.stages, body.blocks)
    for row in residual_stages(model.backbone.clone(stages=stages)):
        layer, _, rest = row.reference.partition(".")
        number, path = int(layer.removeprefix("layer")), row.path
        theirs = f"RCNN_base.{number + 3}"
        if number == len(stages):
            theirs, path = "RCNN_conv_new.0", path.replace("backbone/", "score_maps/body/", 1)
        yield dataclasses.replace(row, reference=f"{theirs}.{rest}", path=path)
    for name in ("RCNN_conv_1x1", "RCNN_conv_new.1"):
        yield Row(name, "score_maps/reduce", "conv")
    yield Row("RCNN_cls_base", "score_maps/cls_score", "conv")
    yield Row("RCNN_bbox_base", "score_maps/bbox_pred", "conv")
    names = {"RPN_Conv": "conv", "RPN_cls_score": "cls_logits", "RPN_bbox_pred": "bbox_pred"}
    for theirs, ours in names.items():
        yield Row(f"RCNN_rpn.{theirs}", f"rpn/{ours}", "conv_bias")


def has_rfcn(model: RFCN) -> bool:
    """Returns True for bottlenecks with batch norms, score maps without biases, a softmax RPN."""
    maps, rpn = model.score_maps, model.rpn
    if not isinstance(maps.body, ResNetStage) or model.rpn_backbone is not None:
        return False
    if not is_plain_resnet(model.backbone):
        return False
    has_norms = {model.backbone.layers.norm, maps.body.layers.norm} <= {*BATCH_NORMS}
    has_form = rpn.outputs_per_anchor == 2 and rpn.depth == 1 and not maps.use_bias
    return has_norms and has_form and model.backbone.block == "bottleneck"
