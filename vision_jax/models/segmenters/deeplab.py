"""Segmenters on dilated backbones: torchvision's FCN, and DeepLabv3 (Chen et al. 2017, 1706.05587).

The backbone's last stages dilate instead of striding, so that its last map has stride 8; a head
scores it, and the scores are interpolated to the image's size. An auxiliary head scores the stage
before. Initialisation as of `ResNet`; the scores' layers as torch's, with zero biases.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.layers import (
    HEAD_LAYER,
    Conv,
    ConvNorm,
    Dropout,
    Endpoints,
    Images,
    Keys,
    Layers,
    last_map,
    torch_linear,
)
from vision_jax.ops.pool import global_avg_pool
from vision_jax.ops.resize import resize

RATES = (12, 24, 36)  # of the pyramid's 3x3 convolutions at stride 8


class ScoreHead(nn.Module):
    """A 3x3 convolution to a quarter of the channels, dropout, scores (torchvision's `FCNHead`)."""

    num_classes: int = 21
    dropout: float = 0.1
    layer: int = HEAD_LAYER
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b h w k"]:
        """Scores every pixel of a map."""
        width = max(1, x.shape[-1] // 4)
        x = ConvNorm(width, 3, 1, 1, layers=self.layers, name="conv")(x, train=train)
        x = Dropout(self.dropout, self.layer)(x, train=train, keys=keys)
        score = Conv(self.num_classes, kernel_init=torch_linear, layers=self.layers, name="score")
        return score(x)


class PyramidHead(nn.Module):
    """Atrous spatial pyramid pooling, one more 3x3 convolution, scores (section 3.3).

    Fields:
      num_classes: background included.
      rates: dilations of the pyramid's 3x3 convolutions, beside a 1x1 and the map's average.
      width: channels of each branch and of all that follows.
      dropout: probability, of the joined pyramid's outputs.
      layer: number of the dropout layer.
      layers: how layers normalise and compute.
    """

    num_classes: int = 21
    rates: tuple[int, ...] = RATES
    width: int = 256
    dropout: float = 0.5
    layer: int = HEAD_LAYER
    layers: Layers = Layers()

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b h w k"]:
        """Scores every pixel of a map."""
        conv = functools.partial(ConvNorm, self.width, layers=self.layers)
        branches = [conv(name="conv1x1")(x, train=train)]
        for rate in self.rates:
            branches.append(conv(3, 1, rate, rate, name=f"rate{rate}")(x, train=train))
        average = global_avg_pool(x)[:, None, None, :]
        average = conv(name="image")(average, train=train)
        branches.append(jnp.broadcast_to(average, branches[0].shape))
        x = conv(name="project")(jnp.concatenate(branches, -1), train=train)
        x = Dropout(self.dropout, self.layer)(x, train=train, keys=keys)
        x = conv(3, 1, 1, name="conv")(x, train=train)
        score = Conv(self.num_classes, kernel_init=torch_linear, layers=self.layers, name="score")
        return score(x)


class Dilated(nn.Module):
    """`backbone`, `head`, and perhaps `aux`, on images of any size.

    Returns one dict: the backbone's endpoints, `scores` (b, h, w, k) of the last map, and at the
    image's size `logits` (b, h, w, k) and, with `aux`, `aux_logits`, a tuple of one.

    Fields:
      backbone: any; its last map is scored.
      head, aux: a `ScoreHead` or `PyramidHead`; None for no auxiliary head.
      aux_endpoint: the endpoint that `aux` scores.
    """

    backbone: nn.Module
    head: nn.Module
    aux: nn.Module | None = None
    aux_endpoint: str = "conv4_x"

    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Scores every pixel; see `Classifier` for the arguments."""
        endpoints, size = self.backbone(images, train=train, keys=keys), images.shape[1:3]
        scores = self.head(last_map(endpoints), train=train, keys=keys)
        outputs = {**endpoints, "scores": scores, "logits": resize(scores, size)}
        if self.aux is None:
            return outputs
        aux_scores = self.aux(endpoints[self.aux_endpoint], train=train, keys=keys)
        return {**outputs, "aux_logits": (resize(aux_scores, size),)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides


def FCNResNet50(num_classes: int = 21, aux: bool = True, layers: Layers = Layers()) -> Dilated:
    """Makes torchvision's fcn_resnet50, whose loss is main + 0.5 aux."""
    return _on_resnet50(ScoreHead(num_classes, layers=layers), aux)


def DeepLabV3ResNet50(
    num_classes: int = 21, aux: bool = True, layers: Layers = Layers()
) -> Dilated:
    """Makes torchvision's deeplabv3_resnet50, whose loss is main + 0.5 aux."""
    return _on_resnet50(PyramidHead(num_classes, layers=layers), aux)


def _on_resnet50(head: ScoreHead | PyramidHead, aux: bool) -> Dilated:
    backbone = ResNet(dilate=(False, True, True), layers=head.layers)
    if not aux:
        return Dilated(backbone, head)
    aux_head = ScoreHead(head.num_classes, layer=HEAD_LAYER + 1, layers=head.layers)
    return Dilated(backbone, head, aux_head)
