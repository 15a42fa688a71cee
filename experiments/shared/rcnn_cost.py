"""The detectors whose speed `sweeps/rcnn_speed.py` compares, and the metric that takes it."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax import models
from vision_jax.evaluation import SummedMetric
from vision_jax.ops.roi_crop import warp_crops
from vision_jax.structs import Targets

KINDS = ("rcnn", "spp", "fast", "faster")
CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Cost(SummedMetric):
    """A metric of cost, not of worth: it times the network itself.

    Result: `seconds` per image, the median of `passes`, compilation left out.

    Attributes:
      kind: 'rcnn', every region warped and sent through backbone and head by itself (Girshick
        2014); 'spp', the backbone once and regions pooled from its map by a pyramid (He 2014);
        'fast', the same by one level of bins (2015); 'faster', with proposals of the network's own.
        For the others, finding proposals is not counted.
      size: side of the image, pixels.
      window: side of R-CNN's warped regions.
      regions: per image.
      width: of VGG's first stage.
      passes: timed.
    """

    kind: str = "faster"
    size: int = 64
    window: int = 32
    regions: int = 16
    width: int = 8
    passes: int = 3

    def names(self) -> tuple[str, ...]:
        return ("seconds",)

    def empty(self) -> np.ndarray:
        return np.zeros((), np.int64)

    def update(self, outputs: dict[str, Any], batch: Any) -> jax.Array:
        return batch.valid.sum(dtype=jnp.int32)

    def result(self, state: np.ndarray) -> dict[str, float]:
        images = jnp.ones((1, self.size, self.size, 3))
        boxes = self._boxes()
        model = network(self)
        variables = jax.jit(model.init)(jax.random.key(0), images, boxes)
        answer = jax.jit(model.apply)
        jax.block_until_ready(answer(variables, images, boxes))
        seconds = []
        for _ in range(self.passes):
            start = time.perf_counter()
            jax.block_until_ready(answer(variables, images, boxes))
            seconds.append(time.perf_counter() - start)
        return {"seconds": float(np.median(seconds))}

    def _boxes(self) -> jax.Array:
        """Draws regions anywhere, of a tenth to all of the image's sides."""
        rng = np.random.default_rng(0)
        sides = rng.uniform(0.1, 1, (1, self.regions, 2)) * self.size
        low = rng.uniform(0, 1, sides.shape) * (self.size - sides)
        return jnp.asarray(np.concatenate([low, low + sides], -1), jnp.float32)


def network(cost: Cost) -> nn.Module:
    """Makes one of `KINDS` on VGG-16's thirteen convolutions, fc6 and fc7."""
    backbone = models.VGG(width=cost.width, keep=("conv5_3",))
    hidden = (64 * cost.width,) * 2
    head = models.BoxHead(pool=models.RegionPool("max"), hidden=hidden)
    if cost.kind == "rcnn":
        return PerRegion(
            models.Classifier(backbone, models.FcHead(CLASSES + 1, hidden)), cost.window
        )
    if cost.kind == "spp":
        machines = models.RegionClassifier(hidden)
        sides = {"short_side": cost.size, "scales": (cost.size,)}
        return Shared(models.SPPNet(backbone, CLASSES, machines, **sides))
    if cost.kind == "fast":
        return Shared(models.FastRCNN(backbone, CLASSES, models.OneMap("conv5_3"), head))
    rpn = models.RPN(
        anchor_sizes=((128.0, 256.0, 512.0),),
        width=8 * cost.width,
        post_nms_top_n=cost.regions,
    )
    return Shared(models.FasterRCNN(backbone, CLASSES, models.OneMap("conv5_3"), rpn, head))


class PerRegion(nn.Module):
    """R-CNN without its SVMs: one forward pass of `classifier` per region."""

    classifier: nn.Module
    window: int

    def __call__(
        self, images: Float[Array, "1 h w 3"], boxes: Float[Array, "1 r 4"]
    ) -> Float[Array, "r k"]:
        crops = warp_crops(images[0], boxes[0], (self.window, self.window), context=2)
        if self.is_initializing():
            return self.classifier(crops[:1])["logits"]
        bound = self.classifier.variables
        free = self.classifier.clone(parent=None)
        return lax.map(lambda crop: free.apply(bound, crop[None])["logits"][0], crops)


class Shared(nn.Module):
    """A detector with shared features, called with an image and its regions."""

    detector: nn.Module

    def __call__(self, images: Float[Array, "1 h w 3"], boxes: Float[Array, "1 r 4"]) -> Any:
        sizes = jnp.array([images.shape[1:3]], jnp.float32)
        proposals = Targets(proposals=boxes, proposal_valid=jnp.ones(boxes.shape[:2], bool))
        return self.detector(images, sizes, proposals)["detections"]
