"""What experiments on data of your own share: sources by text, a look at them, and a run that fits.

Whatever is chosen by the data becomes a number of the config, so that a run folder stands without
them. All choices are told in lines.
"""

import dataclasses
import math
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.shared import embedded
from vision_jax import data
from vision_jax.config import CommaText, UserError, arguments, build, node
from vision_jax.data import by_text
from vision_jax.data.decode import image_size, orientation
from vision_jax.data.loading import degenerate_boxes
from vision_jax.data.sources import Source
from vision_jax.training import Experiment, optimizer, schedule

OPTIONS = {
    "train": CommaText(),
    "val": CommaText(),
    "holdout": 0.0,
    "model": "small",
    "weights": "",
    "size": 0,
    "batch": 0,
    "epochs": 0.0,
    "lr": 0.0,
    "flip": True,
    "augment": True,
    "smoke": False,
}
LAPTOP = "small"  # the model for which all defaults are those of a laptop's CPU
STRIDE = 32  # sides of inputs are multiples of it
_LOOKED_AT = 1000  # images of a source, evenly spread, whose sizes and objects decide
_OUTLIERS = 0.95  # share of the images whose shapes decide the input's
_WARM_UP = 1000  # steps at most, of the first tenth
_CHECKPOINT = 1000  # steps between checkpoints at most
_SHOWN = 6  # classes in a line


@dataclasses.dataclass(frozen=True)
class Looked:
    """What was seen of the training and the evaluation data.

    Attributes:
      classes: of the training data.
      count: of training images.
      sizes: (n, 2) height and width of images.
      boxes, box_sizes: (m, 4) xyxy of the training data's objects, and the sizes of their images.
      most: objects of the image that has the most.
      complete: whether every image was looked at.
      measurable: whether the evaluation data have something to measure.
      masks: semantic labels (h, w) of a few training images.
    """

    classes: tuple[str, ...]
    count: int
    sizes: np.ndarray
    boxes: np.ndarray
    box_sizes: np.ndarray
    most: int
    complete: bool
    measurable: bool
    masks: list[np.ndarray]

    @property
    def max_boxes(self) -> int:
        """A pipeline's `max_boxes`: no object is cut, as far as was looked."""
        return max(8, self.most) if self.complete else max(100, 2 * self.most)


def read(arg: str, embedded_name: str, size: int, **more: Any) -> SimpleNamespace:
    """Reads an experiment's argument: `OPTIONS` and `more`.

    In a smoke without data of your own the embedded data set of that name takes their place, at
    that size.

    Raises:
      UserError: no training data, an option that is unknown or out of range.
    """
    given = arguments(arg, **OPTIONS, **more)
    if given.smoke and not given.train:
        given.train = f"tfds:{embedded_name},train[:32]"
        given.val = f"tfds:{embedded_name},validation[:16]"
        given.size = given.size or size
    if not given.train:
        kinds = ", ".join(by_text.KINDS)
        raise UserError(
            "name your data: train=KIND:…, and perhaps val=KIND:…, such as train=coco:train.json,"
            f"photos - kinds: {kinds}"
        )
    for name in ("size", "batch", "epochs", "lr"):
        if getattr(given, name) < 0:
            raise UserError(f"config argument {name}={getattr(given, name)} must be above 0")
    return given


def source_nodes(
    given: SimpleNamespace,
    kinds: tuple[str, ...],
    fields: tuple[str, ...],
    hint: str,
    paint: bool = False,
) -> tuple[ConfigDict, ConfigDict]:
    """Makes the nodes of the training and of the evaluation source.

    Without `val` a part of the training source is held out.

    Args:
      given: the experiment's options.
      kinds: kinds of sources that have what the experiment learns from.
      fields: what sources with a setting `fields` are asked for.
      hint: what to do with other kinds.
      paint: whether objects become semantic labels.

    Raises:
      UserError: another kind, or what is wrong with a source.
    """
    for option in ("train", "val"):
        kind = getattr(given, option).partition(":")[0]
        if kind in by_text.KINDS and kind not in kinds:
            raise UserError(f"{option}={getattr(given, option)}: {hint.format(kind=kind)}")
    train = _source_node(given.train, fields, paint)
    if given.val:
        if given.holdout:
            raise UserError("holdout is for data without val; leave one of them out")
        return train, _source_node(given.val, fields, paint)
    share = given.holdout or None
    train, held_out = (
        node(data.HeldOut, source=train, part=part, share=share) for part in ("train", "val")
    )
    return train, held_out


