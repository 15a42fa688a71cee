"""VGG-13 (configuration B) on ImageNet: `vgg16.py` with another depth.

expect   69.93 % top-1, with batch norm 71.59 % (torchvision, VGG13_Weights.IMAGENET1K_V1 and
         VGG13_BN_Weights.IMAGENET1K_V1)
cost     90 epochs of 1.28 M images, 11.3 G multiply-adds forward each
run      python launch.py --config experiments/vgg13.py --workdir runs/vgg13
         python launch.py --config experiments/vgg13.py:bn --workdir runs/vgg13_bn
smoke    python launch.py --config experiments/vgg13.py:smoke
"""

from experiments import vgg16


def get_config(arg=""):
    return vgg16.get_config(arg, depth=13, column="B", top1=0.69928, top1_bn=0.71590)
