"""Very Deep Convolutional Networks (Simonyan & Zisserman 2014, arXiv:1409.1556).

Endpoints carry the released models' names: pool1 to pool5, and those of conv1_1 to conv5_4 (after
their ReLU) that `keep` names. Initialisation: He normal over fan-out with zero biases (the paper
started deep nets from trained shallow ones), N(0, 0.01) for the fully connected layers.
"""

import functools
from typing import Literal

import jax
from flax import linen as nn

from vision_jax.models.classifiers.classifier import Classifier, FcHead
from vision_jax.models.layers import NO_NORM, ConvNorm, Endpoints, Images, Keys, Layers, variant
from vision_jax.ops.normalize import local_response_norm
from vision_jax.ops.pool import avg_pool, max_pool

# Table 1: kernel sizes of the convolutions in each of the five stages.
CONFIGURATIONS = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(nn.Module):
    """VGG's backbone: five stages of convolutions, each of which ends in 2x2 pooling.

    Fields:
      kernels: kernel sizes of each stage's convolutions, see `CONFIGURATIONS`.
      width: channels of the first stage; they double up to the fourth.
      lrn: local response normalisation follows conv1_1 (configuration A-LRN).
      pool: 'max', or 'avg' as in neural style transfer.
      keep: further endpoints, such as ('conv4_3',).
      ceil_mode: pooling keeps a last window that reaches over the border, as Caffe does.
      layers: how layers normalise (the paper: not at all) and compute; convolutions always have a
        bias.
    """

    kernels: tuple[tuple[int, ...], ...] = CONFIGURATIONS["D"]
    width: int = 64
    lrn: bool = False
    pool: Literal["max", "avg"] = "max"
    keep: tuple[str, ...] = ()
    ceil_mode: bool = False
    layers: Layers = NO_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        pool = {"max": max_pool, "avg": avg_pool}[self.pool]
        pool = functools.partial(pool, ceil_mode=self.ceil_mode)
        x, endpoints = images, {}
        for stage, kernels in enumerate(self.kernels, start=1):
            for i, kernel in enumerate(kernels, start=1):
                name = f"conv{stage}_{i}"
                width = self.width * 2 ** min(stage - 1, 3)
                size = {"kernel": kernel, "padding": kernel // 2}
                conv = ConvNorm(width, **size, use_bias=True, layers=self.layers, name=name)
                x = conv(x, train=train)
                if name in self.keep:
                    endpoints[name] = x
                if self.lrn and name == "conv1_1":
                    x = local_response_norm(x)
            with jax.named_scope(f"pool{stage}"):
                x = pool(x, 2)
            endpoints[f"pool{stage}"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides = {}
        for stage, kernels in enumerate(self.kernels, start=1):
            names = [f"conv{stage}_{i}" for i in range(1, len(kernels) + 1)]
            strides |= {name: 2 ** (stage - 1) for name in names if name in self.keep}
            strides[f"pool{stage}"] = 2**stage
        return strides


def vgg(
    configuration: Literal["A", "A-LRN", "B", "C", "D", "E"] = "D",
    num_classes: int = 1000,
    width: int = 64,
    hidden: tuple[int, ...] = (4096, 4096),
    grid: int = 7,
    dropout: float = 0.5,
    layers: Layers = NO_NORM,
) -> Classifier:
    """Makes the classifier of one of Table 1's columns; see `VGG` and `FcHead`.

    `layers=Layers(norm="sync")` is the form with batch normalisation.
    """
    letter, _, lrn = configuration.partition("-")
    backbone = VGG(CONFIGURATIONS[letter], width, bool(lrn), layers=layers)
    return Classifier(backbone, FcHead(num_classes, hidden, grid, dropout, layers=layers))


VGG11 = variant("VGG11", vgg, "Makes configuration A; see `vgg`.", configuration="A")
VGG13 = variant("VGG13", vgg, "Makes configuration B; see `vgg`.", configuration="B")
VGG16 = variant("VGG16", vgg, "Makes configuration D; see `vgg`.", configuration="D")
VGG19 = variant("VGG19", vgg, "Makes configuration E; see `vgg`.", configuration="E")
