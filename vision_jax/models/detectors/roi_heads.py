"""What the R-CNNs do with regions: pool their features, classify them and refine their boxes.

Fast R-CNN (Girshick 2015, arXiv:1504.08083) in the forms of the papers since. Parameters: `fc6`,
`fc7` …, or those of `body`; `cls_score`, `bbox_pred`. Initialisation: N(0, 0.01) for the classes,
N(0, 0.001) for the boxes (section 2.3), torch's uniform for hidden layers.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key

from vision_jax.models.classifiers.classifier import HEAD_LAYER, SMALL_NORMAL
from vision_jax.models.classifiers.resnet import Bottleneck, Version
from vision_jax.models.detectors.rpn import (
    ROI_STREAM,
    Proposals,
    draw,
    objects,
    owners,
    sampled_matches,
    takes_all,
    wide,
)
from vision_jax.models.layers.blocks import Conv, Dense, Dropout, Norm, torch_linear
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import losses
from vision_jax.ops.assign import BACKGROUND, IGNORED, match
from vision_jax.ops.nms import nms_classes
from vision_jax.ops.pool import global_avg_pool
from vision_jax.ops.roi_align import pyramid_level, roi_align_pyramid
from vision_jax.ops.roi_pool import roi_pool
from vision_jax.structs import Detections, Targets


@dataclasses.dataclass(frozen=True)
class RegionPool:
    """Features of regions, all of one size, from a map or a pyramid.

    Attributes:
      kind: 'align', RoIAlign (He 2017); 'max', RoIPool (Girshick 2015).
      size: bins down and across.
      samples: RoIAlign's, per bin and axis; 0 as many as a bin has cells.
      aligned: RoIAlign without its first version's shift by half a cell.
      levels: from how many of the levels regions are pooled, the finest first; 0 means all.
      canonical_size, canonical_level: a region of this side (pixels) is pooled from the level of
        stride 2^canonical_level (Lin 2017, eq. 1).
      deterministic: the form whose gradient does not depend on the order of sums.
    """

    kind: Literal["align", "max"] = "align"
    size: int = 7
    samples: int = 2
    aligned: bool = False
    levels: int = 0
    canonical_size: float = 224.0
    canonical_level: int = 4
    deterministic: bool = False

    def __call__(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        strides: Sequence[int],
        boxes: Float[Array, "b r 4"],
    ) -> Float[Array, "b r {self.size} {self.size} c"]:
        """Regions xyxy in pixels → features.

        Args:
          levels: from fine to coarse; those that are read have strides of 2^k.
          strides: of each level.
          boxes: they get no gradient.
        """
        count = self.levels or len(levels)
        levels, scales = levels[:count], tuple(1 / stride for stride in strides[:count])
        size = (self.size, self.size)
        place = jnp.zeros(boxes.shape[:2], jnp.int32)
        if len(levels) > 1:
            low, high = (int(math.log2(stride)) for stride in (strides[0], strides[count - 1]))
            place = pyramid_level(boxes, low, high, self.canonical_size, self.canonical_level)
        if self.kind == "align":
            return roi_align_pyramid(
                levels, boxes, place, size, scales, self.samples, self.aligned, self.deterministic
            )
        pooled = roi_pool(levels[0], boxes, size, scales[0], self.deterministic)
        for number in range(1, len(levels)):
            here = (place == number)[:, :, None, None, None]
            other = roi_pool(levels[number], boxes, size, scales[number], self.deterministic)
            pooled = jnp.where(here, other, pooled)
        return pooled


class ResNetStage(nn.Module):
    """A ResNet's last stage as a head: conv5_x of the C4 networks (He 2015, section 4 of Ren 2015).

    Fields: as of `ResNet`; `width` is that of the 3x3 convolutions, `stage` names the blocks.
    """

    blocks: int = 3
    width: int = 512
    stride: int = 2
    stage: int = 5
    version: Version = "v1.5"
    norm: Norm = "frozen"
    eps: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool = False) -> Float[Array, "n _ _ o"]:
        for i in range(self.blocks):
            x = Bottleneck(
                self.width,
                stride=self.stride if i == 0 else 1,
                version=self.version,
                norm=self.norm,
                eps=self.eps,
                dtype=self.dtype,
                name=f"conv{self.stage}_{i + 1}",
            )(x, train)
        return x


class BoxHead(nn.Module):
    """The second stage: which class a region is of, and where its box really is.

    Defaults are torchvision's; `models.faster_rcnn` and `models.fast_rcnn` have the papers'.

    Fields:
      pool: how regions are pooled.
      body: module that pooled features go through first, averaged afterwards; None: none. Other
        heads can share what it finds.
      hidden: widths of the fully connected layers fc6, fc7 …
      dropout: probability, of each hidden layer's outputs.
      class_specific: offsets for every class, or (False) one for all.
      samples: regions per image that the loss counts, drawn at random.
      fraction: largest share of positives among them.
      positive_iou: a region that overlaps an object so much is positive.
      negative_iou: below so much it is background, in between it does not count.
      least_iou: below so little it does not count either (Fast R-CNN: 0.1).
      add_truth: the objects' own boxes are candidates too.
      box_weights: factors of the regression targets, see `boxes.encode`.
      beta: where the box loss turns from square to linear.
      box_weight: of the box loss.
      least_score, nms_iou, detections: of what is found: smallest probability, overlap above which
        the better box of a class suppresses the other, number per image.
      least_size: smallest side of a box, in pixels.
      dtype: compute dtype.
    """

    pool: RegionPool = RegionPool(levels=4)
    body: nn.Module | None = None
    hidden: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.0
    class_specific: bool = True
    samples: int = 512
    fraction: float = 0.25
    positive_iou: float = 0.5
    negative_iou: float = 0.5
    least_iou: float = 0.0
    add_truth: bool = True
    box_weights: tuple[float, float, float, float] = box_ops.RCNN_WEIGHTS
    beta: float = 1 / 9
    box_weight: float = 1.0
    least_score: float = 0.05
    nms_iou: float = 0.5
    detections: int = 100
    least_size: float = 1e-2
    dtype: str = "float32"

    def regions(
        self,
        levels: tuple[Float[Array, "b _ _ c"], ...],
        strides: Sequence[int],
        boxes: Float[Array, "b r 4"],
        train: bool = False,
    ) -> Float[Array, "b r s s d"]:
        """Maps of regions, pooled (see `RegionPool`) and through the body."""
        x = self.pool(levels, strides, boxes)
        if self.body is None:
            return x
        y = self.body(x.reshape(-1, *x.shape[2:]), train)
        return y.reshape(*x.shape[:2], *y.shape[1:])

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b r s s d"],
        num_classes: int,
        train: bool = False,
        keys: Key[Array, "b"] | None = None,
    ) -> dict[str, Array]:
        """What the regions hold.

        Args:
          x: what `regions` returned.
          num_classes: without background.
          train, keys: for dropout.

        Returns:
          features: (b, r, d), what the last layers read.
          class_logits: (b, r, num_classes + 1), background first.
          box_deltas: (b, r, num_classes + 1 or 1, 4).
        """
        images, regions = x.shape[:2]
        x = x.reshape(images * regions, *x.shape[2:])
        if self.body is not None:
            x = global_avg_pool(x)
        x = x.reshape(images * regions, -1)
        for i, width in enumerate(self.hidden):
            fc = Dense(width, True, self.dtype, torch_linear, name=f"fc{i + 6}")
            x = nn.relu(fc(x)).reshape(images, regions, width)
            x = Dropout(self.dropout, layer=HEAD_LAYER + i)(x, train, keys)
            x = x.reshape(images * regions, width)
        rows = num_classes + 1 if self.class_specific else 1
        small = nn.initializers.normal(0.001)
        logits = Dense(num_classes + 1, True, self.dtype, SMALL_NORMAL, name="cls_score")(x)
        deltas = Dense(4 * rows, True, self.dtype, small, name="bbox_pred")(x)
        return {
            "features": x.reshape(images, regions, -1),
            "class_logits": wide(logits).reshape(images, regions, -1),
            "box_deltas": wide(deltas).reshape(images, regions, rows, 4),
        }

    def sample(
        self, proposals: Proposals, targets: Targets, keys: Key[Array, "b"] | None
    ) -> dict[str, Array]:
        """The regions that the loss counts: `rois` (b, s, 4), and `roi_matches`, their objects."""
        truth, valid = objects(targets)
        boxes, usable = proposals.boxes, proposals.valid
        if self.add_truth:
            boxes = jnp.concatenate([boxes, truth.astype(boxes.dtype)], 1)
            usable = jnp.concatenate([usable, valid], 1)

        def image(truth: Array, valid: Array, boxes: Array, usable: Array) -> Array:
            truth = truth.astype(boxes.dtype)
            found = match(truth, valid, boxes, self.positive_iou, self.negative_iou)
            if self.least_iou > 0:
                near = match(truth, valid, boxes, self.least_iou, self.least_iou) >= 0
                found = jnp.where((found == BACKGROUND) & ~near, IGNORED, found)
            return jnp.where(usable, found, IGNORED)

        matching = jax.vmap(image)(truth, valid, boxes, usable)
        drawn = draw(keys, ROI_STREAM, matching, self.samples, self.fraction)
        rois = jnp.take_along_axis(boxes, drawn.index[..., None], 1)
        return {"rois": rois, "roi_matches": sampled_matches(matching, drawn)}

    def positives(self, outputs: dict[str, Any]) -> tuple[Array, Array]:
        """Those of the sampled regions that can be positive: boxes (b, q, 4), objects (b, q).

        Samples hold positives first, so that heads for positives alone need not see the rest.
        """
        rois, matching = outputs["rois"], outputs["roi_matches"]
        count = rois.shape[1]
        if not takes_all(count, self.samples, self.fraction):
            count = min(count, int(self.samples * self.fraction))
        return rois[:, :count], matching[:, :count]

    def loss(
        self, outputs: dict[str, Any], targets: Targets, valid: Bool[Array, "b"]
    ) -> dict[str, tuple[Array, Array]]:
        """Sums and weights of `roi_class` and `roi_box` (Fast R-CNN, eq. 1).

        Args:
          outputs: `roi_class_logits`, `roi_box_deltas`, and what `sample` returned.
          targets: with boxes and labels.
          valid: images that count.
        """
        logits, deltas = outputs["roi_class_logits"], outputs["roi_box_deltas"]
        matching = outputs["roi_matches"]
        counted = (matching != IGNORED) & valid[:, None]
        positive = (matching >= 0) & counted
        labels = class_numbers(targets, matching)
        classes = losses.cross_entropy(logits, labels, mask=counted)
        row = labels if self.class_specific else jnp.zeros_like(labels)
        deltas = jnp.take_along_axis(deltas, row[..., None, None], 2)[:, :, 0]
        truth = owners(targets, matching).astype(deltas.dtype)
        wanted = box_ops.encode(truth, outputs["rois"].astype(deltas.dtype), self.box_weights)
        four = jnp.broadcast_to(positive[..., None], deltas.shape)
        boxes = self.box_weight * losses.smooth_l1(deltas, wanted, self.beta, four)
        count = counted.sum(dtype=logits.dtype)
        return {"roi_class": (classes.sum(), count), "roi_box": (boxes.sum(), count)}

    def detect(
        self, found: dict[str, Any], proposals: Proposals, sizes: Float[Array, "b 2"]
    ) -> Detections:
        """Refined boxes of every class, after NMS by class; the best of all classes.

        Args:
          found: `class_logits` and `box_deltas` of the proposals.
          proposals: which regions they are of.
          sizes: height and width of the images' content, to which boxes are cut.
        """

        def image(logits: Array, deltas: Array, boxes: Array, valid: Array, size: Array) -> tuple:
            scores = nn.softmax(logits)[:, 1:]
            deltas = deltas[:, 1:] if self.class_specific else deltas
            start = jnp.broadcast_to(boxes[:, None], deltas.shape).astype(deltas.dtype)
            refined = box_ops.decode(deltas, start, self.box_weights)
            refined = box_ops.clip(refined, size[0], size[1])
            scores = jnp.where(box_ops.large_enough(refined, self.least_size), scores, -jnp.inf)
            refined = jnp.broadcast_to(refined, (*scores.shape, 4))
            kept = nms_classes(
                refined, scores, self.nms_iou, self.detections, None, self.least_score, valid
            )
            best = refined[kept.index, jnp.maximum(kept.label, 0)]
            return jnp.where(kept.valid[:, None], best, 0), kept.score, kept.label, kept.valid

        logits, deltas = jax.lax.stop_gradient((found["class_logits"], found["box_deltas"]))
        sizes = sizes.astype(deltas.dtype)
        return Detections(*jax.vmap(image)(logits, deltas, proposals.boxes, proposals.valid, sizes))


def small_network(
    x: Float[Array, "b r s s c"], widths: tuple[int, ...], name: str, dtype: str
) -> Float[Array, "n s s d"]:
    """The 3x3 convolutions `name`1 … of a head that keeps its regions' maps, all images in one."""
    x = x.reshape(-1, *x.shape[2:])
    for i, width in enumerate(widths, start=1):
        x = nn.relu(Conv(width, 3, padding=1, dtype=dtype, name=f"{name}{i}")(x))
    return x


