"""Image classification: one label per image (softmax) or any number of them (sigmoid)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from vision_jax.config import UserError
from vision_jax.ops import image as image_ops
from vision_jax.structs import Batch
from vision_jax.tasks import augment as augmentation

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Separate streams of an example's key, so that adding an augmentation moves no other draw.
_AUGMENT, _MIX, _MODEL = range(3)


@dataclasses.dataclass(frozen=True)
class Classification:
    """A classifier and how it is trained.

    Attributes:
      model: `image → dict` with `logits` (b, k), and `aux_logits` where the paper has them.
      mean, std: per channel, of pixels scaled to 0..1; the network sees (x / 255 - mean) / std.
      augment: parts of `tasks.augment`, in order; training only.
      smoothing: label smoothing ε. `smoothing_form` 'uniform' gives ε/n to every class
        (Szegedy et al. 2015, section 7), 'others' ε/(n-1) to each wrong one (He et al. 2018).
      mixup, cutmix: α of the Beta distribution from which λ is drawn per pair of neighbours; 0
        is off, 1 makes λ uniform (Zhang et al. 2017; Yun et al. 2019). With both, a fair coin
        per pair decides.
      multilabel: sigmoid and binary cross-entropy instead of softmax; labels are (b, k) in 0..1.
      aux_weight: weight of each auxiliary head's loss.
    """

    model: nn.Module
    mean: tuple = IMAGENET_MEAN
    std: tuple = IMAGENET_STD
    augment: tuple = ()
    smoothing: float = 0.0
    smoothing_form: str = "uniform"
    mixup: float = 0.0
    cutmix: float = 0.0
    multilabel: bool = False
    aux_weight: float = 0.3

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple] = ("logits",)

    def __post_init__(self):
        if self.smoothing_form not in ("uniform", "others"):
            raise UserError(f"smoothing_form {self.smoothing_form!r}: use 'uniform' or 'others'")
        if self.smoothing and self.multilabel:
            raise UserError("smoothing is for softmax classification; set it to 0 with multilabel")

    def init(self, key: Key[Array, ""], batch: Batch) -> dict[str, Any]:
        """Fresh variables (`params` and collections) for images shaped like the batch's.

        Args:
          key: all of the initialisation derives from it.
          batch: arrays, or only their shapes.
        """
        # One row is enough, and so little is computed that the device does not matter.
        return initialise(self.model, key, jnp.zeros((1, *batch.image.shape[-3:])))

    def normalize(self, image: Array) -> Float[Array, "*b h w c"]:
        """uint8 or 0..255 float pixels → what the network sees."""
        return image_ops.normalize(image, self.mean, self.std)

    def prepare(
        self, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b ..."] | None]:
        """What the network is fed in training: augmented, mixed and normalised images, and the λ.

        Returns:
          The images, and the per-example weights with which each takes its own label, the rest
          going to its neighbour's; None without mixing.
        """
        keys = _per_example(key, batch)
        image = batch.image.astype(jnp.float32)
        image = augmentation.apply_all(self.augment, image, _stream(keys, _AUGMENT))
        lam = None
        if self.mixup or self.cutmix:
            image, lam = image_ops.mix(image, _stream(keys, _MIX), self.mixup, self.cutmix)
        return self.normalize(image), lam

    def loss(
        self, variables: dict[str, Any], batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[dict[str, tuple[Array, Array]], dict[str, Any]]:
        """Sums and weights of the loss's terms, new collections, and training metrics.

        Args:
          variables: as from `init`.
          batch: labels (b,) int32, or (b, k) float32.
          key: the step's key, the same on every device.
          train: batch statistics, augmentation and dropout on.
        """
        collections = [name for name in variables if name != "params"]
        if train:
            image, lam = self.prepare(batch, key)
            outputs, updates = self.model.apply(
                variables,
                image,
                train=True,
                keys=_stream(_per_example(key, batch), _MODEL),
                mutable=collections,
            )
        else:
            lam, updates = None, {name: variables[name] for name in collections}
            outputs = self.model.apply(variables, self.normalize(batch.image))
        labels = self._labels(batch, outputs["logits"].shape[-1], lam)
        weight = batch.valid.astype(jnp.float32)
        terms = {"class": _masked(self._cross_entropy(outputs["logits"], labels), weight)}
        for number, logits in enumerate(outputs.get("aux_logits", ())):
            total, count = _masked(self._cross_entropy(logits, labels), weight)
            terms[f"aux{number + 1}"] = (self.aux_weight * total, count)
        metrics = {}
        if not self.multilabel:
            right = jnp.argmax(outputs["logits"], -1) == jnp.argmax(labels, -1)
            metrics["top1"] = _masked(right.astype(jnp.float32), weight)
        return terms, {"collections": dict(updates), "metrics": metrics}

    def predict(self, variables: dict[str, Any], batch: Batch) -> dict[str, Array]:
        """The network's outputs in evaluation.

        A batch of several crops per image, (b, crops, h, w, c), gives one answer per image: the
        crops' probabilities averaged (Krizhevsky et al. 2012, section 4.1), as logits again.
        """
        image = self.normalize(batch.image)
        if image.ndim == 4:
            return self.model.apply(variables, image)
        count, crops = image.shape[:2]
        logits = self.model.apply(variables, image.reshape(-1, *image.shape[2:]))["logits"]
        activation = jax.nn.log_sigmoid if self.multilabel else jax.nn.log_softmax
        logs = activation(logits.astype(jnp.float32)).reshape(count, crops, -1)
        mean = jax.nn.logsumexp(logs, axis=1) - jnp.log(crops)
        return {"logits": _logit(mean) if self.multilabel else mean}

    def describe(self, outputs: dict[str, Array], classes: tuple[str, ...]) -> list[dict[str, Any]]:
        """Each image's answer in JSON's types, with a `text` of one line for its picture.

        Args:
          outputs: `logits` (b, k) from `predict`.
          classes: their names; numbers stand in where names are missing.
        """
        logits = jnp.asarray(outputs["logits"], jnp.float32)
        scores = jax.nn.sigmoid(logits) if self.multilabel else jax.nn.softmax(logits)
        best, which = jax.lax.top_k(scores, min(5, scores.shape[-1]))
        answers = []
        for values, labels in zip(best.tolist(), which.tolist(), strict=True):
            names = [classes[i] if i < len(classes) else str(i) for i in labels]
            top = [
                {"class": name, "label": label, "probability": round(value, 6)}
                for name, label, value in zip(names, labels, values, strict=True)
            ]
            answers.append({"text": f"{names[0]} {values[0]:.0%}", "top": top})
        return answers

    def _labels(self, batch: Batch, classes: int, lam: Array | None) -> Float[Array, "b k"]:
        label = batch.targets.label
        if label.ndim == 1:
            # -1 marks a missing label; its row is all zero and its example is not valid.
            label = jax.nn.one_hot(label, classes)
            if self.smoothing:
                label = smooth(label, self.smoothing, self.smoothing_form)
        if lam is not None:
            lam = lam[:, None]
            label = lam * label + (1 - lam) * image_ops.neighbours(label)
        return label

    def _cross_entropy(
        self, logits: Float[Array, "b k"], labels: Float[Array, "b k"]
    ) -> Float[Array, "b"]:
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        if self.multilabel:
            return optax.losses.sigmoid_binary_cross_entropy(logits, labels).sum(-1)
        return optax.losses.softmax_cross_entropy(logits, labels)


def initialise(model: nn.Module, key: Key[Array, ""], *inputs: Any) -> dict[str, Any]:
    """A network's fresh variables for these inputs; compiled once for networks that are alike."""
    return _initialiser(jax.default_backend())(model, key, inputs)


