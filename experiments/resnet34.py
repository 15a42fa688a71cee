"""ResNet-34 on ImageNet: `resnet50.py` with another depth.

expect   73.31 % top-1 (torchvision, ResNet34_Weights.IMAGENET1K_V1)
run      python launch.py --config experiments/resnet34.py --workdir runs/r34
"""

from experiments import resnet50


def get_config(arg=""):
    weights = "ResNet34_Weights.IMAGENET1K_V1"
    return resnet50.get_config(arg, depth=34, top1=0.73314, weights=weights)
