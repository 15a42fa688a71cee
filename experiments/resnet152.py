"""ResNet-152 on ImageNet: `resnet50.py` with another depth.

expect   78.31 % top-1 (torchvision, ResNet152_Weights.IMAGENET1K_V1)
run      python launch.py --config experiments/resnet152.py --workdir runs/r152
"""

from experiments import resnet50


def get_config(arg=""):
    weights = "ResNet152_Weights.IMAGENET1K_V1"
    return resnet50.get_config(arg, depth=152, top1=0.78312, weights=weights)