def choose(option: str, value: str, known: Iterable[str]) -> None:
    """Refuses an option's value that is none of the known ones.

    Raises:
      UserError: naming them all.
    """
    names = list(known)
    if value not in names:
        listed = f"{', '.join(names[:-1])} or {names[-1]}"
        raise UserError(f"{option}={value!r}: use {listed}")


def _source_node(text: str, fields: tuple[str, ...], paint: bool) -> ConfigDict:
    """Makes the node of the source that a text names."""
    kind, settings = by_text.parse(text, near=tuple(OPTIONS))
    if fields and "fields" in {field.name for field in dataclasses.fields(kind)}:
        settings.setdefault("fields", fields)
    source = node(kind, **settings)
    return node(data.ObjectsAsSemantic, source=source) if paint else source


def look(train: ConfigDict, evaluation: ConfigDict, masks: bool = False) -> Looked:
    """Looks at up to a thousand images of each source, at their headers alone.

    Args:
      train, evaluation: nodes of sources.
      masks: whether semantic labels are looked at.

    Raises:
      UserError: no image that can be read, or what is wrong with a source.
    """
    sources: list[Source] = [build(train), build(evaluation)]
    seen = [_Seen(source, masks) for source in sources]
    if not seen[0].sizes:
        raise UserError(f"none of the training images can be read: {seen[0].error}")
    boxes = np.concatenate(seen[0].boxes or [np.zeros((0, 4))])
    box_sizes = np.asarray(seen[0].box_sizes, float).reshape(-1, 2)
    looked = Looked(
        classes=tuple(sources[0].classes),
        count=len(sources[0]),
        sizes=np.asarray([*seen[0].sizes, *seen[1].sizes], float),
        boxes=boxes,
        box_sizes=box_sizes,
        most=max(seen[0].most, seen[1].most),
        complete=all(len(source) <= _LOOKED_AT for source in sources),
        measurable=not seen[1].boxes or any(len(b) for b in seen[1].boxes),
        masks=seen[0].masks,
    )
    _tell(looked, len(sources[1]), sum(s.turned for s in seen), "HeldOut" in evaluation.target)
    return looked


