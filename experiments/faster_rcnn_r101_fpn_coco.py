"""Faster R-CNN on ResNet-101 with a feature pyramid on COCO; see faster_rcnn_r50_fpn_coco.py.

needs    ResNet-101 of ImageNet, which is fetched from torchvision, or
         --config.init.weights=FILE
expect   no number is cited
cost     90,000 steps of 16 images of up to 800×1333 pixels
run      python launch.py --config experiments/faster_rcnn_r101_fpn_coco.py
smoke    python launch.py --config experiments/faster_rcnn_r101_fpn_coco.py:smoke
"""

from experiments import faster_rcnn_r50_fpn_coco
from experiments.shared import rcnn


def get_config(arg=""):
    config = faster_rcnn_r50_fpn_coco.get_config(arg, 101, None, "")
    if config.init.weights == rcnn.RESNET50:  # the smoke starts fresh
        config.init.weights = rcnn.RESNET101
    return config
