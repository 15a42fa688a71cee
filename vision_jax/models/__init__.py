"""Networks: an image in, a dict of named arrays out. One paper, one file."""

from vision_jax.models.alexnet import AlexNet, AlexNet2014, AlexNetTrunk
from vision_jax.models.bag_of_tricks import ResNet50B, ResNet50C, ResNet50D, resnet_d
from vision_jax.models.classifier import Classifier, FcHead, PoolHead
from vision_jax.models.fpn import FPN
from vision_jax.models.googlenet import GoogLeNet, GoogLeNet2014
from vision_jax.models.inception_v3 import InceptionV3
from vision_jax.models.lenet import LeNet5
from vision_jax.models.mobilenet_v1 import MobileNetV1
from vision_jax.models.mobilenet_v2 import MobileNetV2
from vision_jax.models.resnet import (
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    ResNet152,
    resnet,
)
from vision_jax.models.resnet_cifar import CifarResNet, ResNetCifar
from vision_jax.models.resnet_v2 import ResNet50V2, ResNetV2, resnet_v2
from vision_jax.models.vgg import VGG, VGG11, VGG13, VGG16, VGG19, vgg
from vision_jax.models.zfnet import ZFNet

__all__ = [
    "FPN",
    "VGG",
    "VGG11",
    "VGG13",
    "VGG16",
    "VGG19",
    "AlexNet",
    "AlexNet2014",
    "AlexNetTrunk",
    "CifarResNet",
    "Classifier",
    "FcHead",
    "GoogLeNet",
    "GoogLeNet2014",
    "InceptionV3",
    "LeNet5",
    "MobileNetV1",
    "MobileNetV2",
    "PoolHead",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet50B",
    "ResNet50C",
    "ResNet50D",
    "ResNet50V2",
    "ResNet101",
    "ResNet152",
    "ResNetCifar",
    "ResNetV2",
    "ZFNet",
    "resnet",
    "resnet_d",
    "resnet_v2",
    "vgg",
]
