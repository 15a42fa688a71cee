"""RetinaNet on ResNet-50 with a feature pyramid on COCO.

paper    Lin et al., "Focal Loss for Dense Object Detection", 2017, table 1e
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   37.4 % AP on val2017 (detectron2, R50-FPN 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/retinanet_r50_fpn_coco.py
smoke    python launch.py --config experiments/retinanet_r50_fpn_coco.py:smoke

P6 is made from C5, as in the paper; the box loss is L1. Published weights: torchvision's need
`pyramid.source=p5` and `backbone.layers.eps=0.0`, detectron2's `anchor_rounding=exact`,
`anchor_stride=level` and anchor sizes that are not rounded; see `vision_jax.weights.detectron2`.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    source = "detectron2, retinanet_R_50_FPN_1x"
    model = models.retinanet_resnet_fpn(50, source="c5")
    config = rcnn.coco(model, value=0.374, source=source, rate=0.01)
    return rcnn.smoke(config, rcnn.tiny_retinanet()) if given.smoke else config
