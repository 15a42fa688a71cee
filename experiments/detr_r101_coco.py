"""DETR on ResNet-101 on COCO; see detr_r50_coco.py.

paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, table 1
needs    ResNet-101 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   43.5 % AP on val2017
cost     500 epochs
run      python launch.py --config experiments/detr_r101_coco.py
smoke    python launch.py --config experiments/detr_r101_coco.py:smoke
"""

from experiments.shared import detr, rcnn
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = detr.coco(models.DETRResNet101(), 500, 0.435, "Carion et al. 2020, table 1")
    config.init.weights = rcnn.RESNET101
    return detr.smoke(config) if given.smoke else config
