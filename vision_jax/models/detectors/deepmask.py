"""DeepMask (Pinheiro et al. 2015, arXiv:1506.06204) and SharpMask (2016, arXiv:1603.08695).

A window of an image is asked two things: is there one object, whole, in the middle and of a certain
size; and which pixels are its? Training shows windows (`data.MaskPatches`); evaluation slides the
window over an image pyramid, all of it one program per size of the input, and the best windows'
masks are proposals of objects of no class. The form is that of the authors' second code, which
deepmask-pytorch repeats: a ResNet up to conv4_x whose maps continue as their mirror images.

Parameters: `backbone`; `reduce` (1x1), `shared` (the window's whole map), `mask`, `score_hidden`,
`score`; `refinement`, see `sharpmask`. Initialisation: the backbone's own, He normal over fan-in
for `reduce` and `shared`, torch's uniform for the rest, zero biases.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from vision_jax.config import UserError
from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors import window_masks
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.layers import (
    HEAD_LAYER,
    Conv,
    Dense,
    Dropout,
    Images,
    Keys,
    Layers,
    at_least_float32,
    he_fan_in,
    variant,
)
from vision_jax.ops import losses
from vision_jax.ops.nms import nms
from vision_jax.ops.resize import resize
from vision_jax.structs import Detections, Targets, Terms

THRESHOLD_FLOOR = 1e-6  # what the score's hidden layer has instead of negative values
LOSSES = ("mask", "score")


class Best(NamedTuple):
    """The windows of an image that are scored best, n of them."""

    features: Array  # (b, n, d)
    scores: Array  # (b, n) probabilities, falling; 0 where the middle is beyond the image
    places: window_masks.Places  # of (b, n) each
    boxes: Array  # (b, n, 4) the windows, xyxy in pixels of the input


class DeepMask(DetectorModule):
    """A proposer of masks: a backbone, a mask and a score for each window of an image.

    Fields:
      backbone: its last map is read; the others' strides are halves of its own (SharpMask).
      num_classes: 1, objects.
      size: side of the window, pixels, a multiple of the backbone's stride. An object's longer side
        should be 128 / 224 of it, see `data.MaskPatches`.
      reduced, width, hidden: channels of `reduce`, `shared` and `score_hidden`.
      mask_size, output_size: side of the mask that `mask` makes, and of that it is resized to.
      refinement: None, or SharpMask's `Refinement`, whose masks have the window's size; `mask` is
        then idle.
      losses: terms of the loss: some of 'mask', 'score'. The refinement is trained by 'mask' alone.
      score_weight: factor of the score's loss, the paper's λ.
      dropout: probability of dropping a value before `score_hidden` and before `score`.
      scales: of the pyramid, pixels per pixel of the input.
      pre_nms_top_k: windows whose masks are made, the best of all scales.
      nms_threshold: IoU of boxes above which the lower score goes; 1 keeps all, as the paper does.
      max_detections: slots of the answer.
      mask_threshold: probability from which a pixel is the object's.
      cropped_size: side of the answer's masks, which cover their boxes.
      chunk: windows whose masks are made at a time. Changes memory and speed only.
      layers: settings of the layers after the backbone, which have no norm.
    """

    backbone: nn.Module
    num_classes: int = 1
    size: int = 160
    reduced: int = 128
    width: int = 512
    hidden: int = 1024
    mask_size: int = 56
    output_size: int = 112
    refinement: nn.Module | None = None
    losses: tuple[str, ...] = LOSSES
    score_weight: float = 1 / 32
    dropout: float = 0.5
    scales: tuple[float, ...] = tuple(2.0 ** (k / 2) for k in range(-5, 3))
    pre_nms_top_k: int = 1000
    nms_threshold: float = 1.0
    max_detections: int = 1000
    mask_threshold: float = 0.2
    cropped_size: int = 56
    chunk: int = 32
    layers: Layers = Layers()

    def setup(self):
        if not self.scales or min(self.scales) <= 0 or self.size % self.stride:
            text = f"DeepMask: scales={self.scales}, size={self.size}"
            raise UserError(f"{text}: scales above 0, a multiple of the stride {self.stride}")
        if not self.losses or not {*self.losses} <= {*LOSSES}:
            raise UserError(f"DeepMask: losses={self.losses}: use some of {', '.join(LOSSES)}")
        cells = self.size // self.stride
        self.reduce = Conv(self.reduced, kernel_init=he_fan_in, layers=self.layers)
        self.shared = Conv(self.width, cells, kernel_init=he_fan_in, layers=self.layers)
        self.mask = Dense(self.mask_size**2, layers=self.layers)
        self.score_hidden = Dense(self.hidden, layers=self.layers)
        self.score = Dense(1, layers=self.layers)
        self.drop = Dropout(self.dropout, HEAD_LAYER), Dropout(self.dropout, HEAD_LAYER + 1)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The backbone's maps that a refinement reads, the coarsest first."""
        return tuple(reversed(self.backbone.strides))

    @property
    def stride(self) -> int:
        """Pixels between neighbouring windows."""
        return self.backbone.strides[self.endpoints[0]]

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Proposes masks; see `structs.Detector` for the arguments.

        objectness_logits: (b, a) of every window. anchors: (a, 4), the windows.
        detections: boxes around the masks, cut at the image's border, and `masks`: probabilities
          over the boxes that are 0.5 where they were `mask_threshold`.
        proposals, proposal_scores, proposal_valid: the detections' boxes as `data.WithProposals`
          and `evaluation.ProposalRecall` know them.

        With boxes in `targets` the images are windows themselves, with some context around:
        `objectness_logits` (b, 1) and `mask_logits` (b, s, s).
        """
        if self.is_initializing():
            side = self.size + 2 * self.stride
            return self._on_windows(jnp.zeros((1, side, side, images.shape[-1])), False, None)
        if targets is not None and targets.boxes is not None:
            return self._on_windows(images, train, keys)
        pyramid = window_masks.levels(images.shape[1:3], self.scales, self.size, self.stride)
        maps = [self.backbone(window_masks.level_images(images, level)) for level in pyramid]
        features = [self.window_features(x) for x in maps]
        scores = [self.window_scores(x).reshape(len(images), -1) for x in features]
        logits = jnp.concatenate(scores, 1)
        best = self._best(pyramid, features, logits, sizes)
        detections = self._detections(best, maps, sizes)
        return {
            "objectness_logits": logits,
            "anchors": jnp.asarray(window_masks.windows(pyramid, self.size, self.stride)),
            "detections": detections,
            "proposals": detections.boxes,
            "proposal_scores": detections.scores,
            "proposal_valid": detections.valid,
        }

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `mask` and `score`, each a mean over windows (2015, eq. 2).

        A window's mask costs its pixels' mean, and nothing where no object is in the middle.
        """
        terms: Terms = {}
        count = valid.sum(dtype=jnp.float32)
        positive, has_object = self._positive(targets, valid)
        if "mask" in self.losses:
            logits = outputs["mask_logits"]
            counted = jnp.broadcast_to(positive[:, None, None], logits.shape)
            mask_targets = self._mask_targets(targets, logits)
            loss = losses.binary_cross_entropy(logits, mask_targets, counted)
            terms["mask"] = loss.mean((1, 2)).sum(), count
        if "score" in self.losses:
            logits = outputs["objectness_logits"][:, 0]
            loss = losses.binary_cross_entropy(logits, has_object.astype(logits.dtype), valid)
            terms["score"] = self.score_weight * loss.sum(), count
        return terms

    def metrics(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns `mask_iou` over the windows with an object, and `score_accuracy`."""
        positive, has_object = self._positive(targets, valid)
        logits = outputs["mask_logits"]
        wanted = self._mask_targets(targets, logits) > 0
        found = logits > window_masks.logit(self.mask_threshold)
        both = (wanted & found).sum((1, 2), dtype=jnp.float32)
        either = (wanted | found).sum((1, 2), dtype=jnp.float32)
        iou = jnp.where(positive, both / jnp.maximum(either, 1), 0)
        right = valid & ((outputs["objectness_logits"][:, 0] > 0) == has_object)
        return {
            "mask_iou": (iou.sum(), positive.sum(dtype=jnp.float32)),
            "score_accuracy": (right.sum(dtype=jnp.float32), valid.sum(dtype=jnp.float32)),
        }

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Returns the proposals, all labelled 0, in pixels of the network's input."""
        return outputs["detections"]

    def window_features(self, maps: dict[str, Array]) -> Float[Array, "b rows columns d"]:
        """Computes what mask and score of each window are made from, out of the backbone's maps."""
        return self.shared(nn.relu(self.reduce(maps[self.endpoints[0]])))

    def window_scores(
        self, features: Float[Array, "b rows columns d"], train: bool = False, keys: Keys = None
    ) -> Float[Array, "b rows columns 1"]:
        """Computes the logits of there being an object in the middle."""
        x = self.score_hidden(self.drop[0](features, train=train, keys=keys))
        x = jnp.where(x > 0, x, jnp.asarray(THRESHOLD_FLOOR, x.dtype))
        return at_least_float32(self.score(self.drop[1](x, train=train, keys=keys)))

    def window_logits(
        self, features: Float[Array, "n d"], skips: list[Float[Array, "n _ _ _"]]
    ) -> Float[Array, "n s s"]:
        """Computes the logits of windows' masks.

        Args:
          features: of the windows.
          skips: the backbone's maps within them, the coarsest first; read by a refinement alone.
        """
        if self.refinement is None or self.is_initializing():
            coarse = self.mask(features).reshape(-1, self.mask_size, self.mask_size, 1)
        if self.refinement is not None:
            return at_least_float32(self.refinement(features, skips))
        size = (self.output_size, self.output_size)
        return resize(at_least_float32(coarse), size, align_corners=True)[..., 0]

    def _on_windows(self, images, train, keys):
        """Runs on images that are windows with some context, whose maps are cut to the window."""
        side, cells = images.shape[1], self.size // self.stride
        around = (side - self.size) // (2 * self.stride)
        if images.shape[2] != side or side != self.size + 2 * around * self.stride:
            raise UserError(
                f"DeepMask learns from windows of {self.size} pixels with some times {self.stride} "
                f"around them, not from {side}×{images.shape[2]} pixels: see data.MaskPatches"
            )
        maps, within = self.backbone(images, train=train, keys=keys), {}
        for name in self.endpoints:
            factor = self.stride // self.backbone.strides[name]
            cut = slice(around * factor, (around + cells) * factor)
            within[name] = maps[name][:, cut, cut]
        features = self.window_features(within)
        scores = self.window_scores(features, train, keys)
        masks = self.window_logits(features[:, 0, 0], [within[name] for name in self.endpoints])
        return {"objectness_logits": scores[:, 0, 0], "mask_logits": masks}

    def _best(self, pyramid, features, logits, sizes):
        """Chooses the windows whose masks are made: those with the best scores of each image."""
        boxes = jnp.asarray(window_masks.windows(pyramid, self.size, self.stride))
        inside = window_masks.centred_inside(boxes, sizes)
        scores = jnp.where(inside, nn.sigmoid(logits), 0)
        score, index = lax.top_k(scores, min(self.pre_nms_top_k, scores.shape[1]))
        flat = jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in features], 1)
        chosen = jnp.take_along_axis(flat, index[..., None], 1)
        table = (jnp.asarray(values) for values in window_masks.places(pyramid))
        where = window_masks.Places(*(values[index] for values in table))
        return Best(chosen, score, where, boxes[index])

    def _detections(self, best, maps, sizes):
        """Makes the masks of the chosen windows, and boxes around them."""
        images, count = best.scores.shape
        image = jnp.broadcast_to(jnp.arange(images)[:, None], (images, count))
        size = jnp.broadcast_to(sizes[:, None], (images, count, 2))
        chunk = min(self.chunk, images * count)
        rows = (best.features, image, best.places, best.boxes, size)
        rows = jax.tree.map(lambda x: _chunks(x, chunk), rows)
        module, variables = self.unbind()
        read = self.endpoints if self.refinement is not None else ()
        whole = {name: window_masks.joined([m[name] for m in maps]) for name in read}

        def masks(rows):
            features, image, where, boxes, size = rows
            skips = []
            for name in read:
                factor = self.stride // self.backbone.strides[name]
                side = self.size // self.backbone.strides[name]
                skips.append(window_masks.cut(whole[name], image, where, factor, side))
            logits = module.apply(variables, features, skips, method="window_logits")
            return window_masks.boxed(logits, boxes, size, self.mask_threshold, self.cropped_size)

        found = lax.map(masks, rows)
        boxes, masks, there = jax.tree.map(
            lambda x: x.reshape(-1, *x.shape[2:])[: images * count].reshape(
                images, count, *x.shape[2:]
            ),
            found,
        )
        return jax.vmap(self._kept)(boxes, best.scores, masks, there & (best.scores > 0))

    def _kept(self, boxes, scores, masks, valid):
        """Suppresses an image's boxes, and brings those that are left into order."""
        kept = nms(boxes, scores, self.nms_threshold, self.max_detections, valid=valid)
        there = kept.valid
        return Detections(
            jnp.where(there[:, None], boxes[kept.index], 0),
            jnp.where(there, kept.score, 0),
            jnp.where(there, 0, -1).astype(jnp.int32),
            there,
            masks=jnp.where(there[:, None, None], masks[kept.index], 0),
        )

    def _positive(self, targets, valid):
        """Tells which windows have an object in the middle: those that count, and all, (b,)."""
        has_object = targets.valid[:, 0]
        return has_object & valid, has_object

    def _mask_targets(self, targets, logits):
        """Cuts the windows out of the objects' masks, at the logits' size: 0 or 1."""
        if targets.masks is None:
            raise ValueError("DeepMask needs batches with targets.masks")
        masks = targets.masks[:, 0]
        around = (masks.shape[-1] - self.size) // 2
        inner = slice(around, around + self.size)
        window = masks[:, inner, inner, None].astype(logits.dtype)
        shares = resize(window, logits.shape[1:], antialias=True)[..., 0]
        return (shares >= 0.5).astype(logits.dtype)


def _chunks(x: Array, chunk: int) -> Array:
    """Makes (chunks, chunk, …) of (b, n, …), filled up by zeros."""
    flat = x.reshape(-1, *x.shape[2:])
    spare = -len(flat) % chunk
    flat = jnp.pad(flat, ((0, spare), *((0, 0),) * (flat.ndim - 1)))
    return flat.reshape(-1, chunk, *flat.shape[1:])


def deepmask_resnet(
    depth: int, refinement: nn.Module | None = None, layers: Layers = Layers()
) -> DeepMask:
    """Makes DeepMask on the first three stages of a ResNet; with a refinement it is SharpMask."""
    stages, block = DEPTHS[depth]
    backbone = ResNet(stages=stages[:3], block=block, border="reflect", layers=layers)
    return DeepMask(backbone, refinement=refinement, layers=layers)


DeepMaskResNet50 = variant(
    "DeepMaskResNet50",
    deepmask_resnet,
    "Makes DeepMask on ResNet-50; see `deepmask_resnet`.",
    depth=50,
)
