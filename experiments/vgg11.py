"""VGG-11 (configuration A) on ImageNet: `vgg16.py` with another depth.

expect   69.02 % top-1, with batch norm 70.37 % (torchvision, VGG11_Weights.IMAGENET1K_V1 and
         VGG11_BN_Weights.IMAGENET1K_V1)
cost     90 epochs of 1.28 M images, 7.6 G multiply-adds forward each
run      python launch.py --config experiments/vgg11.py --workdir runs/vgg11
         python launch.py --config experiments/vgg11.py:bn --workdir runs/vgg11_bn
smoke    python launch.py --config experiments/vgg11.py:smoke
"""

from experiments import vgg16


def get_config(arg=""):
    return vgg16.get_config(arg, depth=11, column="A", top1=0.69020, top1_bn=0.70370)
