"""SPP-net, the detector (He et al. 2014, arXiv:1406.4729, section 4): one map for all regions."""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.models.classifiers.spp_net import LEVELS, zf5
from vision_jax.models.detectors.detector import Sizes
from vision_jax.models.detectors.rcnn import RegionDetector
from vision_jax.models.detectors.region_classifier import RegionClassifier
from vision_jax.models.layers import NO_NORM, Images, Keys, Layers, last_map
from vision_jax.ops.resize import resize
from vision_jax.ops.roi_pool import spp_windows
from vision_jax.ops.spp import nearest_scale, pool_cells, released_window

# From our boxes to inclusive ones, of which the first pixel is 1.
_FROM_ONE = ((1, 1, 0, 0),)


class SPPNet(RegionDetector):
    """A detector that pools each region's features by a pyramid from the map of the whole image.

    Nothing below the pyramid is trained: fc6 and the layers after it are.

    Fields:
      backbone: its last endpoint is the map; of stride 16 where windows are the released code's.
      num_classes: without background.
      head: classifies the pyramid's bins.
      levels: bins down and across of each level.
      windows: how regions map to cells: 'paper' (appendix A), for backbones that pad by half of
        each kernel, or 'released', the authors' code with the offsets of their ZF-5.
      short_side: of the images that come in, pixels.
      scales: short sides at which features are computed; a region is pooled where it has about 208
        pixels a side, as in the released code; the paper says 224 (section 4.1). One scale may be
        another than `short_side`.
      deterministic: see `ops.roi_pool`.
    """

    backbone: nn.Module
    num_classes: int = 20
    head: RegionClassifier = RegionClassifier()
    levels: tuple[int, ...] = LEVELS
    windows: Literal["paper", "released"] = "paper"
    short_side: int = 688
    scales: tuple[int, ...] = (688,)
    deterministic: bool = False

    def pooled(
        self,
        images: Images,
        sizes: Sizes,
        boxes: Float[Array, "b r 4"],
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Float[Array, "b r d"]:
        """Finds the pyramids of regions, each in a row."""
        inclusive = boxes - jnp.array([[[0, 0, 1, 1]]], boxes.dtype)
        scale_of_box = nearest_scale(inclusive, self.short_side, self.scales)
        pooled = None
        for number, scale in enumerate(self.scales):
            here = self._at_scale(images, boxes, scale / self.short_side)
            is_here = (scale_of_box == number)[..., None]
            pooled = here if pooled is None else jnp.where(is_here, here, pooled)
        return pooled

    def _at_scale(
        self, images: Images, boxes: Float[Array, "b r 4"], factor: float
    ) -> Float[Array, "b r d"]:
        if factor != 1:
            height, width = (round(side * factor) for side in images.shape[1:3])
            images, boxes = resize(images, (height, width), "bilinear"), boxes * factor
        features = lax.stop_gradient(last_map(self.backbone(images)))
        stride = [*self.backbone.strides.values()][-1]
        if self.windows == "paper":
            bins = spp_windows(features, boxes, self.levels, stride, self.deterministic)
        else:
            from_one = boxes + jnp.array([_FROM_ONE], boxes.dtype)
            cells = released_window(from_one, features.shape[1:3], stride)
            cells = cells - jnp.array([_FROM_ONE], cells.dtype)
            bins = pool_cells(features, cells, self.levels, self.deterministic)
        return bins.reshape(*boxes.shape[:2], -1)


def SPPNetDetectorZF5(
    num_classes: int = 20, scales: tuple[int, ...] = (688,), layers: Layers = NO_NORM
) -> SPPNet:
    """Makes the paper's, on ZF-5; with five scales (480, 576, 688, 864, 1200) its best."""
    head = RegionClassifier(min_negative_iou=0.1, batch_size_per_image=64, layers=layers)
    return SPPNet(zf5(layers), num_classes, head, scales=scales)
