"""The pictures of a network's page: each part makes some, or says why it does not fit."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vision_jax import visualize
from vision_jax.config import UserError, suggest
from vision_jax.inspect import (
    Network,
    class_image,
    grad_cam,
    image_gradient,
    invert_features,
    occlusion,
    project,
    strongest_channels,
)
from vision_jax.inspect.activations import Projection
from vision_jax.report.network_answer import Answer, Evidence
from vision_jax.visualize import heat
from vision_jax.visualize.captions import named

CELL = 128  # pixels of a picture in a panel
_MAPS, _CHANNELS = 5, 8  # feature maps that are shown, and channels of each
_PROJECTED, _RESPONSES = 3, 4  # maps of which responses are brought back, and how many of each
_PLACES = 9  # of the covering window along each axis
_TRIED = 4  # maps in which evidence is looked for


class Figure(NamedTuple):
    """A picture of a page: its headline, its file's name, its pixels, a text below it."""

    title: str
    name: str
    image: np.ndarray
    caption: str


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network, and a picture that it is shown.

    Attributes:
      title: the network's name.
      network: it and its variables.
      images: one image as the network is fed it.
      mean, std: of its channels, of pixels in 0..1.
      classes: their names, or ().
      origin: where the weights are from.
      notes: lines to tell beside.
      untrained: why scores of classes mean nothing, '' where they do.
      multilabel: whether an image may have several classes.
    """

    title: str
    network: Network
    images: Float[Array, "1 h w c"]
    mean: tuple
    std: tuple
    classes: tuple[str, ...] = ()
    origin: str = ""
    notes: tuple[str, ...] = ()
    untrained: str = ""
    multilabel: bool = False

    def colours(self, images: Any) -> np.ndarray:
        """Turns normalised images into colours, 0..1."""
        colours = np.asarray(images) * np.asarray(self.std) + np.asarray(self.mean)
        return colours.clip(0, 1)

    @property
    def contrast(self) -> np.ndarray:
        """The values of the network's input for a quarter of the range from black to white.

        Images that are made are of the size of 1 in units of it, whatever the network is fed.
        """
        return np.float32(0.25) / np.asarray(self.std, np.float32).reshape(1, 1, 1, -1)

    @functools.cached_property
    def shown(self) -> np.ndarray:
        """The image in colours, (h, w, c) in 0..1."""
        return self.colours(self.images[0])

    @functools.cached_property
    def maps(self) -> dict[str, tuple[int, int, int]]:
        """The network's feature maps, see `Network.maps`."""
        return self.network.maps(self.images)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is looked at, and how long.

    Attributes:
      endpoint: the one map to look at; '' chooses some of all depths.
      steps: of the optimiser that makes an image.
    """

    endpoint: str = ""
    steps: int = 100

    def check(self, subject: Subject) -> None:
        """Refuses a map that the network has not.

        Raises:
          UserError: it has none of that name.
        """
        if self.endpoint and self.endpoint not in subject.maps:
            raise UserError(
                f"--endpoint {self.endpoint!r} is no map of this network"
                f"{suggest(self.endpoint, subject.maps)}"
            )

    def chosen(self, subject: Subject, count: int) -> list[str]:
        """Chooses maps of all depths, the last one among them.

        Raises:
          UserError: the network has none.
        """
        if self.endpoint:
            return [self.endpoint]
        maps = [name for name, size in subject.maps.items() if size[0] * size[1] > 1]
        if not maps:
            raise UserError("the network hands out no feature maps")
        places = np.linspace(0, len(maps) - 1, min(count, len(maps))).round().astype(int)
        return [maps[place] for place in places]


Part = Callable[[Subject, Answer, Settings], list[Figure]]


def filters(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws the filters of the first convolution."""
    path, kernel = subject.network.first_convolution(subject.images)
    height, width, channels, count = kernel.shape
    if height * width == 1:
        raise UserError(f"the first convolution, {path}, is 1×1: it has no pattern")
    caption = (
        f"{path}: {count} filters of {height}×{width} pixels on {channels} channels, each at its "
        "own contrast; gray is 0"
    )
    return [Figure("First-layer filters", "filters", heat.filters(kernel), caption)]


