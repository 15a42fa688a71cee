"""Bag of Tricks for Image Classification (He et al. 2018, arXiv:1812.01187): the model tweaks.

Section 4. ResNet-B strides in the 3x3, which is `ResNet`'s version 'v1.5'; C replaces the 7x7 stem
by three 3x3; D is both, and its strided shortcuts average before their 1x1.
"""

from vision_jax.models.classifiers.resnet import resnet
from vision_jax.models.layers import variant

_B = {"version": "v1.5", "stem": "plain", "shortcut": "conv"}
_C = _B | {"stem": "deep"}
_D = _C | {"shortcut": "pool"}

resnet_d = variant("resnet_d", resnet, "Makes the D form of any depth; see `resnet`.", **_D)
ResNet50B = variant("ResNet50B", resnet, "Makes ResNet-50 with tweak B.", depth=50, **_B)
ResNet50C = variant("ResNet50C", resnet, "Makes ResNet-50 with tweaks B and C.", depth=50, **_C)
ResNet50D = variant("ResNet50D", resnet, "Makes ResNet-50-D: all three tweaks.", depth=50, **_D)
