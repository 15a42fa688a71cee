"""SSD512 on VGG-16 on COCO; see ssd300_vgg16_coco.py.

expect   28.9 % AP on val2017 (GluonCV; mmdetection has 29.8 %)
cost     400,000 steps of 32 images, 98.6 G multiply-adds forward each
run      python launch.py --config experiments/ssd512_vgg16_coco.py
smoke    python launch.py --config experiments/ssd512_vgg16_coco.py:smoke
"""

from experiments import ssd300_vgg16_coco


def get_config(arg=""):
    return ssd300_vgg16_coco.get_config(arg, size=512, ap=0.289, source="GluonCV, SSD512 on VGG-16")
