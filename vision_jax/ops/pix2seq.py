"""Objects as sequences of tokens (Pix2Seq, Chen et al. 2021, sections 2 and 3).

An object is five tokens: top, left, bottom, right and class; one vocabulary holds them all. Boxes
are xyxy in units of the padded, square image; everything is of one image, so use `vmap`. Rules that
the paper leaves open are those of the authors' code.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from vision_jax.ops import boxes as box_ops

PADDING = -1  # the label of an object that is not there
NOISE = -2  # the label of an object that was made up
END = 0  # the token of the end, and of all after it
PER_OBJECT = 5


class Layout(NamedTuple):
    """Where the vocabulary has what: the end at 0, then tasks, classes and coordinates."""

    bins: int = 1000  # of a coordinate
    task: int = 10  # the token that asks for detection
    noise: int = 30  # the class of made-up objects
    classes: int = 101  # class l is this plus l
    coordinates: int = 1000  # bin b is this plus b


class SequenceTargets(NamedTuple):
    """What a decoder reads and answers; t is 5 m or more, with m objects."""

    inputs: Array  # (t,) int32, the task's token first
    targets: Array  # (t,) int32
    weights: Array  # (t,) float32, of the targets in the loss


class SequenceDetections(NamedTuple):
    """The detections that a sequence tells of, n of them in its order."""

    boxes: Array  # (n, 4) xyxy in [0, 1]
    scores: Array  # (n,) probability of the class
    labels: Array  # (n,) int32


def quantize(x: Float[Array, "*n"], bins: int) -> Int[Array, "*n"]:
    """Rounds numbers in [0, 1] to bins 0..bins-1; halves go to the even one, as in the code."""
    return jnp.clip(jnp.round(x * (bins - 1)), 0, bins - 1).astype(jnp.int32)


def dequantize(number: Int[Array, "*n"], bins: int) -> Float[Array, "*n"]:
    """Returns the numbers that bins stand for; those out of range lie outside of [0, 1]."""
    return number.astype(jnp.float32) / (bins - 1)


def shuffle_objects(
    key: Key[Array, ""], boxes: Float[Array, "m 4"], labels: Int[Array, "m"]
) -> tuple[Float[Array, "m 4"], Int[Array, "m"]]:
    """Puts objects into a random order (section 2.1); those that are not there go last."""
    place = jax.random.uniform(key, labels.shape)
    order = jnp.argsort(jnp.where(labels == PADDING, jnp.inf, place), stable=True)
    return boxes[order], labels[order]


def sort_objects(
    boxes: Float[Array, "m 4"], labels: Int[Array, "m"]
) -> tuple[Float[Array, "m 4"], Int[Array, "m"]]:
    """Sorts objects by falling area; those that are not there go last.

    The authors' code leaves the order as it is, since it rounds areas below 1 down to 0.
    """
    size = -box_ops.area(boxes)
    order = jnp.argsort(jnp.where(labels == PADDING, jnp.inf, size), stable=True)
    return boxes[order], labels[order]


def add_noise_objects(
    key: Key[Array, ""],
    boxes: Float[Array, "m 4"],
    labels: Int[Array, "m"],
    jitter: float = 0.1,
) -> tuple[Float[Array, "m 4"], Int[Array, "m"]]:
    """Fills the slots of padding with made-up objects, of label `NOISE` (section 2.3).

    A number of them, uniform in 0..all, are copies of objects whose sides are moved by a normal
    share of width and height (standard deviation `jitter` / 2, cut at `jitter`). Each other one is,
    with equal chances, an object's copy at a uniform place, or a box of uniform place whose sides
    are absolute values of a normal draw (0.5, cut at 1). All are cut at the image's border.

    Args:
      boxes: the objects first, as `shuffle_objects` puts them.
    """
    count = labels.shape[0]
    # One draw for all, since each is a program of its own to compile.
    draw = jax.random.uniform(key, (count, 11), boxes.dtype)
    there = jnp.sum(labels != PADDING, dtype=jnp.int32)
    copies = (draw[0, 0] * (count - there + 1).astype(draw.dtype)).astype(jnp.int32)
    choices = jnp.maximum(there, 1).astype(draw.dtype)
    source = boxes[(draw[:, 1] * choices).astype(jnp.int32)]
    sides = source[:, 2:] - source[:, :2]
    share = _cut_normal(draw[:, 2:6]) * (jitter / 2)
    moved = source + share * jnp.concatenate([sides, sides], 1)
    centre, drawn = draw[:, 6:8], jnp.abs(_cut_normal(draw[:, 8:10])) * 0.5
    shifted = (draw[:, 10] < 0.5) & (there > 0)
    sides = jnp.where(shifted[:, None], sides, drawn)
    elsewhere = jnp.concatenate([centre - sides / 2, centre + sides / 2], 1)
    rank = jnp.arange(count) - there  # among the made-up ones
    made = jnp.where(((rank < copies) & (there > 0))[:, None], moved, elsewhere)
    absent = labels == PADDING
    filled = jnp.where(absent[:, None], jnp.clip(made, 0, 1), boxes)
    return filled, jnp.where(absent, NOISE, labels)


def _cut_normal(uniform: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Turns uniform draws into normal ones that are cut at ±2."""
    end = math.erf(math.sqrt(2.0))
    return math.sqrt(2.0) * jax.scipy.special.erfinv((2 * uniform - 1) * end)


