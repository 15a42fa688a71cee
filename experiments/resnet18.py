"""ResNet-18 on ImageNet: `resnet50.py` with another depth.

expect   69.76 % top-1 (torchvision, ResNet18_Weights.IMAGENET1K_V1)
run      python launch.py --config experiments/resnet18.py --workdir runs/r18
"""

from experiments import resnet50


def get_config(arg=""):
    weights = "ResNet18_Weights.IMAGENET1K_V1"
    return resnet50.get_config(arg, depth=18, top1=0.69758, weights=weights)
