"""VGG-19 (configuration E) on ImageNet: `vgg16.py` with another depth.

expect   72.38 % top-1, with batch norm 74.22 % (torchvision, VGG19_Weights.IMAGENET1K_V1 and
         VGG19_BN_Weights.IMAGENET1K_V1)
cost     90 epochs of 1.28 M images, 19.6 G multiply-adds forward each
run      python launch.py --config experiments/vgg19.py --workdir runs/vgg19
         python launch.py --config experiments/vgg19.py:bn --workdir runs/vgg19_bn
smoke    python launch.py --config experiments/vgg19.py:smoke
"""

from experiments import vgg16


def get_config(arg=""):
    return vgg16.get_config(arg, depth=19, column="E", top1=0.72376, top1_bn=0.74218)