def object_tokens(
    boxes: Float[Array, "m 4"],
    labels: Int[Array, "m"],
    layout: Layout = Layout(),  # noqa: B008 - a tuple
) -> Int[Array, "5*m"]:
    """Writes objects as tokens, five each; `END` five times for one that is not there."""
    corners = quantize(box_ops.convert(boxes, "xyxy", "yxyx"), layout.bins) + layout.coordinates
    classes = jnp.where(labels == NOISE, layout.noise, labels + layout.classes)
    tokens = jnp.concatenate([corners, classes[:, None].astype(jnp.int32)], 1)
    return jnp.where((labels == PADDING)[:, None], END, tokens).reshape(-1)


def corrupt_classes(
    key: Key[Array, ""],
    tokens: Int[Array, "t"],
    layout: Layout = Layout(),  # noqa: B008 - a tuple
) -> Int[Array, "t"]:
    """Replaces every class by a random one or, as often, by that of made-up objects.

    Inputs of the decoder are treated so, since classes of objects before tell nothing then.
    """
    draw = jax.random.uniform(key, (2, *tokens.shape))
    # The code draws from all tokens between the tasks' and the coordinates', padding's label too.
    first = layout.classes - 1
    drawn = first + (draw[0] * (layout.coordinates - first)).astype(jnp.int32)
    other = jnp.where(draw[1] < 0.5, drawn, layout.noise)
    is_class = jnp.arange(tokens.shape[0]) % PER_OBJECT == PER_OBJECT - 1
    return jnp.where(is_class & (tokens != END), other, tokens)


def sequence_targets(
    tokens: Int[Array, "t"],
    labels: Int[Array, "m"],
    length: int,
    seen: Int[Array, "t"] | None = None,
    noise_weight: float = 1.0,
    end_weight: float = 0.1,
    layout: Layout = Layout(),  # noqa: B008 - a tuple
) -> SequenceTargets:
    """Makes a decoder's inputs, targets and their weights (section 2.3, figure 5).

    Args:
      tokens: see `object_tokens`.
      labels: of the objects, 0..C-1, `NOISE` or `PADDING`.
      length: of the sequences; not below that of `tokens`.
      seen: what the decoder reads instead of `tokens`, see `corrupt_classes`.
      noise_weight: of a made-up object's class; its coordinates weigh 0, all of a true one 1.
      end_weight: of the end and what follows.

    Raises:
      ValueError: a length below that of `tokens`.
    """
    if length < tokens.shape[0]:
        raise ValueError(f"{tokens.shape[0]} tokens do not fit into {length}")
    seen = tokens if seen is None else seen
    noise = jnp.asarray([0, 0, 0, 0, noise_weight], jnp.float32)
    weights = jnp.where((labels == NOISE)[:, None], noise[None], 1.0).reshape(-1)
    room = (0, length - tokens.shape[0])
    targets = jnp.pad(tokens, room, constant_values=END)
    inputs = jnp.pad(seen, room, constant_values=END)[:-1]
    return SequenceTargets(
        inputs=jnp.concatenate([jnp.full(1, layout.task, inputs.dtype), inputs]),
        targets=targets,
        weights=jnp.where(targets == END, end_weight, jnp.pad(weights, room)),
    )


