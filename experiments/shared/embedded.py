"""Changes that make an experiment run in seconds on embedded data: its smoke and twin forms."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from vision_jax import data
from vision_jax.config import node
from vision_jax.data.shapes_draw import KEYPOINT_MIRROR
from vision_jax.evaluation import VOC, BoundaryF, Loss, Segmentation, TopK
from vision_jax.training import optimizer, schedule

CLASSES = 8  # of the embedded shapes
SEGMENTED = 1 + CLASSES  # with the background


def smoke(config: ConfigDict, size: int, channels: int = 3) -> ConfigDict:
    """Turns an experiment into its smoke: real path, a few embedded images, four steps.

    Args:
      config: changed in place.
      size: side of the images that the network sees.
      channels: 3, or 1 for the networks that read gray digits.
    """
    for part, split in (("train", "train[:64]"), ("eval", "validation[:24]")):
        if channels == 1:
            source = node(data.Digits, split=split, size=size)
        else:
            source = node(data.TFDS, name="shapes/cls32", split=split)
        transforms = () if size in (32,) or channels == 1 else (node(data.Resize, size=size),)
        pipeline = config[part]
        pipeline.source = source
        pipeline.transforms = transforms
        pipeline.batch_size = 16
    four_steps(config, best=config.best)
    return config


def twin(
    config: ConfigDict, steps: int, images: int = 6000, rate: float = 4e-3, batch: int = 64
) -> ConfigDict:
    """Turns a classification experiment into a sweep's twin: 32×32 shapes, AdamW, one evaluation.

    Args:
      config: changed in place; its network is the experiment's to make small.
      steps: training steps.
      images: number of training images.
      rate: the highest learning rate, of a cosine after a tenth of warm-up.
      batch: images of a step.
    """
    shapes = node(data.TFDS, name="shapes/cls32", split=f"train[:{images}]")
    config.train = node(data.Train, source=shapes, batch_size=batch)
    held_out = node(data.TFDS, name="shapes/cls32", split="validation")
    config.eval = node(data.Eval, source=held_out, batch_size=250)
    config.task.mean, config.task.std = (0.5,) * 3, (0.25,) * 3
    config.task.augment = ()
    config.metrics = {"top": node(TopK, ks=(1,)), "loss": node(Loss)}
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(
            schedule.WarmUp, then=node(schedule.Cosine, value=rate), length=0.1, unit="fraction"
        ),
        decay=0.05,
        decay_vectors=False,
    )
    config.steps, config.epochs = steps, 0.0
    config.eval_every = config.checkpoint_every = steps
    config.log_every = max(1, steps // 10)
    config.ema = config.expect = None
    return config


def of_seeds(add: Callable[..., None], name: str, twin: bool, count: int, **changes: Any) -> None:
    """Adds a sweep's runs that differ in their seed alone.

    Args:
      add: of the sweep.
      name: of the runs, without a seed.
      twin: whether to add one program that trains `count` seeds at once, or else three runs.
      count: seeds of a twin.
      **changes: as `add` takes them.
    """
    if twin:
        add(name, seeds=count, **changes)
        return
    for seed in range(3):
        add(f"{name}-seed{seed}", seed=seed, **changes)


def smoke_detection(config: ConfigDict, size: int = 64, fields: tuple = ("objects",)) -> ConfigDict:
    """Turns a detection experiment into its smoke: real path, a few embedded images, four steps.

    The model's number of classes becomes `CLASSES`; the rest of its size is for the experiment to
    make small, so that experiments whose smokes are alike compile once.

    Args:
      config: changed in place.
      size: side of the images that the network sees; 128 shows more and smaller objects.
      fields: of the sources; `rle` gives masks and `keypoints` keypoints.
    """
    name = "shapes/det128" if size > 64 else "shapes/det64"
    mirror = KEYPOINT_MIRROR if "keypoints" in fields else ()
    for part, split in (("train", "train[:32]"), ("eval", "validation[:16]")):
        pipeline = config[part]
        pipeline.source = node(data.TFDS, name=name, split=split, fields=fields)
        pipeline.transforms = (node(data.StretchTo, size=size),)
        if part == "train":
            pipeline.transforms += (node(data.RandomFlip, mirror=mirror),)
        pipeline.batch_size, pipeline.max_boxes = 8, 8
    if "num_classes" in config.task.model:  # a network of proposals has no classes
        config.task.model.num_classes = CLASSES
    config.metrics = {"voc": node(VOC, num_classes=CLASSES, inclusive=False)}
    four_steps(config, best="eval/ap50")
    return config


def smoke_segmentation(config: ConfigDict, size: int = 64) -> ConfigDict:
    """Turns a segmentation experiment into its smoke: a few embedded images, four steps.

    The model is for the experiment to make small, with `SEGMENTED` classes, so that experiments
    whose smokes are alike compile once.

    Args:
      config: changed in place.
      size: side of the images that the network sees, at least 64.
    """
    for part, split in (("train", "train[:32]"), ("eval", "validation[:16]")):
        pipeline = config[part]
        pipeline.source = node(
            data.TFDS, name="shapes/seg64", split=split, fields=("segmentation",)
        )
        pipeline.transforms = (node(data.Pad, height=size, width=size),)
        pipeline.batch_size = 8
    config.metrics = {
        "segmentation": node(Segmentation, num_classes=SEGMENTED),
        "boundary": node(BoundaryF, num_classes=SEGMENTED),
    }
    four_steps(config, best="eval/miou")
    return config


def twin_segmentation(config: ConfigDict, steps: int, images: int = 128) -> ConfigDict:
    """Turns a segmentation experiment into a sweep's twin: few 64×64 images.

    It is measured on the images that it trains on, since what an architecture can draw is the
    question.

    Args:
      config: changed in place; its network is the experiment's to make small.
      steps: training steps of 16 images each; AdamW, a cosine after a tenth of warm-up.
      images: number of training images.
    """
    source = node(
        data.TFDS, name="shapes/seg64", split=f"train[:{images}]", fields=("segmentation",)
    )
    config.train = node(data.Train, source=source, batch_size=16)
    config.eval = node(data.Eval, source=source, batch_size=64)
    config.metrics = {
        "segmentation": node(Segmentation, num_classes=SEGMENTED),
        "boundary": node(BoundaryF, num_classes=SEGMENTED, tolerance=0.02),
    }
    config.task.mean, config.task.std = (0.5,) * 3, (0.25,) * 3
    config.task.normalize_loss = "pixels"
    config.task.class_weights = (0.2, *(1.0,) * CLASSES)  # the background is most of the pixels
    config.optimizer = node(
        optimizer.Optimizer,
        rule=node(optimizer.AdamW),
        schedule=node(
            schedule.WarmUp, then=node(schedule.Cosine, value=4e-3), length=0.1, unit="fraction"
        ),
    )
    config.steps, config.epochs = steps, 0.0
    config.log_every, config.eval_every = 20, steps
    config.stages, config.init.weights, config.expect = (), None, None
    config.best = "eval/miou"
    return config


def four_steps(config: ConfigDict, best: str) -> None:
    """Makes a run four steps long, evaluated and saved after every second one."""
    config.steps, config.epochs = 4, 0.0
    config.eval_every, config.checkpoint_every, config.log_every = 2, 2, 1
    config.best, config.expect = best, None
