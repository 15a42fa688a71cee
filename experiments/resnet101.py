"""ResNet-101 on ImageNet: `resnet50.py` with another depth.

expect   77.37 % top-1 (torchvision, ResNet101_Weights.IMAGENET1K_V1)
run      python launch.py --config experiments/resnet101.py --workdir runs/r101
"""

from experiments import resnet50


def get_config(arg=""):
    weights = "ResNet101_Weights.IMAGENET1K_V1"
    return resnet50.get_config(arg, depth=101, top1=0.77374, weights=weights)
