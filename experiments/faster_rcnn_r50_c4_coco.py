"""Faster R-CNN on ResNet-50-C4 on COCO: one map of stride 16, conv5_x on every region.

paper    Ren et al., 2015; He et al., "Deep Residual Learning", 2015, appendix A
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   35.7 % AP on val2017 (detectron2, R50-C4 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/faster_rcnn_r50_c4_coco.py
smoke    python launch.py --config experiments/faster_rcnn_r50_c4_coco.py:smoke

detectron2's ResNet strides in its first 1x1 convolutions and has weights of its own; here it is
torchvision's. `published=NAME` takes a network of the zoo with its weights, such as
detectron2/faster_rcnn_R_50_C4_3x.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node
from vision_jax.weights import use_published

FRESH = "(?!backbone/|head/body/).*"  # all that no classifier has


def get_config(arg=""):
    given = arguments(arg, smoke=False, published="")
    model = models.FasterRCNNResNet50C4(version="v1.5")
    config = rcnn.coco(model, value=0.357, source="detectron2, faster_rcnn_R_50_C4_1x")
    config.init.reinitialize = FRESH
    if given.published:
        use_published(config, given.published)
    return rcnn.smoke(config, tiny()) if given.smoke else config


def tiny(**heads):
    """Makes a network whose second stage has a body of one block, with `heads`."""
    body = node(models.ResNetStage, blocks=1, width=8, stage=4)
    pool = node(models.RegionPool, size=4, levels=1)
    return node(
        models.FasterRCNN,
        backbone=rcnn.tiny_backbone(),
        pyramid=node(models.OneMap, endpoint="conv3_x"),
        rpn=rcnn.tiny_rpn((12.0, 24.0)),
        head=rcnn.tiny_head(pool=pool, body=body, hidden=()),
        **heads,
    )
