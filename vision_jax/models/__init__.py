"""Networks: an image in, a dict of named arrays out. One paper, one file."""

from vision_jax.models.classifier import Classifier, PoolHead
from vision_jax.models.lenet import LeNet5
from vision_jax.models.resnet import ResNet, ResNet18, ResNet34, ResNet50, ResNet101, ResNet152
from vision_jax.models.resnet_cifar import CifarResNet, ResNetCifar

__all__ = [
    "CifarResNet",
    "Classifier",
    "LeNet5",
    "PoolHead",
    "ResNet",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNetCifar",
]
