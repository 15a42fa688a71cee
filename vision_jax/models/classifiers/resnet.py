"""Deep Residual Learning for Image Recognition (He et al. 2015, arXiv:1512.03385), for ImageNet.

Endpoints carry Table 1's names: conv1 (before the max pooling), conv2_x, conv3_x, conv4_x, conv5_x.
Initialisation: He normal over fan-out for convolutions, ones and zeros for norms, torch's uniform
for the last layer with a zero bias.
"""

import functools
from collections.abc import Callable
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.classifier import Classifier, PoolHead
from vision_jax.models.layers import (
    Border,
    ConvNorm,
    Endpoints,
    Images,
    Keys,
    Layers,
    StochasticDepth,
    residual_relu,
    variant,
)
from vision_jax.ops.pool import avg_pool, max_pool

# Where a bottleneck strides; see `ResNet`.
Version = Literal["v1", "v1.5"]
# depth: (blocks per stage, kind of block), Table 1.
DEPTHS = {
    18: ((2, 2, 2, 2), "basic"),
    34: ((3, 4, 6, 3), "basic"),
    50: ((3, 4, 6, 3), "bottleneck"),
    101: ((3, 4, 23, 3), "bottleneck"),
    152: ((3, 8, 36, 3), "bottleneck"),
}


