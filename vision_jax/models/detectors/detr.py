"""End-to-End Object Detection with Transformers (Carion et al. 2020, arXiv:2005.12872): DETR.

Queries look at the encoded map and at each other, and each answers for one object or for none. The
training is one program: the assignment of objects to queries is exact, has static shapes and runs
where the network runs.

Parameters: `backbone`, `input_proj` (1x1), `encoder`, `query_embed`, `decoder`, the heads
`class_embed` and `box_embed`, which serve all layers, and, with masks, `mask`. Initialisation as
the authors' code: Xavier uniform in the transformer, N(0, 1) for queries, torch's for the rest, but
for zero biases.
"""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.detr_masks import QueryMasks
from vision_jax.models.layers import (
    NO_NORM,
    Conv,
    Decoder,
    Dense,
    Encoder,
    Images,
    Keys,
    Layers,
    LearnedGrid,
    LearnedPositions,
    TransformerSettings,
    at_least_float32,
    torch_linear,
    variant,
    with_positions,
)
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import set_prediction
from vision_jax.ops.nms import nms
from vision_jax.ops.positions import sine_positions
from vision_jax.structs import Detections, Targets, Terms

FROZEN = Layers(norm="frozen")  # of the backbone; nothing else has batch norms


class DETR(DetectorModule):
    """A detector that predicts a set: one object for each of a few queries, without suppression.

    Boxes are relative to an image's content, which is told from its padding by `sizes`.

    Fields:
      backbone: any backbone; dilated, it is DC5 of the paper.
      num_classes: without "no object", which comes last.
      endpoint: the map that is encoded.
      encoder, decoder: with the same settings.
      num_queries: detections per image.
      learned_start: whether the decoder reads further learnt vectors (Zhu et al. 2021), which makes
        short trainings shorter; else zeros (the paper), which its first norm cannot scale.
      positions: of the map: 'sine', or 'learned' for rows and columns.
      temperature: of the sines, see `sine_positions`; a small map has use for less.
      placed_values: whether positions are added to the map itself too, and not to the attention's
        queries and keys alone (the paper); boxes are then learnt in fewer steps.
      class_cost, box_cost, giou_cost: of the assignment, see `set_prediction.matching_cost`.
      class_loss_weight, box_loss_weight, giou_loss_weight: factors of the losses.
      no_object_weight: of the class loss of queries without an object.
      aux_loss: whether each layer of the decoder answers and is trained, or the last one alone.
      answering_layer: the decoder's layer whose answer is detected, -1 the last; others exist with
        `aux_loss`.
      score_threshold: detections have a greater score.
      nms_threshold: IoU above which a detection suppresses a lesser one of its class; None: nothing
        is suppressed (the paper).
      mask: the head of the paper's section 4.4, or None. It reads the endpoints before the last.
      layers: settings of the first and the last layers, which have no norm.
    """

    backbone: nn.Module
    num_classes: int = 80
    endpoint: str = "conv5_x"
    encoder: Encoder = Encoder()
    decoder: Decoder = Decoder()
    num_queries: int = 100
    learned_start: bool = False
    positions: Literal["sine", "learned"] = "sine"
    temperature: float = 10_000.0
    placed_values: bool = False
    class_cost: float = 1.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    class_loss_weight: float = 1.0
    box_loss_weight: float = 5.0
    giou_loss_weight: float = 2.0
    no_object_weight: float = 0.1
    aux_loss: bool = True
    answering_layer: int = -1
    score_threshold: float = 0.0
    nms_threshold: float | None = None
    mask: QueryMasks | None = None
    layers: Layers = NO_NORM

    shown: ClassVar[tuple[str, ...]] = ("relative_boxes", "surest", "attention_maps")

    @nn.compact
    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Finds the backbone's endpoints and every query's answer; `structs.Detector` has the rest.

        class_logits: (b, q, num_classes + 1); aux_class_logits: those of the layers before the
          last, (l - 1, b, q, num_classes + 1), with `aux_loss`.
        relative_boxes: (b, q, 4) cxcywh, shares of the content; aux_relative_boxes likewise.
        encoder_attention: (b, h, w, h, w), from each place to all places, in the last layer.
        decoder_attention: (b, q, h, w), from each query, in the last layer.
        surest: (b, n), up to four queries that are the most certain of an object, the best first.
        attention_maps: (b, n, 2, h, w), where these queries look, and where the encoder looks from
          the middle of their boxes, for pictures.
        image_sizes: `sizes`, which a loss needs.
        mask_logits: (b, q, 8 h, 8 w), with a mask head.
        """
        canvas = images.shape[1:3]
        images = jnp.where(content(canvas, canvas, sizes)[..., None], images, 0)
        endpoints = self.backbone(images, train=train, keys=keys)
        last = endpoints[self.endpoint]
        valid = content(last.shape[1:3], canvas, sizes)
        width = self.decoder.settings.features
        reduce = Conv(width, 1, kernel_init=torch_linear, layers=self.layers, name="input_proj")
        projected = reduce(last)
        answers, memory, attention = self._transform(projected, valid, train, keys)
        outputs = {**endpoints, **self._heads(answers), **attention, "image_sizes": sizes}
        outputs |= looks(outputs, canvas)
        if self.mask is not None:
            finer = [endpoints[name] for name in self._finer_endpoints()]
            outputs["mask_logits"] = self.mask(answers[-1], projected, memory, valid, finer)
        return outputs

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `class`, `box` and `giou` of the last layer, and `aux_…` of those before it.

        Class losses are divided by their weights, the others by the objects of the batch, over all
        devices. Each layer has an assignment of its own, of as many objects as there are queries.
        With a mask head there are `mask` and `dice`, of the last layer.
        """
        gt_boxes, gt_labels, gt_valid = relative_truth(targets, outputs["image_sizes"], valid)
        answers = [outputs[name][None] for name in ("class_logits", "relative_boxes")]
        if "aux_class_logits" in outputs:
            earlier = outputs["aux_class_logits"], outputs["aux_relative_boxes"]
            answers = [jnp.concatenate(pair) for pair in zip(earlier, answers, strict=True)]
        per_layer = jax.vmap(jax.vmap(self._losses), (0, 0, None, None, None))
        queries, matched = per_layer(*answers, gt_boxes, gt_labels, gt_valid)
        counted = valid[None, :, None]
        sums = [jnp.sum(jnp.where(counted, x, 0), (1, 2)) for x in queries]  # of each layer
        objects = jnp.sum(gt_valid, dtype=sums[0].dtype)
        terms = {
            "class": (self.class_loss_weight * sums[0], self._class_weight(gt_valid, valid)),
            "box": (self.box_loss_weight * sums[2], objects),
            "giou": (self.giou_loss_weight * sums[3], objects),
        }
        losses = {name: (total[-1], weight) for name, (total, weight) in terms.items()}
        if len(sums[0]) > 1:
            for name, (total, weight) in terms.items():
                losses[f"aux_{name}"] = (total[:-1].sum(), weight)
        if self.mask is not None:
            losses |= self.mask.loss(outputs["mask_logits"], matched[-1], targets, objects)
        return losses

    def metrics(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns by how many an image's answers differ in number from its objects, on average."""
        gt_valid = jnp.asarray(targets.valid) & valid[:, None]
        error = jax.vmap(set_prediction.cardinality_error)(outputs["class_logits"], gt_valid)
        count = jnp.sum(valid, dtype=jnp.float32)
        wrong = jnp.sum(jnp.where(valid, error, 0), dtype=jnp.float32)
        return {"cardinality_error": (wrong, count)}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Reads one detection from each query, the best first, cut at the content's border."""
        names = "class_logits", "relative_boxes"
        layer = self.answering_layer % self.decoder.depth
        if layer < self.decoder.depth - 1:
            answers = [outputs[f"aux_{name}"][layer] for name in names]
        else:
            answers = [outputs[name] for name in names]
        detections, order = jax.vmap(self._best)(*answers, sizes)
        if self.mask is None:
            return detections
        mask_logits = jnp.take_along_axis(outputs["mask_logits"], order[:, :, None, None], 1)
        stride = self.backbone.strides[self._finer_endpoints()[-1]]
        masks = jax.vmap(self.mask.crop)(mask_logits, detections.boxes / stride)
        return detections.replace(masks=masks)

    def _transform(
        self, projected: Images, valid: Bool[Array, "b h w"], train: bool, keys: Keys
    ) -> tuple[tuple[Array, ...], Images, Outputs]:
        """Returns the answers of all layers, the encoded map, and the attention of both halves."""
        b, h, w, features = projected.shape
        places = self._positions(valid, features).reshape(-1, h * w, features)
        seen, tokens = valid.reshape(b, 1, h * w), projected.reshape(b, h * w, features)
        tokens = with_positions(tokens, places) if self.placed_values else tokens
        memory, within = self.encoder(tokens, places, seen, train=train, keys=keys)
        queries, start = self._queries(features)
        start = jnp.broadcast_to(start[None], (b, *start.shape)).astype(memory.dtype)
        answers, to = self.decoder(
            start, memory, queries[None], places, None, seen, train=train, keys=keys
        )
        if within is None:  # without an encoder a place sees itself
            within = jnp.broadcast_to(jnp.eye(h * w)[None], (b, h * w, h * w))
        attention = {
            "encoder_attention": within.reshape(b, h, w, h, w),
            "decoder_attention": to.reshape(b, -1, h, w),
        }
        return answers, memory.reshape(projected.shape), attention

    def _positions(self, valid: Bool[Array, "b h w"], features: int) -> Float[Array, "#b h w d"]:
        """Encodes the places of the map."""
        if self.positions == "sine":
            return sine_positions(valid, features // 2, temperature=self.temperature)
        return LearnedGrid(features, layers=self.layers, name="positions_embed")(*valid.shape[1:])[
            None
        ]

    def _queries(self, features: int) -> tuple[Float[Array, "q d"], Float[Array, "q d"]]:
        """Returns the queries' positions, and what the decoder reads first."""
        shape = self.num_queries, features
        queries = LearnedPositions(*shape, layers=self.layers, name="query_embed")()
        if not self.learned_start:
            return queries, jnp.zeros_like(queries)
        return queries, LearnedPositions(*shape, layers=self.layers, name="query_start")()

    def _heads(self, answers: tuple[Array, ...]) -> Outputs:
        """Reads classes and boxes from the layers' answers."""
        classify = Dense(self.num_classes + 1, layers=self.layers, name="class_embed")
        locate = BoxEmbed(self.decoder.settings, name="box_embed")
        read = answers if self.aux_loss else answers[-1:]
        logits = [at_least_float32(classify(x)) for x in read]
        boxes = [jax.nn.sigmoid(at_least_float32(locate(x))) for x in read]
        outputs = {"class_logits": logits[-1], "relative_boxes": boxes[-1]}
        if len(read) > 1:
            outputs["aux_class_logits"] = jnp.stack(logits[:-1])
            outputs["aux_relative_boxes"] = jnp.stack(boxes[:-1])
        return outputs

    def _finer_endpoints(self) -> list[str]:
        """Returns the names of up to three maps before the one that is encoded, backwards."""
        names = [*self.backbone.strides]
        last = names.index(self.endpoint)
        return names[max(last - 3, 0) : last][::-1]

    def _losses(self, class_logits, boxes, gt_boxes, gt_labels, gt_valid):
        """Assigns one image's objects to one layer's queries; returns the losses of these."""
        costs = self.class_cost, self.box_cost, self.giou_cost
        cost = set_prediction.matching_cost(class_logits, boxes, gt_boxes, gt_labels, *costs)
        matched = set_prediction.match_set(cost, gt_valid)
        truth = gt_boxes, gt_labels, matched, self.no_object_weight
        return set_prediction.set_losses(class_logits, boxes, *truth), matched

    def _class_weight(self, gt_valid, valid):
        """Adds up the weights of all queries; they do not depend on which of them have objects."""
        objects = jnp.minimum(jnp.sum(gt_valid, 1), self.num_queries)
        weights = objects + self.no_object_weight * (self.num_queries - objects)
        return jnp.sum(jnp.where(valid, weights, 0))

    def _best(self, class_logits, boxes, size):
        """Ranks one image's answers: detections, and the queries that they are of."""
        answers = set_prediction.decode_set(class_logits, boxes, size)
        boxes = box_ops.clip(answers.boxes, size[0], size[1])
        likely = answers.scores > self.score_threshold
        if self.nms_threshold is None:
            order = jnp.argsort(-answers.scores)
            scores, valid = answers.scores[order], likely[order]
        else:
            limits = self.nms_threshold, self.num_queries
            kept = nms(boxes, answers.scores, *limits, answers.labels, likely)
            order, scores, valid = kept.index, kept.score, kept.valid
        detections = Detections(
            boxes=jnp.where(valid[:, None], boxes[order], 0),
            scores=jnp.where(valid, scores, 0),
            labels=jnp.where(valid, answers.labels[order], -1),
            valid=valid,
        )
        return detections, order


class BoxEmbed(nn.Module):
    """Layers `fc1`, `fc2`, `fc3`, which read a box from a query's answer, before the sigmoid."""

    settings: TransformerSettings

    @nn.compact
    def __call__(self, x: Float[Array, "b q d"]) -> Float[Array, "b q 4"]:
        for i, width in enumerate((self.settings.features, self.settings.features, 4), start=1):
            x = Dense(width, layers=self.settings.layers, name=f"fc{i}")(x)
            x = nn.relu(x) if i < 3 else x
        return x


def content(
    size: tuple[int, int], canvas: tuple[int, int], content_sizes: Sizes
) -> Bool[Array, "b {size[0]} {size[1]}"]:
    """Tells which cells of a map hold content: those whose first pixel does.

    Args:
      size: of the map.
      canvas: of the images, in pixels.
      content_sizes: height and width of each image's content, in pixels.
    """
    rows, columns = (
        jnp.asarray(np.arange(n) * pixels // n) for n, pixels in zip(size, canvas, strict=True)
    )
    inside_rows = rows[None] < content_sizes[:, :1]
    inside_columns = columns[None] < content_sizes[:, 1:]
    return inside_rows[:, :, None] & inside_columns[:, None, :]


def looks(outputs: Outputs, canvas: tuple[int, int], most: int = 4) -> Outputs:
    """Chooses attention for pictures: the outputs `surest` and `attention_maps` of `DETR`.

    Args:
      outputs: with all attention.
      canvas: of the images, in pixels.
      most: queries.
    """
    scores = jax.nn.softmax(outputs["class_logits"])[..., :-1].max(-1)
    surest = jax.lax.top_k(scores, min(most, scores.shape[1]))[1]
    to, within = outputs["decoder_attention"], outputs["encoder_attention"]

    def per_image(to, within, boxes, size, surest):
        grid = jnp.asarray(within.shape[:2], jnp.float32)
        middle = boxes[surest, 1::-1] * (size * grid / jnp.asarray(canvas))[None]
        row, column = jnp.clip(middle.astype(jnp.int32), 0, grid.astype(jnp.int32)[None] - 1).T
        return jnp.stack([to[surest], within[row, column]], 1)

    maps = jax.vmap(per_image)(
        to, within, outputs["relative_boxes"], outputs["image_sizes"], surest
    )
    return {"surest": surest, "attention_maps": maps}


def relative_truth(
    targets: Targets, content_sizes: Sizes, valid: Valid
) -> tuple[Float[Array, "b m 4"], Int[Array, "b m"], Bool[Array, "b m"]]:
    """Returns the objects' boxes, cxcywh in shares of the content; labels; and which there are."""
    gt_boxes = box_ops.convert(jnp.asarray(targets.boxes), "xyxy", "cxcywh")
    scale = jnp.tile(content_sizes[:, ::-1], (1, 2))[:, None]
    gt_valid = jnp.asarray(targets.valid) & valid[:, None]
    return gt_boxes / scale.astype(gt_boxes.dtype), jnp.asarray(targets.labels), gt_valid


def detr_resnet(
    depth: int = 50,
    num_classes: int = 80,
    dilated: bool = False,
    num_queries: int = 100,
    layers: Layers = FROZEN,
) -> DETR:
    """Makes DETR on one of the ResNets of `DEPTHS`, as the authors' code has it.

    Args:
      depth: of the ResNet.
      num_classes: without "no object".
      dilated: conv5_x keeps conv4_x's resolution (DC5): four times as many places.
      num_queries: detections per image.
      layers: of the backbone; the transformer has its eps and precision.
    """
    stages, block = DEPTHS[depth]
    dilate = (False, False, dilated)
    settings = TransformerSettings(layers=layers.without_norm())
    return DETR(
        ResNet(stages=stages, block=block, dilate=dilate, layers=layers),
        num_classes,
        encoder=Encoder(settings=settings),
        decoder=Decoder(settings=settings),
        num_queries=num_queries,
        layers=layers.without_norm(),
    )


_DOC = "Makes DETR on {}; see `detr_resnet`."
DETRResNet50 = variant("DETRResNet50", detr_resnet, _DOC.format("ResNet-50"), depth=50)
DETRResNet101 = variant("DETRResNet101", detr_resnet, _DOC.format("ResNet-101"), depth=101)
DETRResNet50DC5 = variant(
    "DETRResNet50DC5", detr_resnet, _DOC.format("a dilated ResNet-50"), depth=50, dilated=True
)
DETRResNet101DC5 = variant(
    "DETRResNet101DC5", detr_resnet, _DOC.format("a dilated ResNet-101"), depth=101, dilated=True
)
