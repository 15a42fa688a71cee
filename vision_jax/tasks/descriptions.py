"""Answers told in JSON's types, with a `text` of one line each: classes, objects, pixels, places.

They need outputs and names only, and no network, so that programs that have left can be described
too.
"""

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vision_jax.config import printable
from vision_jax.ops.dtypes import at_least_float32
from vision_jax.structs import Array, Detections
from vision_jax.words import END, PAD, START

Answers = list[dict[str, Any]]  # one for each image

NOTHING_SURE = "nothing sure"  # the text where no answer reaches the threshold
_SURE = 0.5  # score from which an object is told in the line of text
_MOST = 3  # objects or classes in the line of text
_TOP = 5  # classes of an image


def describe_classes(
    logits: Array, classes: tuple[str, ...], threshold: float | None, multilabel: bool
) -> Answers:
    """Tells each image's most probable classes, at most five.

    Args:
      logits: (b, k).
      classes: their names; numbers stand in where names are missing.
      threshold: the least probability of a class that is told; None is no limit.
      multilabel: whether probabilities are logits' sigmoids, not their softmax.
    """
    logits = jnp.asarray(logits, jnp.float32)
    scores = jax.nn.sigmoid(logits) if multilabel else jax.nn.softmax(logits)
    values, labels = jax.lax.top_k(scores, min(_TOP, scores.shape[-1]))
    answers = []
    for probabilities, row in zip(values.tolist(), labels.tolist(), strict=True):
        top = [
            {"class": class_name(classes, label), "label": label, "probability": round(p, 6)}
            for label, p in zip(row, probabilities, strict=True)
            if threshold is None or p >= threshold
        ]
        text = _told(top[0]["class"], probabilities[0]) if top else NOTHING_SURE
        answers.append({"text": text, "top": top})
    return answers


def describe_objects(
    detections: Detections, classes: tuple[str, ...], threshold: float | None
) -> Answers:
    """Tells each image's objects, the best first.

    Args:
      detections: boxes and keypoints are told in the pixels in which they come.
      classes: their names; numbers stand in where names are missing.
      threshold: the least score of an object that is told. Without one all objects are told, and
        the line of text names those of at least 0.5.
    """
    detections = jax.tree.map(np.asarray, detections)
    answers = []
    for row in range(len(detections.valid)):
        one_image = jax.tree.map(lambda x, row=row: x[row], detections)
        told = one_image.valid
        if threshold is not None:
            told = told & (one_image.scores >= threshold)
        objects = [_object(one_image, i, classes) for i in np.flatnonzero(told).tolist()]
        sure = [one for one in objects if threshold is not None or one["score"] >= _SURE]
        answers.append({"text": _summary(sure), "objects": objects})
    return answers


def describe_captions(tokens: Array, scores: Array, classes: tuple[str, ...]) -> Answers:
    """Tells each image's caption, and its log-probability or what else captions compete by.

    Args:
      tokens: (b, t) int32, see `words_of`.
      scores: (b,).
      classes: the vocabulary's words.
    """
    rows = zip(np.asarray(tokens), np.asarray(scores).tolist(), strict=True)
    told = [(" ".join(words_of(row, classes)), score) for row, score in rows]
    return [
        {"text": printable(caption), "caption": caption, "score": round(score, 6)}
        for caption, score in told
    ]


def describe_pixels(segmentation: Array, classes: tuple[str, ...]) -> Answers:
    """Tells each image's classes and their shares of its pixels.

    Args:
      segmentation: (b, h, w) whole numbers.
      classes: their names; numbers stand in where names are missing.
    """
    answers = []
    for labels in np.asarray(segmentation):
        counts = collections.Counter(labels.ravel().tolist())
        shares = [
            {
                "class": class_name(classes, label),
                "label": label,
                "share": round(count / labels.size, 6),
            }
            for label, count in counts.most_common()
        ]
        text = ", ".join(_told(one["class"], one["share"]) for one in shares[:_MOST])
        answers.append({"text": text, "classes": shares})
    return answers


def describe_places(
    logits: Array, name: str, places: Array, classes: tuple[str, ...], threshold: float | None
) -> Answers:
    """Tells each image's most probable class, and its boxes or points.

    Args:
      logits: (b, k).
      name: under which places are told, such as 'boxes'.
      places: (b, n, 4) boxes or (b, n, 2) points, told in the pixels in which they come.
      classes: their names; numbers stand in where names are missing.
      threshold: the least probability of a class that the line of text names; None is no limit.
    """
    scores = jax.nn.softmax(at_least_float32(jnp.asarray(logits)))
    answers = []
    for row, label in enumerate(jnp.argmax(scores, -1).tolist()):
        named, probability = class_name(classes, label), float(scores[row, label])
        sure = threshold is None or probability >= threshold
        answers.append(
            {
                "text": _told(named, probability) if sure else NOTHING_SURE,
                "class": named,
                "label": label,
                "probability": round(probability, 6),
                name: [_rounded(place) for place in np.asarray(places[row])],
            }
        )
    return answers


def words_of(tokens: Any, classes: tuple[str, ...]) -> list[str]:
    """Returns the words of tokens (t,) up to the first end; start and padding are left out.

    Args:
      tokens: of one caption.
      classes: the vocabulary's words, the special ones first; numbers stand in for missing ones.
    """
    words = []
    for token in np.asarray(tokens).tolist():
        if token == END:
            break
        if token not in (PAD, START):
            words.append(classes[token] if token < len(classes) else str(token))
    return words


def class_name(classes: tuple[str, ...], label: int) -> str:
    """Returns a class's name, or its number as text where names are missing."""
    return classes[label] if label < len(classes) else str(label)


def _told(name: str, share: float) -> str:
    """Tells a class and its share or probability on one line, whatever the class is called."""
    return f"{printable(name)} {share:.0%}"


def _object(detections: Detections, i: int, classes: tuple[str, ...]) -> dict[str, Any]:
    """Tells detection `i` of one image in JSON's types."""
    label = int(detections.labels[i])
    told = {
        "class": class_name(classes, label),
        "label": label,
        "score": round(float(detections.scores[i]), 6),
        "box": _rounded(detections.boxes[i]),
    }
    if detections.keypoints is not None:
        told["keypoints"] = [_rounded(point) for point in detections.keypoints[i]]
    return told


def _rounded(numbers: Array) -> list[float]:
    return [round(float(number), 2) for number in numbers]


def _summary(objects: list[dict[str, Any]]) -> str:
    """Names the first objects, such as 'star 98%, ring 71% and 2 more'."""
    first = [_told(one["class"], one["score"]) for one in objects[:_MOST]]
    if len(objects) > _MOST:
        first.append(f"{len(objects) - _MOST} more")
    return ", ".join(first) or NOTHING_SURE
