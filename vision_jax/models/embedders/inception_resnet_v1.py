"""Inception-ResNet v1 (Szegedy et al. 2016, arXiv:1602.07261) as facenet embeds faces with it.

Facenet's network (github.com/davidsandberg/facenet), which facenet-pytorch repeats, differs from
the paper's figure in the reduction of the last grid and in the residuals' scales; layers and
endpoints carry its names. It reads 160x160 pixels, (pixel - 127.5) / 128.
"""

import jax
from flax import linen as nn

from vision_jax.models.classifiers.inception_v3 import (
    LAST,
    Branch,
    Chains,
    Layer,
    convolution,
    stem_strides,
)
from vision_jax.models.embedders.embedder import Embedder, EmbeddingHead
from vision_jax.models.layers import Conv, Endpoints, Images, Keys, Layers
from vision_jax.ops.pool import max_pool

BATCH_NORM = Layers(eps=1e-3)

STEM: tuple[Layer | str, ...] = (
    Layer("conv2d_1a", 32, 3, 2),
    Layer("conv2d_2a", 32, 3),
    Layer("conv2d_2b", 64, 3, 1, 1),
    LAST,
    Layer("conv2d_3b", 80),
    Layer("conv2d_4a", 192, 3),
    Layer("conv2d_4b", 256, 3, 2),
)
BLOCK35: tuple[Branch, ...] = (
    (Layer("branch0", 32),),
    (Layer("branch1_0", 32), Layer("branch1_1", 32, 3, 1, 1)),
    (Layer("branch2_0", 32), Layer("branch2_1", 32, 3, 1, 1), Layer("branch2_2", 32, 3, 1, 1)),
)
BLOCK17: tuple[Branch, ...] = (
    (Layer("branch0", 128),),
    (
        Layer("branch1_0", 128),
        Layer("branch1_1", 128, (1, 7), 1, (0, 3)),
        Layer("branch1_2", 128, (7, 1), 1, (3, 0)),
    ),
)
BLOCK8: tuple[Branch, ...] = (
    (Layer("branch0", 192),),
    (
        Layer("branch1_0", 192),
        Layer("branch1_1", 192, (1, 3), 1, (0, 1)),
        Layer("branch1_2", 192, (3, 1), 1, (1, 0)),
    ),
)
MIXED_6A: tuple[Branch, ...] = (
    (Layer("branch0", 384, 3, 2),),
    (Layer("branch1_0", 192), Layer("branch1_1", 192, 3, 1, 1), Layer("branch1_2", 256, 3, 2)),
    (LAST,),
)
MIXED_7A: tuple[Branch, ...] = (
    (Layer("branch0_0", 256), Layer("branch0_1", 384, 3, 2)),
    (Layer("branch1_0", 256), Layer("branch1_1", 256, 3, 2)),
    (Layer("branch2_0", 256), Layer("branch2_1", 256, 3, 1, 1), Layer("branch2_2", 256, 3, 2)),
    (LAST,),
)
# Names of residual stages, their blocks, the residual's scale; a reduction is a stage without one.
STAGES: tuple[tuple[str, tuple[Branch, ...], float], ...] = (
    ("repeat_1", BLOCK35, 0.17),
    ("mixed_6a", MIXED_6A, 0.0),
    ("repeat_2", BLOCK17, 0.10),
    ("mixed_7a", MIXED_7A, 0.0),
    ("repeat_3", BLOCK8, 0.20),
)


class InceptionResNetV1Backbone(nn.Module):
    """The backbone, up to `block8`.

    Fields:
      repeats: blocks of the three residual stages.
      multiplier: thins every layer; 1 is the published network.
      layers: how layers normalise and compute.
    """

    repeats: tuple[int, int, int] = (5, 10, 5)
    multiplier: float = 1.0
    layers: Layers = BATCH_NORM

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        options = self.multiplier, self.layers
        x, endpoints = images, {}
        for step in STEM:
            if step == LAST:
                with jax.named_scope("maxpool_3a"):
                    x = max_pool(x, 3, 2)
            else:
                x = endpoints[step.name] = convolution(step, *options)(x, train=train)
        repeats = iter(self.repeats)
        for name, branches, scale in STAGES:
            if not scale:
                x = endpoints[name] = Chains(branches, *options, name=name)(x, train=train)
                continue
            for i in range(next(repeats)):
                block = ResidualChains(branches, scale, *options, name=f"{name}_{i}")
                x = endpoints[name] = block(x, train=train)
        block = ResidualChains(BLOCK8, 1.0, *options, is_last=True, name="block8")
        endpoints["block8"] = block(x, train=train)
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = stem_strides(STEM)
        for name, _, scale in STAGES:
            stride *= 1 if scale else 2
            strides[name] = stride
        return {**strides, "block8": stride}


class ResidualChains(nn.Module):
    """A block whose joined branches, through a 1x1 convolution `conv2d`, are added to its input.

    Fields:
      branches: see `Chains`.
      scale: factor of what is added.
      multiplier: see `InceptionResNetV1Backbone`.
      layers: how layers normalise and compute; `conv2d` has a bias and no norm.
      is_last: no ReLU follows.
    """

    branches: tuple[Branch, ...]
    scale: float
    multiplier: float = 1.0
    layers: Layers = BATCH_NORM
    is_last: bool = False

    @nn.compact
    def __call__(self, x: Images, *, train: bool = False) -> Images:
        y = Chains(self.branches, self.multiplier, self.layers, name="chains")(x, train=train)
        y = Conv(x.shape[-1], layers=self.layers, name="conv2d")(y)
        y = x + self.scale * y
        return y if self.is_last else nn.relu(y)


def InceptionResNetV1(
    features: int = 512,
    num_classes: int = 0,
    dropout: float = 0.6,
    repeats: tuple[int, int, int] = (5, 10, 5),
    multiplier: float = 1.0,
    layers: Layers = BATCH_NORM,
) -> Embedder:
    """Makes facenet's Inception-ResNet v1 for 160x160 images; see the backbone and the head.

    With `num_classes` identities are classified too, as its published networks were trained.
    """
    head = EmbeddingHead(features, num_classes, dropout, False, True, layers)
    return Embedder(InceptionResNetV1Backbone(repeats, multiplier, layers), head)
