"""Mask R-CNN on ResNet-50 with a feature pyramid on COCO.

paper    He et al., "Mask R-CNN", 2017, table 2
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   35.2 % AP of masks on val2017, and 38.6 % of boxes (detectron2, R50-FPN 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/mask_rcnn_r50_fpn_coco.py
smoke    python launch.py --config experiments/mask_rcnn_r50_fpn_coco.py:smoke

A batch holds the masks of 100 objects per image at the network's resolution; --config.train.
max_boxes=50 halves that. `published=NAME` takes a network of the zoo with its weights, such as
torchvision/maskrcnn_resnet50_fpn_v2_coco-73cbd019.
"""

from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node

FIELDS = ("objects", "rle")


def get_config(arg=""):
    given = arguments(arg, smoke=False, published="")
    source = "detectron2, mask_rcnn_R_50_FPN_1x"
    model = rcnn.resnet_fpn(mask=models.MaskHead)
    published = given.published
    config = rcnn.coco(model, "eval/mask_ap", 0.352, source, fields=FIELDS, published=published)
    if given.smoke:
        mask = node(models.MaskHead, pool=rcnn.tiny_pool(4), widths=(8,))
        return rcnn.smoke(config, rcnn.tiny_fpn(mask=mask), FIELDS)
    return config