@functools.cache
def _initialiser(platform: str) -> Callable:
    # It runs once: on the CPU, optimising it would take several times as long as running it.
    options = {"xla_backend_optimization_level": 0} if platform == "cpu" else None
    return jax.jit(
        lambda model, key, inputs: model.init(key, *inputs),
        static_argnums=0,
        compiler_options=options,
    )


def smooth(
    one_hot: Float[Array, "b k"], epsilon: float, form: str = "uniform"
) -> Float[Array, "b k"]:
    """Label smoothing; ε is `epsilon` in 0..1 and `form` as in `Classification`."""
    classes = one_hot.shape[-1]
    if form == "uniform":
        return one_hot * (1 - epsilon) + epsilon / classes
    return one_hot * (1 - epsilon) + (1 - one_hot) * epsilon / (classes - 1)


def _per_example(key: Key[Array, ""], batch: Batch) -> Key[Array, "b"]:
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch.index)


def _stream(keys: Key[Array, "b"], number: int) -> Key[Array, "b"]:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def _masked(value: Float[Array, "b"], weight: Float[Array, "b"]) -> tuple[Array, Array]:
    # `where` and not a product alone: a padded row may hold inf or nan.
    return jnp.where(weight > 0, value, 0).sum(), weight.sum()


def _logit(log_probability: Float[Array, "b k"]) -> Float[Array, "b k"]:
    return log_probability - jnp.log1p(-jnp.exp(jnp.minimum(log_probability, -1e-7)))
