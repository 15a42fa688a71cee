"""Spatial Pyramid Pooling in Deep Convolutional Networks (He et al. 2014, arXiv:1406.4729).

The last map is pooled into bins of which there are as many whatever its size, so that images of any
size can be classified: each size is a program of its own, with the same parameters. SPP-net the
detector is `models.SPPNet`.
"""

from jaxtyping import Array

from vision_jax.models.classifiers.alexnet import AlexNetBackbone
from vision_jax.models.classifiers.classifier import Classifier, FcHead
from vision_jax.models.layers import NO_NORM, Endpoints, Keys, Layers, last_map
from vision_jax.ops.roi_pool import spatial_pyramid_pool

LEVELS = (6, 3, 2, 1)  # 50 bins


class SPPHead(FcHead):
    """FcHead on a pyramid of the backbone's last map, after its ReLU.

    Fields: those of `FcHead`, of which `grid` stays 0, and
      levels: bins down and across of each level (section 2.3); (1,) is global max pooling.
    """

    grid: int = 0
    levels: tuple[int, ...] = LEVELS

    def __call__(
        self, endpoints: Endpoints, *, train: bool = False, keys: Keys = None
    ) -> dict[str, Array]:
        """Pools and classifies the backbone's last endpoint."""
        pyramid = spatial_pyramid_pool(last_map(endpoints), self.levels)
        return super().__call__({"pyramid": pyramid[:, None]}, train=train, keys=keys)


def zf5(layers: Layers = NO_NORM) -> AlexNetBackbone:
    """Makes the backbone ZF-5 (table 1), up to conv5, with stride 16.

    Every layer pads by half of its kernel, so that cell i has its middle at pixel 16 i: what the
    paper's mapping of windows asks for.
    """
    return AlexNetBackbone(
        kernels=(7, 5, 3, 3, 3),
        steps=(2, 2, 1, 1, 1),
        paddings=(3, 2, 1, 1, 1),
        groups=(1,) * 5,
        biases=(0.0,) * 5,
        pools=(1, 1, None, None, None),
        layers=layers,
    )


def SPPNetZF5(
    num_classes: int = 1000,
    levels: tuple[int, ...] = LEVELS,
    hidden: tuple[int, ...] = (4096, 4096),
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes the classifier on ZF-5.

    Args:
      num_classes: number of classes.
      levels: of the pyramid.
      hidden: widths of fc6 and fc7.
      dropout: probability of dropping their outputs.
      layers: see `AlexNetBackbone`.
    """
    head = SPPHead(num_classes, hidden, dropout=dropout, levels=levels, layers=layers)
    return Classifier(zf5(layers), head)
