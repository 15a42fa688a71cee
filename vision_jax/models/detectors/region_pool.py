"""The features of regions: pooled from feature maps, and sent through a stage of a ResNet.

RoIPool is Fast R-CNN's (Girshick 2015, arXiv:1504.08083), RoIAlign Mask R-CNN's (He et al. 2017,
arXiv:1703.06870), the choice of a pyramid's level FPN's (Lin et al. 2017, arXiv:1612.03144).
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vision_jax.models.classifiers.resnet import Bottleneck, Version
from vision_jax.models.layers import Layers
from vision_jax.ops.roi_align import pyramid_level, roi_align_pyramid
from vision_jax.ops.roi_pool import roi_pool

Levels = tuple[Float[Array, "b _ _ c"], ...]  # maps from fine to coarse, strides of 2^k


@dataclasses.dataclass(frozen=True)
class RegionPool:
    """Pooling of regions into maps of one size, from a feature map or a pyramid.

    Attributes:
      kind: 'align', RoIAlign (He 2017); 'max', RoIPool (Girshick 2015).
      size: bins down and across.
      sampling_ratio: RoIAlign's samples per bin and axis; 0 takes as many as a bin has cells.
      aligned: RoIAlign without its first version's shift by half a cell.
      levels: from how many of the levels regions are pooled, the finest first; 0 means all.
      canonical_size, canonical_level: a region of this side (pixels) is pooled from the level of
        stride 2^canonical_level (Lin 2017, eq. 1).
      deterministic: the form whose gradient does not depend on the order of sums.
    """

    kind: Literal["align", "max"] = "align"
    size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    levels: int = 0
    canonical_size: float = 224.0
    canonical_level: int = 4
    deterministic: bool = False

    def __call__(
        self, levels: Levels, strides: Sequence[int], boxes: Float[Array, "b r 4"]
    ) -> Float[Array, "b r {self.size} {self.size} c"]:
        """Pools the features of regions.

        Args:
          levels: maps from fine to coarse; those that are read have strides of 2^k.
          strides: input pixels per cell of each level.
          boxes: the regions, xyxy in pixels of the network's input; they get no gradient.
        """
        count = self.levels or len(levels)
        levels, scales = levels[:count], tuple(1 / stride for stride in strides[:count])
        size = (self.size, self.size)
        level_of_box = jnp.zeros(boxes.shape[:2], jnp.int32)
        if len(levels) > 1:
            low, high = (int(math.log2(stride)) for stride in (strides[0], strides[count - 1]))
            canonical = self.canonical_size, self.canonical_level
            level_of_box = pyramid_level(boxes, low, high, *canonical)
        if self.kind == "align":
            form = self.sampling_ratio, self.aligned, self.deterministic
            return roi_align_pyramid(levels, boxes, level_of_box, size, scales, *form)
        pooled = roi_pool(levels[0], boxes, size, scales[0], self.deterministic)
        for number in range(1, len(levels)):
            is_here = (level_of_box == number)[:, :, None, None, None]
            other = roi_pool(levels[number], boxes, size, scales[number], self.deterministic)
            pooled = jnp.where(is_here, other, pooled)
        return pooled


class ResNetStage(nn.Module):
    """A ResNet's last stage as a head: conv5_x of the C4 networks (He 2015, section 4 of Ren 2015).

    Fields:
      blocks: number of bottlenecks.
      width: channels of their 3x3 convolutions.
      stride: of the first one.
      dilations: of each one's 3x3 convolution; () means none.
      stage: its number names the blocks, conv<stage>_1, …
      version: where bottlenecks stride, see `ResNet`.
      layers: how layers normalise and compute.
    """

    blocks: int = 3
    width: int = 512
    stride: int = 2
    dilations: tuple[int, ...] = ()
    stage: int = 5
    version: Version = "v1.5"
    layers: Layers = Layers(norm="frozen")

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], *, train: bool = False
    ) -> Float[Array, "n _ _ o"]:
        for i in range(self.blocks):
            x = Bottleneck(
                self.width,
                stride=self.stride if i == 0 else 1,
                dilation=self.dilations[i] if self.dilations else 1,
                version=self.version,
                layers=self.layers,
                name=f"conv{self.stage}_{i + 1}",
            )(x, train=train)
        return x
