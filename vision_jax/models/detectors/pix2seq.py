"""Pix2seq: A Language Modeling Framework for Object Detection (Chen et al. 2021, arXiv:2109.10852).

Objects are read from an image as a sentence is written: top, left, bottom, right and class of one
after the other, each a token of one vocabulary. `ops.pix2seq` has the sequences' rules.

Parameters: `backbone`, `input_proj` (1x1) and `input_norm`, `encoder`; `memory_proj`,
`memory_norm` and `memory_branch`, between encoder and decoder; `words`, the tokens' vectors, which
are read and written with, `positions`, `decoder`, `bias`. Initialisation: Xavier uniform, vectors
N(0, 0.02), zero biases. All is padded to one canvas, which coordinates are shares of.
"""

import dataclasses
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

from vision_jax.models.classifiers.resnet import DEPTHS, ResNet
from vision_jax.models.detectors.detector import DetectorModule, Outputs, Sizes, Valid
from vision_jax.models.detectors.detr import FROZEN, content
from vision_jax.models.layers import (
    HEAD_LAYER,
    NO_NORM,
    Conv,
    Decoder,
    Dense,
    Encoder,
    FeedForward,
    Images,
    Keys,
    LayerCache,
    LayerNorm,
    Layers,
    LearnedPositions,
    Patches,
    TransformerSettings,
    at_least_float32,
    causal,
    compute_dtype,
    variant,
)
from vision_jax.models.layers.attention import xavier
from vision_jax.models.layers.dropout import required
from vision_jax.ops import boxes as box_ops
from vision_jax.ops import initializers, losses, pix2seq
from vision_jax.ops.pix2seq import Layout, SequenceTargets
from vision_jax.ops.positions import grid_sines
from vision_jax.structs import Detections, Targets, Terms

# Numbers of what draws, after those of the encoder and the decoder; see `Dropout`.
_MEMORY, _SEQUENCES = 3 * HEAD_LAYER, 4 * HEAD_LAYER
SETTINGS = TransformerSettings(
    hidden=1024,
    dropout=0.0,
    attention_dropout=0.0,
    drop_path=0.1,
    norm_first=True,
    activation="gelu",
    layers=NO_NORM.replace(eps=1e-6),
)

Tokens = Int[Array, "b t"]
Memory = Float[Array, "b k d"]


class _Writing(NamedTuple):
    """A sequence while it is written."""

    token: Int[Array, "b"]  # the last one
    caches: tuple[LayerCache, ...]


