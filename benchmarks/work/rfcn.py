"""R-FCN on ResNet-50 as `rfcn_torch` puts it together of torchvision's parts.

torchvision has its pooling but not the network. All settings are those of torchvision's Faster
R-CNN on one map, but that 300 proposals are scored, as the paper does. conv5_x is dilated from its
second block on, as torchvision dilates it.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

BINS, PROPOSALS, WIDTH = 7, 300, 1024
SIZES = ((32, 64, 128, 256, 512),)  # of the anchors


def network(num_classes: int, layers: Any) -> Any:
    """Makes the network; `layers` of all its parts."""
    from vision_jax import models

    model = models.RFCNResNet50(num_classes, version="v1.5", layers=layers)
    rpn = models.RPN(
        anchor_sizes=tuple(tuple(float(size) for size in level) for level in SIZES),
        train_post_nms_top_n=PROPOSALS,
        post_nms_top_n=PROPOSALS,
        layers=layers,
    )
    body = model.score_maps.body.clone(dilations=(1, 2, 2))
    maps = model.score_maps.clone(body=body, width=WIDTH, bins=BINS, rule="align")
    head = models.BoxHead(class_specific=False, layers=layers)
    return model.clone(rpn=rpn, head=head, score_maps=maps)


def table() -> Any:
    """The names of `rfcn_torch`."""
    from vision_jax.weights.engine import Row, Table
    from vision_jax.weights.shared_rows import conv_norm
    from vision_jax.weights.torchvision import residual_stages

    def rows(model: Any) -> Iterator[Row]:
        yield from conv_norm("backbone.conv1", "backbone.bn1", "backbone/conv1")
        stages = (*model.backbone.stages, model.score_maps.body.blocks)
        for row in residual_stages(model.backbone.clone(stages=stages)):
            name, path = f"backbone.{row.reference}", row.path
            if row.reference.startswith("layer4."):
                name = row.reference.replace("layer4", "roi_heads.box_roi_pool.body")
                path = path.replace("backbone/", "score_maps/body/", 1)
            yield dataclasses.replace(row, reference=name, path=path)
        for name in ("reduce", "cls_score", "bbox_pred"):
            yield Row(f"roi_heads.box_roi_pool.{name}", f"score_maps/{name}", "conv_bias")
        names = {"conv.0.0": "conv", "cls_logits": "cls_logits", "bbox_pred": "bbox_pred"}
        for theirs, ours in names.items():
            yield Row(f"rpn.head.{theirs}", f"rpn/{ours}", "conv_bias")

    return Table("benchmarks", rows)
