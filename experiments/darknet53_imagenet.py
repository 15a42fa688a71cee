"""Darknet-53 on ImageNet, the backbone that YOLO v3 starts from; see darknet19_imagenet.py.

paper    Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018, table 2, reports 77.2 % top-1
         at 256 pixels (unchecked)
expect   no number is cited
cost     160 epochs of 1.28 M images, 7.1 G multiply-adds forward each at 224 pixels
run      python launch.py --config experiments/darknet53_imagenet.py --workdir runs/darknet53
smoke    python launch.py --config experiments/darknet53_imagenet.py:smoke
"""

from experiments import darknet19_imagenet


def get_config(arg=""):
    return darknet19_imagenet.get_config(arg, network="darknet53")