class Pix2Seq(DetectorModule):
    """A detector that writes its detections, token by token.

    Fields:
      backbone: any backbone.
      num_classes: of objects.
      endpoint: the map that is encoded.
      project: whether `input_proj` gives the map the encoder's width; else it has it, as `Patches`.
      encoder, decoder: pre-norm; their widths may differ.
      max_detections: objects that are written; trained with are as many.
      max_length: positions; at least five for each object.
      bins: of a coordinate.
      first_class, first_coordinate: tokens of label 0 and of bin 0; classes come first.
      vocabulary: number of tokens; at least `first_coordinate` + `bins`.
      order: of the objects in training: 'random', anew in every step, or by falling 'area'.
      noise_objects: whether sequences are filled with made-up objects in training (section 2.3).
      noise_weight: of a made-up object's class in the loss.
      end_weight: of the end, and of all after it.
      corrupt_classes: whether the decoder reads random classes in training, with noise objects.
      label_smoothing: see `losses.cross_entropy`; the authors' recipes have 0.
      top_k, top_p: which tokens are drawn from, see `ops.pix2seq.top_logits`; `top_k=1` is greedy.
      seed: of the draws. They are the same for all images, so that an image's answer is its own.
      score_threshold: detections have a greater score.
      layers: settings of the layers between the parts, which have no norm.

    Raises:
      ValueError: fields that do not fit together.
    """

    backbone: nn.Module
    num_classes: int = 80
    endpoint: str = "conv5_x"
    project: bool = True
    encoder: Encoder = Encoder(settings=SETTINGS)
    decoder: Decoder = Decoder(settings=SETTINGS)
    max_detections: int = 100
    max_length: int = 512
    bins: int = 1000
    first_class: int = 101
    first_coordinate: int = 1000
    vocabulary: int = 3000
    order: Literal["random", "area"] = "random"
    noise_objects: bool = True
    noise_weight: float = 1.0
    end_weight: float = 0.1
    corrupt_classes: bool = True
    label_smoothing: float = 0.0
    top_k: int = 0
    top_p: float = 0.4
    seed: int = 0
    score_threshold: float = 0.0
    layers: Layers = SETTINGS.layers

    shown: ClassVar[tuple[str, ...]] = ("written",)

    def setup(self):
        self._check()
        inside, outside = self.encoder.settings, self.decoder.settings
        if self.project:
            self.input_proj = Conv(inside.features, 1, kernel_init=xavier, layers=self.layers)
        self.input_norm, self.memory_norm = LayerNorm(self.layers), LayerNorm(self.layers)
        self.memory_proj = Dense(outside.features, kernel_init=xavier, layers=self.layers)
        self.memory_branch = FeedForward(outside, _MEMORY)
        vectors = {"features": outside.features, "std": 0.02, "layers": self.layers}
        self.words = LearnedPositions(self.vocabulary, **vectors)
        self.positions = LearnedPositions(self.max_length, **vectors)
        self.bias = self.param("bias", initializers.zeros, (self.vocabulary,))

    def __call__(
        self,
        images: Images,
        sizes: Sizes,
        targets: Targets | None = None,
        *,
        train: bool = False,
        keys: Keys = None,
    ) -> Outputs:
        """Reads given objects one after the other, or writes its own without any.

        With t = 5 n, n = `max_detections`; `structs.Detector` has the arguments.

        tokens: (b, t), those that are likeliest after the given ones, or those that were written.
        class_logits: (b, n, v), of the whole vocabulary, at the places of classes.
        written: (b, n, 5), the objects of `tokens` as `ops.pix2seq.tell_objects` has them.
        canvas_sizes: (b, 2), height and width that coordinates are shares of.
        token_logits, token_targets, token_weights: (b, t, …), of given objects, for the loss.
        """
        height, width = images.shape[1:3]
        _, memory = self.encode(images, sizes, train=train, keys=keys)
        canvas = jnp.asarray([height, width], jnp.float32)
        outputs = {"canvas_sizes": jnp.broadcast_to(canvas, (len(images), 2))}
        if targets is not None and targets.boxes is not None:
            sequences = self.sequences(targets, canvas, keys)
            logits = self.read(sequences.inputs, memory, train=train, keys=keys)
            tokens = jnp.argmax(logits, -1).astype(jnp.int32)
            outputs |= {"token_logits": logits, "token_targets": sequences.targets}
            outputs["token_weights"] = sequences.weights
        elif self.is_initializing():
            tokens = jnp.zeros((len(images), self.length), jnp.int32)
            logits = self.read(tokens, memory)
        else:
            start = jnp.full(len(images), self.layout.task, jnp.int32)
            tokens, logits = self.write(start, memory, self.length)
        last = pix2seq.PER_OBJECT - 1
        outputs["class_logits"] = logits[:, last :: pix2seq.PER_OBJECT]
        tell = jax.vmap(lambda row: pix2seq.tell_objects(row, self.num_classes, self.layout))
        return outputs | {"tokens": tokens, "written": tell(tokens)}

    def loss(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Computes `token`, the weighted mean of the tokens' cross-entropies over the batch."""
        smooth = self.label_smoothing
        each = losses.cross_entropy(outputs["token_logits"], outputs["token_targets"], smooth)
        weights = jnp.where(valid[:, None], outputs["token_weights"], 0)
        return {"token": (jnp.sum(each * weights), jnp.sum(weights))}

    def metrics(self, outputs: Outputs, targets: Targets, valid: Valid) -> Terms:
        """Returns the share of right tokens among those that weigh anything."""
        counted = valid[:, None] & (outputs["token_weights"] > 0)
        right = counted & (outputs["tokens"] == outputs["token_targets"])
        return {"top1": (right.sum(dtype=jnp.float32), counted.sum(dtype=jnp.float32))}

    def detect(self, outputs: Outputs, sizes: Sizes) -> Detections:
        """Reads the detections that were written, the best first, cut at the content's border."""
        names = ("tokens", "class_logits", "canvas_sizes")
        return jax.vmap(self._best)(*(outputs[name] for name in names), sizes)

    @property
    def layout(self) -> Layout:
        """Where the vocabulary has what."""
        first = {"classes": self.first_class, "coordinates": self.first_coordinate}
        return Layout(self.bins, **first)

    @property
    def length(self) -> int:
        """Number of tokens that are written."""
        return pix2seq.PER_OBJECT * self.max_detections

    def encode(
        self, images: Images, sizes: Sizes, *, train: bool = False, keys: Keys = None
    ) -> tuple[Float[Array, "b k e"], Memory]:
        """Returns the encoder's places, and what the decoder looks at, (b, k, d)."""
        canvas = images.shape[1:3]
        images = jnp.where(content(canvas, canvas, sizes)[..., None], images, 0)
        places = self.backbone(images, train=train, keys=keys)[self.endpoint]
        places = self.input_proj(places) if self.project else places
        b, h, w, features = places.shape
        encoded = self._placed(self.input_norm(places.reshape(b, h * w, features)), h, w)
        encoded, _ = self.encoder(encoded, train=train, keys=keys)
        memory = self._placed(self.memory_norm(self.memory_proj(encoded)), h, w)
        return encoded, self.memory_branch(memory, train=train, keys=keys)

    def sequences(self, targets: Targets, canvas: Float[Array, "2"], keys: Keys) -> SequenceTargets:
        """Makes the sequences of a batch's objects, (b, t) each.

        Of more than `max_detections` objects the first are taken, after they were put in order.

        Args:
          targets: with boxes.
          canvas: height and width of the images.
          keys: of the examples, for order, made-up objects and corrupted classes.

        Raises:
          ValueError: there are no keys.
        """
        keys = required(keys, "a sequence of objects")
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _SEQUENCES)
        labels = jnp.where(jnp.asarray(targets.valid), targets.labels, pix2seq.PADDING)
        boxes = jnp.asarray(targets.boxes) / jnp.tile(canvas[::-1], 2)[None, None]
        return jax.vmap(self._sequence)(keys, boxes, labels.astype(jnp.int32))

    def read(
        self, tokens: Tokens, memory: Memory, *, train: bool = False, keys: Keys = None
    ) -> Float[Array, "b t v"]:
        """Returns the logits of the token after each of the given ones."""
        count = tokens.shape[1]
        x = jnp.take(self.words(), tokens, axis=0) + self.positions()[None, :count]
        answers, _ = self.decoder(x, memory, mask=causal(count), train=train, keys=keys)
        return self._logits(answers[-1])

    def write(
        self, start: Int[Array, "b"], memory: Memory, length: int
    ) -> tuple[Tokens, Float[Array, "b t v"]]:
        """Writes `length` tokens after `start` in one scan that keeps keys and values.

        Returns:
          The tokens, and the logits that each was drawn from.
        """
        caches = self.decoder.start(memory, None, length)
        key, shape = jax.random.key(self.seed), (length, self.vocabulary)
        noise = jnp.zeros((length, 1)) if self.top_k == 1 else jax.random.gumbel(key, shape)
        scan = nn.scan(
            Pix2Seq._write_one,
            variable_broadcast="params",
            split_rngs={"params": False},
            out_axes=1,
        )
        _, (tokens, logits) = scan(self, _Writing(start, caches), (jnp.arange(length), noise))
        return tokens, logits

    def _write_one(
        self, writing: _Writing, at: tuple[Int[Array, ""], Float[Array, "#v"]]
    ) -> tuple[_Writing, tuple]:
        """Writes one token, by its number and the noise that it is drawn with."""
        index, noise = at
        x = jnp.take(self.words(), writing.token, axis=0) + self.positions()[index][None]
        x, caches = self.decoder.step(x[:, None], writing.caches, index)
        logits = self._logits(x)[:, 0]
        likely = pix2seq.top_logits(logits, self.top_k, self.top_p)
        token = jnp.argmax(likely + noise.astype(likely.dtype)[None], -1).astype(jnp.int32)
        return _Writing(token, caches), (token, logits)

    def _logits(self, x: Float[Array, "b t d"]) -> Float[Array, "b t v"]:
        """Compares answers with the vectors of all tokens."""
        return at_least_float32(x @ self.words().T) + self.bias[None, None]

    def _placed(self, x: Float[Array, "b k d"], height: int, width: int) -> Float[Array, "b k d"]:
        """Adds the code of a map's places."""
        code = grid_sines(height, width, x.shape[-1]).reshape(1, height * width, -1)
        return x + code.astype(compute_dtype(self.layers.dtype, x))

    def _sequence(self, key: Key[Array, ""], boxes: Array, labels: Array) -> SequenceTargets:
        """Makes one image's sequence."""
        order, noise, classes = jax.random.split(key, 3)
        if self.order == "random":
            boxes, labels = pix2seq.shuffle_objects(order, boxes, labels)
        else:
            boxes, labels = pix2seq.sort_objects(boxes, labels)
        room = (0, max(0, self.max_detections - len(labels)))
        labels = jnp.pad(labels, room, constant_values=pix2seq.PADDING)[: self.max_detections]
        boxes = jnp.pad(boxes, (room, (0, 0)))[: self.max_detections]
        seen = None
        if self.noise_objects:
            boxes, labels = pix2seq.add_noise_objects(noise, boxes, labels)
        tokens = pix2seq.object_tokens(boxes, labels, self.layout)
        if self.noise_objects and self.corrupt_classes:
            seen = pix2seq.corrupt_classes(classes, tokens, self.layout)
        weights = self.noise_weight, self.end_weight, self.layout
        return pix2seq.sequence_targets(tokens, labels, self.length, seen, *weights)

    def _best(self, tokens: Array, class_logits: Array, canvas: Array, size: Array) -> Detections:
        """Ranks one image's objects; a box without a side is none."""
        found = pix2seq.decode_objects(tokens, class_logits, self.num_classes, self.layout)
        boxes = found.boxes * jnp.tile(canvas[::-1], 2)[None]
        boxes = box_ops.clip(boxes, size[0], size[1])
        there = (boxes[:, 2:] > boxes[:, :2]).all(-1) & (found.scores > self.score_threshold)
        order = jnp.argsort(jnp.where(there, -found.scores, jnp.inf), stable=True)
        boxes, there = boxes[order], there[order]
        return Detections(
            boxes=jnp.where(there[:, None], boxes, 0),
            scores=jnp.where(there, found.scores[order], 0),
            labels=jnp.where(there, found.labels[order], -1),
            valid=there,
        )

    def _check(self) -> None:
        """Refuses fields that do not fit together; see the class."""
        if self.length > self.max_length:
            text = f"max_detections={self.max_detections}: {self.length} tokens do not fit into"
            raise ValueError(f"{text} max_length={self.max_length}")
        if self.layout.classes + self.num_classes > self.first_coordinate:
            text = f"num_classes={self.num_classes}: their tokens reach up to first_coordinate="
            raise ValueError(f"{text}{self.first_coordinate}; make it greater")
        if self.first_coordinate + self.bins > self.vocabulary:
            text = f"bins={self.bins} from first_coordinate={self.first_coordinate} do not fit into"
            raise ValueError(f"{text} vocabulary={self.vocabulary}")
        if not (self.encoder.settings.norm_first and self.decoder.settings.norm_first):
            raise ValueError("Pix2Seq's encoder and decoder need settings with norm_first=True")