def focal_cross_entropy(
    logits: Float[Array, "*n k"], targets: Int[Array, "*n"], gamma: float = 2.0
) -> Float[Array, "*n"]:
    """Computes (1 - p)^gamma times the cross-entropy, p being the target's probability.

    1e-8 is added to p within the logarithm, as in the reference's stored losses, so that no loss
    exceeds 18.5.
    """
    probability = jax.nn.softmax(logits, -1)
    p = jnp.take_along_axis(probability, targets[..., None], -1)[..., 0]
    return -((1 - p) ** gamma) * jnp.log(p + 1e-8)


def top_logits(
    logits: Float[Array, "*n k"], top_k: int = 0, top_p: float = 1.0
) -> Float[Array, "*n k"]:
    """Keeps the logits of the likeliest tokens, and sets the others to -1e10.

    Kept are as many as have at most the mass `top_p` together, at least one. The nucleus of
    Holtzman et al. 2020 has at least that mass; at the code's 0.4 the difference is large.

    Args:
      top_k: the most that are kept, before the mass is measured; 0 is all.
      top_p: see above; 1 is all.
    """
    dropped = jnp.asarray(-1e10, logits.dtype)
    if top_k:
        least = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < least, dropped, logits)
    if top_p < 1:
        falling = -jnp.sort(-logits, axis=-1)
        mass = jnp.cumsum(jax.nn.softmax(falling, -1), -1)
        within = (mass <= top_p).at[..., 0].set(True)
        least = jnp.min(jnp.where(within, falling, jnp.inf), -1, keepdims=True)
        logits = jnp.where(logits < least, dropped, logits)
    return logits


def decode_objects(
    tokens: Int[Array, "t"],
    class_logits: Float[Array, "n k"],
    num_classes: int,
    layout: Layout = Layout(),  # noqa: B008 - a tuple
) -> SequenceDetections:
    """Reads the objects of a sequence (section 2.2, and the appendix on inference).

    A class is the likeliest among classes, whatever token was drawn, and its score its probability
    among all tokens; so the end and made-up objects have low scores and need no rule of their own.

    Args:
      tokens: the sequence; tokens after the last whole object are left out.
      class_logits: at the places of the classes, of the whole vocabulary.
      num_classes: number C of classes.
    """
    rows = tokens[: class_logits.shape[0] * PER_OBJECT].reshape(-1, PER_OBJECT)
    corners = jnp.clip(dequantize(rows[:, :4] - layout.coordinates, layout.bins), 0, 1)
    probability = jax.nn.softmax(class_logits, -1)
    classes = probability[:, layout.classes : layout.classes + num_classes]
    return SequenceDetections(
        boxes=box_ops.convert(corners, "yxyx", "xyxy"),
        scores=classes.max(-1),
        labels=classes.argmax(-1).astype(jnp.int32),
    )


def tell_objects(
    tokens: Int[Array, "t"],
    num_classes: int,
    layout: Layout = Layout(),  # noqa: B008 - a tuple
) -> Int[Array, "n 5"]:
    """Tells a sequence's tokens as numbers: the bins of top, left, bottom and right, and the class.

    A class is a label, `NOISE` of a made-up object, or `PADDING` for the end and any other token; a
    bin is -1 for a token that is no coordinate.
    """
    rows = tokens[: len(tokens) // PER_OBJECT * PER_OBJECT].reshape(-1, PER_OBJECT)
    bins, labels = rows[:, :4] - layout.coordinates, rows[:, 4] - layout.classes
    bins = jnp.where((bins >= 0) & (bins < layout.bins), bins, -1)
    known = (labels >= 0) & (labels < num_classes)
    other = jnp.where(rows[:, 4] == layout.noise, NOISE, PADDING)
    return jnp.concatenate([bins, jnp.where(known, labels, other)[:, None]], 1)
