"""Mask R-CNN on ResNet-50-C4 on COCO: conv5_x on every region, for its class and for its mask.

paper    He et al., "Mask R-CNN", 2017, figure 4, left, and table 2
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   32.2 % AP of masks on val2017, and 36.8 % of boxes (detectron2, R50-C4 1x)
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/mask_rcnn_r50_c4_coco.py
smoke    python launch.py --config experiments/mask_rcnn_r50_c4_coco.py:smoke

detectron2's published `.pkl` is measured as `faster_rcnn_r50_c4_coco.py` says. The network's input
is 1344 pixels square: see `mask_rcnn_r50_fpn_coco.py` for the memory of the masks.
"""

from experiments import faster_rcnn_r50_c4_coco as boxes
from experiments.shared import rcnn
from vision_jax import models
from vision_jax.config import arguments, node

FIELDS = ("objects", "rle")


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    model = models.MaskRCNNResNet50C4(version="v1.5")
    source = "detectron2, mask_rcnn_R_50_C4_1x"
    config = rcnn.coco(model, "eval/mask_ap", 0.322, source, fields=FIELDS)
    config.init.reinitialize = boxes.FRESH
    if given.smoke:
        mask = node(models.MaskHead, pool=None, widths=(), upsampled=8)
        return rcnn.smoke(config, boxes.tiny(mask=mask), FIELDS)
    return config
