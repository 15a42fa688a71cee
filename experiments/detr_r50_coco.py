"""DETR on ResNet-50 on COCO.

paper    Carion et al., "End-to-End Object Detection with Transformers", 2020, table 1
needs    ResNet-50 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   42.0 % AP on val2017 after 500 epochs (table 1), with `epochs=300` 40.6 (table 2)
cost     500 epochs of 118,287 images of up to 800×1333 pixels, 64 in a step; the authors took six
         days for them on 16 V100, three for 300
run      python launch.py --config experiments/detr_r50_coco.py
         python launch.py --config experiments/detr_r50_coco.py:epochs=300
smoke    python launch.py --config experiments/detr_r50_coco.py:smoke

Assignment, auxiliary losses and all else is one program. The backbone learns a tenth as fast, its
norms and first two stages not at all. Published weights: --config.init.weights=
facebookresearch/detr-r50-e632da11, and --mode evaluate.
"""

from experiments.shared import detr
from vision_jax import models
from vision_jax.config import UserError, arguments

AP = {300: (0.406, "table 2"), 500: (0.420, "table 1")}


def get_config(arg=""):
    given = arguments(arg, epochs=500, smoke=False)
    if given.epochs not in AP:
        raise UserError(f"epochs={given.epochs}: the paper trains for 300 or 500")
    value, table = AP[given.epochs]
    source = f"Carion et al. 2020, {table}"
    config = detr.coco(models.DETRResNet50(), given.epochs, value, source)
    return detr.smoke(config) if given.smoke else config