def activations(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws the channels with the strongest responses, of maps of all depths."""
    names = settings.chosen(subject, _MAPS)
    outputs = jax.jit(lambda x: {k: subject.network(x)[k] for k in names})(subject.images)
    figures = []
    for name in names:
        x = np.asarray(outputs[name], np.float32)
        (channels,) = strongest_channels(x, _CHANNELS)
        pictures = [heat.heat(x[0, ..., k]) for k in channels]
        captions = [f"channel {k}: {_number(x[0, ..., k].max())}" for k in channels]
        image = visualize.panel(pictures, captions, columns=_CHANNELS, side=CELL)
        caption = f"{name}, {_size(x.shape[1:])}: the channels with the largest responses"
        title = "Activation maps" if not figures else ""
        figures.append(Figure(title, f"activations_{name}", image, caption))
    return figures


def deconvnet(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws strong responses brought back to the pixels, each beside the patch that it is of."""
    names = settings.chosen(subject, _PROJECTED)
    outputs = jax.jit(lambda x: {k: subject.network(x)[k] for k in names})(subject.images)
    channels = {k: strongest_channels(outputs[k], _RESPONSES)[0].tolist() for k in names}
    figures = []
    for name in names:
        found = project(subject.network, subject.images, {name: channels[name]})
        pictures, captions = [], []
        for one in found:
            pictures += _patches(subject, one)
            captions += [f"channel {one.channel}", f"response {_number(one.activation)}"]
        image = visualize.panel(pictures, captions, columns=2 * _RESPONSES, side=CELL)
        caption = (
            f"{name}: patches, and what the deconvnet brings back of the strongest response to "
            "them (Zeiler & Fergus 2013); gray is 0"
        )
        title = "Deconvnet" if not figures else ""
        figures.append(Figure(title, f"deconvnet_{name}", image, caption))
    return figures


def saliency(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws the gradient of the class's score by the pixels, plain and guided."""
    score_of, label = _explained(subject, answer)
    evidence = score_of(answer.labels[0])

    def score(x: Array) -> Float[Array, "1"]:
        return evidence(subject.network(x))

    gradient = np.asarray(jax.jit(lambda x: image_gradient(score, x))(subject.images)[0])
    pictures = [subject.shown, heat.heat(np.abs(gradient).max(-1)), heat.signed(gradient)]
    captions = [f"score of {label}", "saliency", "gradient"]
    caption = "Saliency: the largest magnitude over the channels (Simonyan et al. 2013)"
    try:
        guided = jax.jit(lambda x: image_gradient(score, x, "guided"))(subject.images)[0]
        pictures.append(heat.signed(np.asarray(guided)))
        captions.append("guided backpropagation")
        caption += "; guided: Springenberg et al. 2014"
    except UserError as error:
        caption += f"; guided backpropagation is left out: {error}"
    image = visualize.panel(pictures, captions, columns=4, side=2 * CELL)
    return [Figure("Saliency and guided backpropagation", "saliency", image, caption)]


def class_activation(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws where in the last map evidence for the class lies (Grad-CAM)."""
    score_of, label = _explained(subject, answer)
    evidence = score_of(answer.labels[0])
    # The last map on which the score rests: of a pyramid it may be another one than the smallest.
    names = settings.chosen(subject, len(subject.maps))[: -_TRIED - 1 : -1]
    for name in names:
        found = jax.jit(functools.partial(grad_cam, subject.network, evidence, endpoint=name))
        cam = np.asarray(found(subject.images)[0], np.float32)
        if cam.any():
            break
    else:
        raise UserError(f"no evidence for {label} in {', '.join(names)}")
    pictures = [subject.shown, heat.heat(cam), heat.overlay(subject.shown, cam)]
    captions = [f"score of {label}", f"{name}, {cam.shape[0]}×{cam.shape[1]}", "over the image"]
    image = visualize.panel(pictures, captions, columns=3, side=2 * CELL)
    caption = "Grad-CAM (Selvaraju et al. 2016): lighter is more evidence"
    return [Figure("Grad-CAM", "grad_cam", image, caption)]


def covering(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws how the answer changes while parts of the image are covered."""
    _check_trained(subject)
    if answer.covered is None:
        raise UserError("the network gives no class and no embedding to follow")
    sides = subject.images.shape[1:3]
    window = tuple(max(1, -(-2 * n // (_PLACES + 1))) for n in sides)
    stride = tuple(max(1, n // 2) for n in window)
    covered = answer.covered
    scores = jax.jit(lambda x: occlusion(covered, x, window, stride))(subject.images)[0]
    scores, base = np.asarray(scores), float(jax.jit(covered)(subject.images)[0])
    pictures = [subject.shown, heat.heat(scores), heat.overlay(subject.shown, -scores)]
    captions = [f"{answer.measured}: {base:.3g}", f"{scores.min():.3g} to {scores.max():.3g}", ""]
    captions[2] = "where it falls"
    image = visualize.panel(pictures, captions, columns=3, side=2 * CELL)
    caption = (
        f"A window of {window[0]}×{window[1]} pixels covers the image in gray, at {scores.size} "
        "places (Zeiler & Fergus 2013); in the middle the value at each, dark is low"
    )
    return [Figure("Occlusion", "occlusion", image, caption)]


def class_images(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws images that the network takes for the purest of a class."""
    score_of, _ = _explained(subject, answer)

    @jax.jit
    def climbed(label: Array, start: Array) -> tuple[Array, Array]:
        evidence = score_of(label)

        def score(x: Array) -> Float[Array, "1"]:
            return evidence(subject.network(x * subject.contrast))

        return class_image(score, start, settings.steps, _L2, _VARIATION)

    pictures, captions = [], []
    for label in answer.labels:
        image, scores = climbed(jnp.int32(label), jnp.zeros_like(subject.images))
        pictures.append(subject.colours((image * subject.contrast)[0]))
        first, last = (_number(scores[i, 0]) for i in (0, -1))
        captions.append(f"{named(label, subject.classes)}\nscore {first} → {last}")
    image = visualize.panel(pictures, captions, columns=3, side=2 * CELL)
    caption = f"From gray, {settings.steps} steps up the class's score (Simonyan et al. 2013)"
    return [Figure("Class images", "class_images", image, caption)]


def inversion(subject: Subject, answer: Answer, settings: Settings) -> list[Figure]:
    """Draws images that have the picture's features, and show what these have forgotten."""
    pictures, captions = [subject.shown], ["the picture"]
    start = 0.1 * jax.random.normal(jax.random.key(0), subject.images.shape)
    for name in settings.chosen(subject, _PROJECTED):

        def features(x: Array, name: str = name) -> Array:
            return subject.network(x * subject.contrast)[name]

        @jax.jit
        def inverted(x: Array, start: Array, features: Any = features) -> tuple[Array, Array]:
            target, roughness = features(x), _ROUGH / x[0].size
            return invert_features(features, target, start, settings.steps, 0.0, roughness)

        found, distances = inverted(subject.images / subject.contrast, start)
        pictures.append(subject.colours((found * subject.contrast)[0]))
        captions.append(
            f"from {name}, {_size(subject.maps[name])}\ndistance {float(distances[-1, 0]):.2g}"
        )
    image = visualize.panel(pictures, captions, columns=4, side=2 * CELL)
    caption = (
        f"From noise, {settings.steps} steps towards the features of the picture (Mahendran & "
        "Vedaldi 2014); the distance is ‖Φ(x) - Φ₀‖² / ‖Φ₀‖²"
    )
    return [Figure("Inverted features", "inversion", image, caption)]


PARTS: dict[str, Part] = {
    "filters": filters,
    "activations": activations,
    "deconvnet": deconvnet,
    "saliency": saliency,
    "grad_cam": class_activation,
    "occlusion": covering,
    "class_images": class_images,
    "inversion": inversion,
}
_L2, _VARIATION = 1e-3, 1e-3  # of class images, see `class_image`
_ROUGH = 0.5  # of inverted features: its share of the sum of squared differences, per value


def _explained(subject: Subject, answer: Answer) -> tuple[Callable[[Any], Evidence], str]:
    """Returns what makes the scores that gradients start from, and the explained class's name.

    Raises:
      UserError: there is none.
    """
    _check_trained(subject)
    if answer.score_of is None:
        raise UserError(f"there is no class whose score could be followed ({answer.text})")
    return answer.score_of, named(answer.labels[0], subject.classes)


def _check_trained(subject: Subject) -> None:
    if subject.untrained:
        raise UserError(subject.untrained)


def _patches(subject: Subject, one: Projection) -> list[np.ndarray]:
    """Cuts the pixels that a response comes back to out of the image, and out of the signal.

    A few pixels cannot be recognised, so at least an eighth of each side is shown.
    """
    signal, parts = heat.signed(one.signal), []
    for first, last, side in zip(one.window[:2], one.window[2:], signal.shape[:2], strict=True):
        missing = max(0, -(-side // 8) - (last - first))
        start = min(max(0, first - missing // 2), side - max(last - first, -(-side // 8)))
        parts.append(slice(start, start + last - first + missing))
    return [subject.shown[tuple(parts)], signal[tuple(parts)]]


def _number(value: Any) -> str:
    """Formats three digits, or a whole number."""
    return f"{float(value):.3g}" if abs(float(value)) < 1000 else f"{float(value):,.0f}"


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
