"""RetinaNet on ResNet-50 with a feature pyramid on COCO.

paper    Lin et al., "Focal Loss for Dense Object Detection", 2017, table 1e
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   37.4 % AP on val2017 (detectron2, R50-FPN 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/retinanet_r50_fpn_coco.py
smoke    python launch.py --config experiments/retinanet_r50_fpn_coco.py:smoke

P6 is made from C5, as in the paper; the box loss is L1. `published=NAME` takes a network of the zoo
with its weights, such as torchvision/retinanet_resnet50_fpn_v2_coco-5905b1c5 or
detectron2/retinanet_R_50_FPN_3x.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, smoke=False, published="")
    source = "detectron2, retinanet_R_50_FPN_1x"
    model = models.retinanet_resnet_fpn(50, source="c5")
    published = given.published
    config = rcnn.coco(model, value=0.374, source=source, rate=0.01, published=published)
    return rcnn.smoke(config, rcnn.tiny_retinanet()) if given.smoke else config
