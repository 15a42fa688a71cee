"""DETR on a dilated ResNet-50 (DC5) on COCO; see detr_r50_coco.py.

paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, table 1
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   43.3 % AP on val2017
cost     500 epochs; the encoder reads four times as many places, which doubles the operations
run      python launch.py --config experiments/detr_dc5_r50_coco.py
smoke    python launch.py --config experiments/detr_dc5_r50_coco.py:smoke
"""

from experiments.shared import detr
from vision_jax import models
from vision_jax.config import arguments


def get_config(arg=""):
    given = arguments(arg, smoke=False)
    config = detr.coco(models.DETRResNet50DC5(), 500, 0.433, "Carion et al. 2020, table 1")
    return detr.smoke(config) if given.smoke else config
