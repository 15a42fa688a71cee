"""Embedding: images of one identity near each other, those of two apart (faces, products, …)."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Key

from vision_jax.config import one_of, within
from vision_jax.ops import losses, triplets
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.ops.normalize import l2_normalize, prewhiten
from vision_jax.ops.pool import adaptive_avg_pool
from vision_jax.structs import Batch, Terms
from vision_jax.tasks.descriptions import Answers
from vision_jax.tasks.task import ImageTask, Variables

_DEVICE_AXIS = "data"  # the mapped axis that a step's batch is spread over
_PIXELS = 16  # side of the pictures that are compared as they are


class _Everyone(NamedTuple):
    """The rows of all devices' batches."""

    embedding: Array  # (n, d), of length 1
    features: Array  # (n, d)
    labels: Array  # (n,)
    valid: Array  # (n,) bool
    own: Array  # (n,) bool: this device's


@dataclasses.dataclass(frozen=True)
class Embedding(ImageTask):
    """An embedder and how it is trained, by triplets, pairs or classes within each batch.

    Batches need several images of one identity, see `data.Train.per_class`. Triplets and pairs are
    formed over the whole batch on however many devices, but within a micro-batch under
    `accumulate`.

    Attributes:
      model: `images → dict` with `embedding` (b, d), of length 1, `features` (b, d), and `logits`
        where identities are classified.
      triplet_weight: factor of the triplet loss on squared distances of embeddings (Schroff et al.
        2015); 0 is off.
      mining: 'semi_hard', each pair with its nearest negative that is farther than the positive, or
        the farthest one (`ops.losses.semi_hard_triplets`); 'hardest', each anchor with its farthest
        positive and nearest negative (Hermans et al. 2017); 'all', the mean over all triplets that
        violate the margin.
      margin: of the triplet loss.
      class_weight: factor of the cross-entropy of identities; 0 is off.
      verification_weight: factor of DeepID2's loss on all pairs of features (Sun et al. 2014, eq.
        2), half of it for the mean over pairs of one identity and half over pairs of two; 0 is off.
      verification_margin: distance from which two identities cost nothing.
      mean, std, augment: see `ImageTask`.

    Raises:
      UserError: another mining, or a negative number.
    """

    triplet_weight: float = 1.0
    mining: str = "semi_hard"
    margin: float = 0.2
    class_weight: float = 0.0
    verification_weight: float = 0.0
    verification_margin: float = 1.0

    # Outputs that a run's pictures are made from.
    shown: ClassVar[tuple[str, ...]] = ("embedding",)

    def __post_init__(self):
        one_of(self, mining=("semi_hard", "hardest", "all"))
        weights = ("triplet_weight", "class_weight", "verification_weight")
        within(self, "[0, inf)", *weights, "margin", "verification_margin")

    def loss(
        self, variables: Variables, batch: Batch, key: Key[Array, ""], train: bool = True
    ) -> tuple[Terms, dict[str, Any]]:
        """Computes the terms 'triplet', 'class', 'same' and 'different', as far as they are on.

        Metrics: `active`, the share of triplets that cost something; `top1` with classes. See
        `Task.loss` for the arguments.
        """
        outputs, _, updates = self.forward(variables, batch, key, train)
        terms: Terms = {}
        metrics: Terms = {}
        everyone = _gathered(outputs, batch)
        if self.triplet_weight:
            loss, counted = self._triplets(everyone)
            count = counted.sum(dtype=jnp.float32)
            terms["triplet"] = self.triplet_weight * jnp.where(counted, loss, 0).sum(), count
            metrics["active"] = (counted & (loss > 0)).sum(dtype=jnp.float32), count
        if self.verification_weight:
            terms |= self._pairs(everyone)
        if self.class_weight:
            logits, labels = at_least_float32(outputs["logits"]), _labels(batch)
            loss = losses.cross_entropy(logits, labels, mask=batch.valid)
            count = (batch.valid & (labels >= 0)).sum(dtype=jnp.float32)
            terms["class"] = self.class_weight * loss.sum(), count
            right = batch.valid & (jnp.argmax(logits, -1) == labels)
            metrics["top1"] = right.sum(dtype=jnp.float32), count
        return terms, {"collections": updates, "metrics": metrics}

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """Returns the network's outputs in evaluation, and `pixels` (b, 256 c).

        These are the pictures themselves, as a peer: averaged to 16x16, prewhitened, of length 1.
        """
        images = self.normalize(batch.pixels)
        small = prewhiten(adaptive_avg_pool(images, _PIXELS))
        pixels = l2_normalize(small.reshape(len(small), -1))
        return {**self.apply(variables, images), "pixels": pixels}

    def describe(
        self, outputs: dict[str, Any], classes: tuple[str, ...], threshold: float | None = None
    ) -> Answers:
        """Tells each image's embedding; see `Task.describe`. Nothing has a score."""
        rows = np.asarray(outputs["embedding"], np.float32)
        text = f"{rows.shape[1]} numbers"
        return [
            {"text": text, "embedding": [round(float(value), 6) for value in row]} for row in rows
        ]

    def _triplets(self, everyone: _Everyone) -> tuple[Array, Array]:
        """Returns the losses of triplets with an anchor of this device, and which count."""
        x, labels, valid, own = (
            everyone.embedding,
            everyone.labels,
            everyone.valid,
            everyone.own,
        )
        if self.mining == "semi_hard":
            loss, counted = losses.semi_hard_triplets(x, labels, self.margin, valid)
            return loss, counted & own[:, None]
        squared = triplets.squared_distances(x)
        if self.mining == "hardest":
            chosen = triplets.hardest_triplets(squared, labels, valid)
            rows = jnp.arange(len(x))
            gap = squared[rows, chosen.positive] - squared[rows, chosen.negative]
            return jnp.maximum(gap + self.margin, 0), chosen.valid & own
        counted = triplets.mined_triplets(squared, labels, self.margin, "all", valid)
        gap = squared[:, :, None] - squared[:, None]
        return jnp.maximum(gap + self.margin, 0), counted & own[:, None, None]

    def _pairs(self, everyone: _Everyone) -> Terms:
        """Computes DeepID2's loss on pairs whose first is this device's."""
        x, count = everyone.features, len(everyone.features)
        same, different = triplets.pairs(everyone.labels, everyone.valid)
        shape = (count, count, x.shape[-1])
        one, two = jnp.broadcast_to(x[:, None], shape), jnp.broadcast_to(x[None], shape)
        loss = losses.verification(one, two, same, self.verification_margin, same | different)
        terms: Terms = {}
        for name, mask in (("same", same), ("different", different)):
            mask &= everyone.own[:, None]
            total = 0.5 * self.verification_weight * jnp.where(mask, loss, 0).sum()
            terms[name] = total, mask.sum(dtype=jnp.float32)
        return terms


def _gathered(outputs: dict[str, Any], batch: Batch) -> _Everyone:
    """Brings the rows of all devices together; each device's loss has its own as anchors."""
    embedding, features = (at_least_float32(outputs[k]) for k in ("embedding", "features"))
    labels = _labels(batch)
    valid = batch.valid & (labels >= 0)
    if not _is_mapped():
        return _Everyone(embedding, features, labels, valid, jnp.ones_like(valid))
    own = jnp.isin(_all(batch.index), batch.index)
    return _Everyone(_all(embedding), _all(features), _all(labels), _all(valid), own)


def _all(x: Array) -> Array:
    return lax.all_gather(x, _DEVICE_AXIS, tiled=True)


def _labels(batch: Batch) -> Array:
    labels = batch.targets.label
    if labels is None or labels.ndim != 1:
        raise ValueError("an embedding needs batches with targets.label, one per image")
    return labels


def _is_mapped() -> bool:
    try:
        return lax.axis_size(_DEVICE_AXIS) > 1
    except NameError:
        return False