def pix2seq_resnet(depth: int = 50, num_classes: int = 80, layers: Layers = FROZEN) -> Pix2Seq:
    """Makes Pix2Seq on one of the ResNets of `DEPTHS`, the network of the paper's table 1.

    Args:
      depth: of the ResNet.
      num_classes: of objects.
      layers: of the backbone; the rest has its precision.
    """
    stages, block = DEPTHS[depth]
    plain = SETTINGS.layers.replace(dtype=layers.dtype)
    settings = dataclasses.replace(SETTINGS, layers=plain)
    return Pix2Seq(
        ResNet(stages=stages, block=block, layers=layers),
        num_classes,
        encoder=Encoder(settings=settings),
        decoder=Decoder(settings=settings),
        layers=plain,
    )


def pix2seq_vit(
    depth: int = 12,
    features: int = 768,
    heads: int = 12,
    num_classes: int = 80,
    layers: Layers = SETTINGS.layers,
) -> Pix2Seq:
    """Makes Pix2Seq whose encoder is a vision transformer on patches of 16×16 pixels.

    The decoder has six layers of 512 features and 16 heads, as in the authors' configurations.

    Args:
      depth, features, heads: of the encoder.
      num_classes: of objects.
      layers: eps and precision of all layers.
    """
    shared = dataclasses.replace(SETTINGS, layers=layers)
    inside = dataclasses.replace(shared, features=features, heads=heads, hidden=4 * features)
    outside = dataclasses.replace(shared, features=512, heads=16, hidden=2048)
    return Pix2Seq(
        Patches(features, layers=layers),
        num_classes,
        endpoint="patches",
        project=False,
        encoder=Encoder(depth, inside),
        decoder=Decoder(settings=outside),
        layers=layers,
    )


_ON = "Makes Pix2Seq on ResNet-{}; see `pix2seq_resnet`."
_VIT = "Makes Pix2Seq on ViT-B/16; see `pix2seq_vit`."
Pix2SeqResNet50 = variant("Pix2SeqResNet50", pix2seq_resnet, _ON.format(50), depth=50)
Pix2SeqResNet101 = variant("Pix2SeqResNet101", pix2seq_resnet, _ON.format(101), depth=101)
Pix2SeqViTB16 = variant("Pix2SeqViTB16", pix2seq_vit, _VIT, depth=12)