def leading(
    head: nn.Module,
    counts: Sequence[int],
    inputs: tuple[Float[Array, "b _ _ c"], ...] | Float[Array, "b r s s d"],
    rois: Float[Array, "b r 4"],
    matching: Int[Array, "b r"],
    run: Callable[[nn.Module, Any, Array], Float[Array, "b _ n n k"]],
) -> Float[Array, "b r n n k"]:
    """What a head says of the first regions, as many as hold all positives; zeros for the others.

    Samples have their positives first and often few of them, while shapes are fixed: so there is a
    branch for each of some numbers of regions, and every step takes the cheapest one that serves
    all of its images. Runs that are vmapped take the same branch.

    Args:
      head: of which `run` makes use.
      counts: numbers of regions per image, rising; the last one is all of them.
      inputs: what the head reads, maps or all regions.
      rois, matching: regions and their objects; those without (negative) do not count.
      run: `run(head, inputs, rois)` → what is said of these regions.
    """
    place = jnp.arange(1, rois.shape[1] + 1)[None]
    needed = _largest_of_all(jnp.where(matching >= 0, place, 0).max())
    number = sum((needed > count).astype(jnp.int32) for count in counts[:-1])

    def branch(count: int) -> Callable:
        def first(head: nn.Module, inputs: Any, rois: Array) -> Array:
            found = run(head, inputs, rois[:, :count])
            rest = [(0, 0), (0, rois.shape[1] - count), (0, 0), (0, 0), (0, 0)]
            return jnp.pad(found, rest)

        return first

    return nn.switch(number, [branch(count) for count in counts], head, inputs, rois)


@jax.custom_batching.custom_vmap
def _largest_of_all(count: Int[Array, ""]) -> Int[Array, ""]:
    """The number itself; of vmapped runs the largest, so that a branch on it stays a branch."""
    return count


@_largest_of_all.def_vmap
def _largest_of_batch(
    size: int, batched: list[bool], counts: Int[Array, "n"]
) -> tuple[Int[Array, ""], bool]:
    return _largest_of_all(counts.max()), False


def class_numbers(targets: Targets, matching: Int[Array, "b s"]) -> Int[Array, "b s"]:
    """Each region's class for a head with background: 0, or its object's label + 1."""
    labels = jnp.asarray(targets.labels)
    if labels.shape[1] == 0:
        return jnp.zeros_like(matching)
    own = jnp.take_along_axis(labels, jnp.maximum(matching, 0), 1)
    return jnp.where(matching >= 0, own + 1, 0).astype(jnp.int32)