class _Seen:
    """What is seen of one source."""

    def __init__(self, source: Source, masks: bool):
        self.sizes: list[tuple[int, int]] = []
        self.boxes: list[np.ndarray] = []
        self.box_sizes: list[tuple[int, int]] = []
        self.masks: list[np.ndarray] = []
        self.most, self.turned, self.error = 0, 0, ""
        count = len(source)
        for i in np.linspace(0, count - 1, min(count, _LOOKED_AT // (5 if masks else 1))):
            try:
                example = source[int(i)]
                size = image_size(example["image"])
            except (ValueError, UserError) as error:
                self.error = str(error)
                continue
            self.sizes.append(size)
            if isinstance(example["image"], bytes):
                self.turned += orientation(example["image"]) != 1
            if "boxes" in example:
                self._objects(example, size)
            if masks and isinstance(example["segmentation"], np.ndarray):
                self.masks.append(example["segmentation"])

    def _objects(self, example: dict[str, Any], size: tuple[int, int]) -> None:
        """Notes an image's boxes, cut at its border; those that no network can learn are not."""
        boxes = np.asarray(example["boxes"], float)
        self.most = max(self.most, len(boxes))
        good = ~degenerate_boxes(boxes, *size)
        if "crowd" in example:
            good &= ~np.asarray(example["crowd"], bool)
        boxes = boxes[good].clip(0, [size[1], size[0], size[1], size[0]])
        self.boxes.append(boxes)
        self.box_sizes += [size] * len(boxes)


def _tell(looked: Looked, evaluated: int, turned: int, held_out: bool) -> None:
    """Prints what the data are."""
    smallest, largest = (looked.sizes[f(looked.sizes.prod(1))] for f in (np.argmin, np.argmax))
    sizes = f"{smallest[1]:g}×{smallest[0]:g} to {largest[1]:g}×{largest[0]:g} pixels"
    names = ", ".join(looked.classes[:_SHOWN]) + (", …" if len(looked.classes) > _SHOWN else "")
    how = ", held out of them" if held_out else ""
    print(f"data: {looked.count} images to train on, {evaluated} to evaluate on{how}; {sizes}")
    print(f"classes: {len(looked.classes)} ({names})")
    if turned:
        print(
            f"note: {turned} of {len(looked.sizes)} images are turned by EXIF and read as stored; "
            "add upright=true to train= and val= if they are annotated as viewers show them"
        )
    if not looked.measurable:
        print("note: the evaluation data have no object: nothing will be measured")


def canvas(looked: Looked, size: int) -> tuple[int, int]:
    """Returns height and width of the input: the long side, and the shapes of the images.

    Both are multiples of `STRIDE`. Images of yet another shape are fitted into it.
    """
    shares = looked.sizes / looked.sizes.max(1, keepdims=True)
    height, width = (
        max(STRIDE, _up(size * share)) for share in np.quantile(shares, _OUTLIERS, axis=0)
    )
    return height, width


def long_side(looked: Looked, low: int, high: int) -> int:
    """Chooses the input's long side: small objects are 16 pixels wide, images are not enlarged.

    Args:
      looked: the data.
      low, high: what the model is made for, pixels.
    """
    wanted = float(low)
    if len(looked.boxes):
        areas = (looked.boxes[:, 2:] - looked.boxes[:, :2]).prod(1)
        shares = np.sqrt(areas) / looked.box_sizes.max(1)
        wanted = 16 / np.quantile(shares, 0.1)
    largest = max(128, _up(looked.sizes.max()))
    return min(_up(min(max(wanted, low), high)), largest)


def _up(side: float) -> int:
    """Returns the next multiple of `STRIDE`."""
    return STRIDE * math.ceil(round(side, 3) / STRIDE)


def assemble(
    given: SimpleNamespace,
    looked: Looked,
    task: ConfigDict,
    pipelines: tuple[ConfigDict, ConfigDict],
    metrics: dict[str, ConfigDict],
    best: str,
    rate: float,
    seen: int,
    clip: float | None = None,
) -> ConfigDict:
    """Makes the experiment: AdamW, a cosine after a warm-up, as many epochs as the data need.

    Args:
      given: the experiment's options, whose `batch` is set.
      looked: the data.
      task, pipelines, metrics, best: the experiment's parts; the pipelines are `Train` and `Eval`.
      rate: the highest learning rate, unless the option says another.
      seen: images that training sees, in 12 to 100 epochs, unless the option says how many.
      clip: see `Optimizer`.
    """
    epochs = given.epochs or float(min(100, max(12, round(seen / looked.count))))
    total = math.ceil(epochs * looked.count / given.batch)
    per_epoch = max(1, round(looked.count / given.batch))
    eval_every = per_epoch * max(1, math.ceil(total / 10 / per_epoch))
    config = node(
        Experiment,
        task=task,
        train=pipelines[0],
        eval=pipelines[1],
        metrics=metrics,
        optimizer=_optimizer(given.lr or rate, min(0.1, _WARM_UP / total), clip),
        epochs=epochs,
        eval_every=eval_every,
        checkpoint_every=0 if eval_every <= _CHECKPOINT else _CHECKPOINT,
        log_every=max(1, min(50, total // 50)),
        best=best if looked.measurable else "",
    )
    config.init.weights = given.weights or None
    print(f"training: {epochs:g} epochs, {total} steps of {given.batch} images")
    if given.smoke:
        embedded.four_steps(config, best=config.best)
    return config


def _optimizer(rate: float, warm_up: float, clip: float | None) -> ConfigDict:
    """Makes AdamW with a cosine; `warm_up` is a share of the run."""
    cosine = node(schedule.Cosine, value=rate)
    return node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(schedule.WarmUp, then=cosine, length=round(warm_up, 6), unit="fraction"),
        decay=0.05,
        decay_vectors=False,
        clip=clip,
    )


def batch_size(given: SimpleNamespace, looked: Looked, default: int) -> int:
    """Returns the batch size: the option, else `default`, a power of two, or less for few images.

    Raises:
      UserError: more than there are images.
    """
    if given.batch > looked.count:
        raise UserError(f"batch={given.batch}: there are {looked.count} images to train on")
    return given.batch or min(default, 2 ** int(math.log2(looked.count)))


def pipelines(
    given: SimpleNamespace,
    sources: tuple[ConfigDict, ConfigDict],
    transforms: tuple[tuple[ConfigDict, ...], tuple[ConfigDict, ...]],
    **more: Any,
) -> tuple[ConfigDict, ConfigDict]:
    """Makes the nodes of both pipelines; records and objects that nobody can use are left out.

    Args:
      given: the experiment's options, whose `batch` is set.
      sources: nodes of the training and of the evaluation source.
      transforms: of training and of evaluation.
      **more: further settings of both.
    """
    parts = zip((data.Train, data.Eval), sources, transforms, strict=True)
    train, evaluation = (
        node(
            kind,
            source=source,
            transforms=how,
            batch_size=given.batch,
            on_error="skip",
            degenerate="drop",
            **more,
        )
        for kind, source, how in parts
    )
    return train, evaluation