class ResNet(nn.Module):
    """The residual backbone: conv1 and stages of residual blocks.

    Fields:
      stages: residual blocks in conv2_x, conv3_x, …; fewer than four stages are a shorter backbone.
      block: 'basic' (two 3x3) or 'bottleneck' (1x1, 3x3, 1x1 four times as wide).
      width: channels of conv1 and of conv2_x's 3x3 convolutions.
      version: where a bottleneck strides: 'v1' in the first 1x1 (the paper), 'v1.5' in the 3x3
        (torchvision; also called B).
      stem: 'plain', one 7x7; 'deep', three 3x3 (He et al. 2018, tweak C).
      shortcut: how a projection strides: 'conv', in its 1x1; 'pool', by 2x2 averages (tweak D).
      residual: False gives the plain net of the same depth.
      zero_gamma: start every branch's last norm at scale 0 (Goyal et al. 2017; not in the paper).
      drop_path: probability of dropping the last block's branch; that of other blocks grows
        linearly from 0 at the input (Huang et al. 2016).
      dilate: for each stage after the first, keep the resolution and dilate instead of striding.
        A stage's first block still has the dilation of the stage before it, as in torchvision.
      groups: of a bottleneck's 3x3 convolutions; ResNeXt's cardinality (Xie et al. 2017).
      group_width: channels of such a group in conv2_x, doubled from stage to stage; None is
        width / groups. Wide ResNets have twice as many (Zagoruyko & Komodakis 2016).
      border: 'zeros'; or 'reflect', the map's mirror image, which in conv1 begins with the edge
        itself (DeepMask's trunk).
      ceil_pool: pool after conv1 as Caffe does, not padded, with a part of a window at the ends.
      layers: how layers normalise and compute (torchvision's published detectors: eps 0).
    """

    stages: tuple[int, ...] = (3, 4, 6, 3)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    width: int = 64
    version: Version = "v1.5"
    stem: Literal["plain", "deep"] = "plain"
    shortcut: Literal["conv", "pool"] = "conv"
    residual: bool = True
    zero_gamma: bool = False
    drop_path: float = 0.0
    dilate: tuple[bool, ...] = (False, False, False)
    groups: int = 1
    group_width: int | None = None
    border: Literal["zeros", "reflect"] = "zeros"
    ceil_pool: bool = False
    layers: Layers = Layers()

    @nn.compact
    def __call__(self, images: Images, *, train: bool = False, keys: Keys = None) -> Endpoints:
        """Finds the endpoints (b, h / stride, w / stride, c); see `Classifier` for arguments."""
        x = self._stem(images, train)
        endpoints = {"conv1": x}
        x = max_pool(x, 3, 2, padding=0 if self.ceil_pool else 1, ceil_mode=self.ceil_pool)
        block_class = {"basic": Basic, "bottleneck": Bottleneck}[self.block]
        number, dilation = 0, 1
        for stage, blocks in enumerate(self.stages):
            dilate = stage > 0 and self.dilate[stage - 1]
            for i in range(blocks):
                strides = stage > 0 and i == 0
                number += 1
                x = block_class(
                    self.width * 2**stage,
                    stride=2 if strides and not dilate else 1,
                    dilation=dilation,
                    version=self.version,
                    shortcut=self.shortcut,
                    residual=self.residual,
                    zero_gamma=self.zero_gamma,
                    drop_path=self.drop_path * number / sum(self.stages),
                    layer=number,
                    groups=self.groups,
                    inner=self.groups * self.group_width * 2**stage if self.group_width else None,
                    border=self.border,
                    layers=self.layers,
                    name=f"conv{stage + 2}_{i + 1}",
                )(x, train=train, keys=keys)
                if strides and dilate:
                    dilation *= 2
            endpoints[f"conv{stage + 2}_x"] = x
        return endpoints

    @property
    def strides(self) -> dict[str, int]:
        """Input pixels per pixel of each endpoint."""
        strides, stride = {"conv1": 2}, 4
        for stage in range(len(self.stages)):
            if stage > 0 and not self.dilate[stage - 1]:
                stride *= 2
            strides[f"conv{stage + 2}_x"] = stride
        return strides

    def _stem(self, images, train):
        border: Border = "zeros" if self.border == "zeros" else "symmetric"
        conv = functools.partial(ConvNorm, border=border, layers=self.layers)
        if self.stem == "plain":
            return conv(self.width, 7, 2, 3, name="conv1")(images, train=train)
        x = conv(self.width // 2, 3, 2, 1, name="conv1_1")(images, train=train)
        x = conv(self.width // 2, 3, 1, 1, name="conv1_2")(x, train=train)
        return conv(self.width, 3, 1, 1, name="conv1_3")(x, train=train)


class _Block(nn.Module):
    """The part that both kinds of residual block share: their fields, the shortcut and the sum."""

    width: int
    stride: int = 1
    dilation: int = 1
    version: Version = "v1.5"
    shortcut: Literal["conv", "pool"] = "conv"
    residual: bool = True
    zero_gamma: bool = False
    drop_path: float = 0.0
    layer: int = 0
    groups: int = 1
    inner: int | None = None  # channels of a bottleneck's 3x3; None is `width`
    border: Border = "zeros"
    layers: Layers = Layers()

    @property
    def conv(self) -> Callable[..., ConvNorm]:
        """The constructor `ConvNorm` with the block's settings."""
        return functools.partial(ConvNorm, border=self.border, layers=self.layers)

    def join(self, x: Array, branch: Array, train: bool, keys: Keys) -> Array:
        """Returns relu(shortcut(x) + branch); a projection where shapes differ (option B)."""
        if not self.residual:
            return nn.relu(branch)
        branch = StochasticDepth(self.drop_path, self.layer)(branch, train=train, keys=keys)
        stride = self.stride
        if stride == 1 and x.shape[-1] == branch.shape[-1]:
            return residual_relu(x, branch)
        if self.shortcut == "pool" and stride > 1:
            x = avg_pool(x, stride, ceil_mode=True, count_include_pad=False)
            stride = 1
        x = self.conv(branch.shape[-1], 1, stride, act=None, name="shortcut")(x, train=train)
        return residual_relu(x, branch)


class Basic(_Block):
    """A block of two 3x3 convolutions (Figure 5, left)."""

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ho wo o"]:
        w, d = self.width, self.dilation
        zero = self.zero_gamma and self.residual
        y = self.conv(w, 3, self.stride, d, d, name="conv1")(x, train=train)
        y = self.conv(w, 3, 1, d, d, act=None, zero_scale=zero, name="conv2")(y, train=train)
        return self.join(x, y, train, keys)


class Bottleneck(_Block):
    """A block of 1x1, 3x3 and 1x1 with four times the channels (Figure 5, right)."""

    @nn.compact
    def __call__(
        self, x: Images, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b ho wo o"]:
        w, d = self.width, self.dilation
        zero = self.zero_gamma and self.residual
        first, second = (self.stride, 1) if self.version == "v1" else (1, self.stride)
        inner = self.inner or w
        y = self.conv(inner, 1, first, name="conv1")(x, train=train)
        y = self.conv(inner, 3, second, d, d, self.groups, name="conv2")(y, train=train)
        y = self.conv(w * 4, 1, act=None, zero_scale=zero, name="conv3")(y, train=train)
        return self.join(x, y, train, keys)


def resnet(
    depth: int,
    num_classes: int = 1000,
    version: Version = "v1.5",
    stem: Literal["plain", "deep"] = "plain",
    shortcut: Literal["conv", "pool"] = "conv",
    residual: bool = True,
    zero_gamma: bool = False,
    drop_path: float = 0.0,
    groups: int = 1,
    group_width: int | None = None,
    layers: Layers = Layers(),
) -> Classifier:
    """Makes the classifier of one of Table 1's depths (a key of `DEPTHS`); see `ResNet`."""
    stages, block = DEPTHS[depth]
    backbone = ResNet(
        stages=stages,
        block=block,
        version=version,
        stem=stem,
        shortcut=shortcut,
        residual=residual,
        zero_gamma=zero_gamma,
        drop_path=drop_path,
        groups=groups,
        group_width=group_width,
        layers=layers,
    )
    return Classifier(backbone, PoolHead(num_classes, layers=layers))


ResNet18 = variant("ResNet18", resnet, "Makes ResNet-18; see `resnet`.", depth=18)
ResNet34 = variant("ResNet34", resnet, "Makes ResNet-34; see `resnet`.", depth=34)
ResNet50 = variant("ResNet50", resnet, "Makes ResNet-50; see `resnet`.", depth=50)
ResNet101 = variant("ResNet101", resnet, "Makes ResNet-101; see `resnet`.", depth=101)
ResNet152 = variant("ResNet152", resnet, "Makes ResNet-152; see `resnet`.", depth=152)
ResNeXt50 = variant(
    "ResNeXt50",
    resnet,
    "Makes ResNeXt-50 32x4d (Xie et al. 2017, Table 1); see `resnet`.",
    depth=50,
    groups=32,
    group_width=4,
)
WideResNet50 = variant(
    "WideResNet50",
    resnet,
    "Makes torchvision's Wide ResNet-50-2, whose 3x3 convolutions are twice as wide; see `resnet`.",
    depth=50,
    group_width=128,
)
