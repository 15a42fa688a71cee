"""Visualizing and Understanding Convolutional Networks (Zeiler & Fergus 2013, arXiv:1311.2901).

AlexNet in one tower with a 7x7 first layer at stride 2 and a second layer at stride 2 (Figure 3).
Endpoints: conv1 to conv5, pool5. Initialisation: weights N(0, 0.01), where the paper has the
constant 0.01, and zero biases.
"""

from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.classifiers.classifier import Classifier, FcHead
from vision_jax.models.layers import NO_NORM, Layers


def ZFNet(
    num_classes: int = 1000,
    wide: bool = False,
    lrn: bool = True,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes the network of Figure 3, for 224x224 images.

    Args:
      num_classes: number of classes.
      wide: 512, 1024 and 512 channels in conv3 to conv5 (Table 2's best single model).
      lrn: local response normalisation after conv1 and conv2.
      hidden: widths of fc6 and fc7.
      dropout: probability of dropping fc6's and fc7's outputs.
      layers: see `AlexNetBackbone`.
    """
    backbone = AlexNetBackbone(
        features=(96, 256, 512, 1024, 512) if wide else (96, 256, 384, 384, 256),
        kernels=(7, 5, 3, 3, 3),
        steps=(2, 2, 1, 1, 1),
        paddings=(1, 0, 1, 1, 1),
        groups=(1,) * 5,
        biases=(0.0,) * 5,
        lrn=(lrn, lrn, False, False, False),
        pools=(1, 1, None, None, 0),
        layers=layers,
    )
    return Classifier(backbone, FcHead(num_classes, hidden, 6, dropout, layers=layers))
