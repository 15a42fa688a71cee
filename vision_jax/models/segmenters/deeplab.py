"""Segmenters on dilated backbones: torchvision's FCN, and DeepLabv3 (Chen et al. 2017, 1706.05587).

The backbone's last stages dilate instead of striding, so that its last map has stride 8; a head scores
it, and the scores are interpolated to the image's size. An auxiliary head scores the stage before.
Initialisation as of `ResNet`; the scores' layers as torch's, with zero biases.
"""

import functools

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.models.classifiers.classifier import HEAD_LAYER, last_map
from vision_jax.models.classifiers.resnet import ResNet
from vision_jax.models.layers.blocks import Conv, ConvNorm, Dropout, Norm, torch_linear
from vision_jax.ops.pool import global_avg_pool
from vision_jax.ops.resize import resize

RATES = (12, 24, 36)  # of the pyramid's 3x3 convolutions at stride 8


class ScoreHead(nn.Module):
    """A 3x3 convolution to a quarter of the channels, dropout, scores (torchvision's `FCNHead`)."""

    num_classes: int = 21
    dropout: float = 0.1
    layer: int = HEAD_LAYER
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b h w k"]:
        width = max(1, x.shape[-1] // 4)
        conv = ConvNorm(width, 3, 1, 1, norm=self.norm, dtype=self.dtype, name="conv")
        x = Dropout(self.dropout, self.layer)(conv(x, train), train, keys)
        return Conv(self.num_classes, dtype=self.dtype, kernel_init=torch_linear, name="score")(x)


class PyramidHead(nn.Module):
    """Atrous spatial pyramid pooling, one more 3x3 convolution, scores (section 3.3).

    Fields:
      num_classes: background included.
      rates: dilations of the pyramid's 3x3 convolutions, beside a 1x1 and the map's average.
      width: channels of each branch and of all that follows.
      dropout: probability, of the joined pyramid's outputs.
      layer: number of the dropout layer.
      norm, dtype: as of `ResNet`.
    """

    num_classes: int = 21
    rates: tuple[int, ...] = RATES
    width: int = 256
    dropout: float = 0.5
    layer: int = HEAD_LAYER
    norm: Norm = "sync"
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> Float[Array, "b h w k"]:
        conv = functools.partial(ConvNorm, self.width, norm=self.norm, dtype=self.dtype)
        found = [conv(name="conv1x1")(x, train)]
        for rate in self.rates:
            branch = conv(3, 1, rate, rate, name=f"rate{rate}")
            found.append(branch(x, train))
        mean = conv(name="image")(global_avg_pool(x)[:, None, None, :], train)
        found.append(jnp.broadcast_to(mean, found[0].shape))
        x = conv(name="project")(jnp.concatenate(found, -1), train)
        x = Dropout(self.dropout, self.layer)(x, train, keys)
        x = conv(3, 1, 1, name="conv")(x, train)
        return Conv(self.num_classes, dtype=self.dtype, kernel_init=torch_linear, name="score")(x)


class Dilated(nn.Module):
    """`backbone`, `head`, and perhaps `aux`, on images of any size.

    Returns one dict: the backbone's endpoints, `scores` (b, h, w, k) of the last map, and at the
    image's size `logits` (b, h, w, k) and, with `aux`, `aux_logits`, a tuple of one.

    Fields:
      backbone: any; its last map is scored.
      head, aux: a `ScoreHead` or `PyramidHead`; None for no auxiliary head.
      aux_reads: the endpoint that `aux` scores.
    """

    backbone: nn.Module
    head: nn.Module
    aux: nn.Module | None = None
    aux_reads: str = "conv4_x"

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array | tuple[Array, ...]]:
        """See the class, and `Classifier` for the arguments."""
        endpoints, size = self.backbone(image, train, keys), image.shape[1:3]
        scores = self.head(last_map(endpoints), train, keys)
        outputs = {**endpoints, "scores": scores, "logits": resize(scores, size)}
        if self.aux is None:
            return outputs
        aux = self.aux(endpoints[self.aux_reads], train, keys)
        return {**outputs, "aux_logits": (resize(aux, size),)}

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        return self.backbone.strides


def FCNResNet50(
    num_classes: int = 21, aux: bool = True, norm: Norm = "sync", dtype: str = "float32"
) -> Dilated:
    """torchvision's fcn_resnet50; the loss is main + 0.5 aux."""
    return _on_resnet50(ScoreHead(num_classes, norm=norm, dtype=dtype), aux, norm, dtype)


def DeepLabV3ResNet50(
    num_classes: int = 21, aux: bool = True, norm: Norm = "sync", dtype: str = "float32"
) -> Dilated:
    """torchvision's deeplabv3_resnet50; the loss is main + 0.5 aux."""
    return _on_resnet50(PyramidHead(num_classes, norm=norm, dtype=dtype), aux, norm, dtype)


def _on_resnet50(head, aux, norm, dtype):
    backbone = ResNet(dilate=(False, True, True), norm=norm, dtype=dtype)
    side = None
    if aux:
        side = ScoreHead(head.num_classes, layer=HEAD_LAYER + 1, norm=norm, dtype=dtype)
    return Dilated(backbone, head, side)
