"""What a network says of a picture, as scores that pictures of its reasons start from."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vision_jax import models, visualize
from vision_jax.inspect import Network
from vision_jax.inspect.attribution import Score
from vision_jax.inspect.programs import Outputs
from vision_jax.ops import boxes as box_ops
from vision_jax.structs import Detections, Detector
from vision_jax.tasks.descriptions import describe_classes
from vision_jax.visualize.captions import named

Images = Float[Array, "1 h w c"]
Evidence = Callable[[Outputs], Float[Array, "b"]]
_SIDE = 256  # pixels of a picture with a box
_SAME_PLACE = 0.5  # IoU from which two detections are of one object


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer of a network, and how sure it is of a class, as functions of the image.

    Attributes:
      text: the answer in one line.
      picture: the image with the answer drawn in, uint8 (h, w, 3).
      labels: classes, the one that is explained first; () where there are none.
      score_of: makes of a label the score that gradients start from, a logit, as a function of the
        network's outputs; None where there is none.
      covered: what is measured while parts are covered, 0..1; None where there is nothing.
      measured: the name of that.
    """

    text: str
    picture: np.ndarray
    labels: tuple[int, ...] = ()
    score_of: Callable[[Any], Evidence] | None = None
    covered: Score | None = None
    measured: str = ""


def answer_of(
    network: Network,
    images: Images,
    shown: np.ndarray,
    classes: tuple[str, ...],
    label: int | None = None,
    multilabel: bool = False,
) -> Answer:
    """Asks a network about an image.

    Args:
      network: a classifier, segmenter or detector has classes to explain; an embedder is compared
        with itself.
      images: one image as the network is fed it.
      shown: it in colours, (h, w, 1 or 3) in 0..1.
      classes: their names, or ().
      label: the class to explain; None takes the one that the network is surest of, of a
        segmenter the one with the most pixels, the first, which is mostly background, left out.
      multilabel: whether probabilities are sigmoids.
    """
    if isinstance(network.model, Detector):
        return _objects(network, images, shown, classes, label)
    outputs = jax.jit(network)(images)
    if "logits" in outputs and outputs["logits"].ndim == 2:
        return _classes(network, outputs["logits"], shown, classes, label, multilabel)
    if "logits" in outputs and outputs["logits"].ndim == 4:
        return _pixels(network, outputs["logits"], shown, classes, label)
    picture = visualize.to_rgb(shown)
    if "embedding" in outputs:
        base = outputs["embedding"]

        def similarity(x: Images) -> Float[Array, "1"]:
            return _cosine(network(x)["embedding"], base)

        text = f"an embedding of {base.shape[-1]} numbers"
        return Answer(text, picture, covered=similarity, measured="similarity to itself")
    listed = ", ".join(f"{name} {'×'.join(map(str, x.shape[1:]))}" for name, x in outputs.items())
    return Answer(f"no classes, but {listed}", picture)


def _classes(network, logits, shown, classes, label, multilabel) -> Answer:
    squash = jax.nn.sigmoid if multilabel else jax.nn.softmax
    order = np.argsort(-np.asarray(logits[0], np.float32), kind="stable").tolist()
    labels = tuple(order[:3]) if label is None else (label,)
    top = describe_classes(logits, classes, None, multilabel)[0]["top"]
    text = ", ".join(f"{one['class']} {one['probability']:.1%}" for one in top[:3])

    def score_of(label: Any) -> Evidence:
        return lambda outputs: outputs["logits"][:, label]

    def covered(x: Images) -> Float[Array, "1"]:
        return squash(network(x)["logits"].astype(jnp.float32))[:, labels[0]]

    measured = f"probability of {named(labels[0], classes)}"
    return Answer(text, visualize.to_rgb(shown), labels, score_of, covered, measured)


def _pixels(network, logits, shown, classes, label) -> Answer:
    predicted = np.asarray(logits[0].argmax(-1))
    counts = np.bincount(predicted.ravel(), minlength=logits.shape[-1])
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda k: (k == 0, -counts[k]))
    chosen = order[0] if label is None else label
    region = jnp.asarray(predicted == chosen, jnp.float32)
    region = (region if region.any() else jnp.ones_like(region))[None]

    def inside(values: Float[Array, "1 h w"]) -> Float[Array, "1"]:
        return (values * region).sum((1, 2)) / region.sum()

    def score_of(label: Any) -> Evidence:
        return lambda outputs: inside(outputs["logits"][..., label])

    def covered(x: Images) -> Float[Array, "1"]:
        return inside(jax.nn.softmax(network(x)["logits"].astype(jnp.float32))[..., chosen])

    shares = [f"{named(k, classes)} {counts[k] / predicted.size:.0%}" for k in order[:4]]
    picture = visualize.to_rgb(shown)
    if predicted.shape == picture.shape[:2]:
        picture = visualize.draw_semantic(predicted.astype(np.int32), picture)
    measured = f"mean probability of {named(chosen, classes)} in its region"
    return Answer(", ".join(shares), picture, (chosen,), score_of, covered, measured)


def _objects(network, images, shown, classes, label) -> Answer:
    """Explains the surest detection, or the surest one of a class."""

    def detected(x: Images) -> Detections:
        # The outputs as the network makes them: `detect` reads more than flat arrays.
        outputs = network.model.apply(network.variables, x, *network.others)
        return network.model.detect(outputs, network.others[0])

    found = jax.tree.map(np.asarray, jax.jit(detected)(images))
    is_asked = found.valid[0] & (True if label is None else found.labels[0] == label)
    slots = np.flatnonzero(is_asked)
    picture = visualize.to_rgb(shown)
    if not len(slots):
        return Answer("no object" + ("" if label is None else " of that class"), picture)
    slot = slots[0]
    chosen, box = int(found.labels[0, slot]), found.boxes[0, slot]
    text = f"{named(chosen, classes)} {found.scores[0, slot]:.1%}"
    large = visualize.enlarge(picture, _SIDE)  # room for the class's name
    scale = np.array(large.shape[:2]) / picture.shape[:2]
    place = box * np.tile(scale[::-1], 2)
    picture = visualize.draw_boxes(large, place[None], np.array([chosen]), classes)

    def covered(x: Images) -> Float[Array, "1"]:
        detections = detected(x)
        overlap = box_ops.iou(detections.boxes, jnp.asarray(box)[None, None])
        is_same = (detections.labels == chosen) & detections.valid & (overlap >= _SAME_PLACE)
        return jnp.where(is_same, detections.scores, 0).max(1)

    logits, score_of = jax.eval_shape(network, images).get("class_logits"), None
    if logits is not None and logits.ndim == 3:
        # Background, where a class of its own, is first; in YOLO v1's form of the lecture last.
        is_last = isinstance(network.model, models.YOLOv1)
        offset = 0 if is_last else logits.shape[-1] - network.model.num_classes

        def score_of(label: Any) -> Evidence:
            return lambda outputs: outputs["class_logits"][..., label + offset].max(1)

    measured = f"score of this {named(chosen, classes)}"
    return Answer(text, picture, (chosen,), score_of, covered, measured)


def _cosine(a: Float[Array, "b d"], b: Float[Array, "b d"]) -> Float[Array, "b"]:
    size = jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / jnp.maximum(size, 1e-12)
