"""The mode `inspect`: pictures of the network's input, and of its targets."""

import contextlib
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from vision_jax import visualize
from vision_jax.report.rendering import skeleton
from vision_jax.show.asked import NOTHING, Asked
from vision_jax.show.trained import last_stage, tell
from vision_jax.structs import Batch, Detector
from vision_jax.system import disk
from vision_jax.tasks import Detection, Task
from vision_jax.training import agree, spread
from vision_jax.visualize.captions import class_caption
from vision_jax.visualize.semantic import VOID

PICTURED = 32  # images on an inspection's panel
SIDE = 256  # pixels of one with objects
OTHERS = 20  # anchors drawn that answer for no object, and so many that are ignored


def inspect(config: ConfigDict, workdir: pathlib.Path, asked: Asked = NOTHING) -> None:
    """Draws what the network is fed in training, augmentation and all, and in evaluation.

    Objects and semantic labels are drawn. Where the model has anchors, matches.png shows which of
    them answer for which object in training.
    """
    config, workdir = last_stage(config, workdir)
    _, experiment, lines = agree(spread(config))
    tell(lines)
    target = asked.output or workdir / "inspect"
    disk.make_folder(target)
    key = jax.random.fold_in(jax.random.key(experiment.seed), 0)
    with contextlib.closing(experiment.train.batches(0, experiment.data_seed)) as batches:
        batch = next(batches)
    image, lam = jax.jit(experiment.task.prepare)(batch, key)
    seen = _colours(experiment.task, image)
    classes = experiment.train.classes
    _save(target / "train.png", *target_pictures(seen, batch, lam, classes))
    model = experiment.task.model
    if isinstance(model, Detector) and model.anchors(*seen.shape[1:3]) is not None:
        drawn = match_pictures(experiment.task, seen, batch, classes)
        _save(target / "matches.png", *drawn, visualize.MATCH_LEGEND)
    if experiment.eval is not None:
        with contextlib.closing(experiment.eval.batches()) as batches:
            batch = next(iter(batches))
        image = np.asarray(jax.jit(experiment.task.normalize)(batch.image))
        seen = _colours(experiment.task, image if image.ndim == 4 else image[:, 0])
        _save(target / "eval.png", *target_pictures(seen, batch, None, classes))


def _colours(task: Task, image: Any) -> np.ndarray:
    """Turns the first normalised images into colours again, 0..1."""
    image = np.asarray(image)[:PICTURED]
    return (image * np.asarray(task.std) + np.asarray(task.mean)).clip(0, 1)


def target_pictures(
    seen: np.ndarray, batch: Batch, lam: Any, classes: tuple[str, ...]
) -> tuple[list, list, int]:
    """Draws images with their targets.

    Args:
      seen: (b, h, w, 3) in 0..1, as the network is fed them.
      batch: holds the targets.
      lam: mixing weights (b,), or None.
      classes: names.

    Returns:
      The pictures, captions with labels and mixing weights, and the side of a panel's cell.
    """
    targets, pictures, captions = batch.targets, [], []
    with_places = targets.boxes is not None or targets.segmentation is not None
    for row, picture in enumerate(seen):
        large = visualize.enlarge(picture, SIDE) if with_places else picture  # room for captions
        scale = np.array(picture.shape[:2]) / large.shape[:2]
        if targets.segmentation is not None:
            labels = _labels_seen(batch, row, picture.shape[:2])
            labels = np.kron(labels, np.ones(np.round(1 / scale).astype(int), np.int32))
            large = visualize.draw_semantic(labels, large)
        if targets.boxes is not None:
            lines = skeleton(targets.keypoints)
            large = visualize.draw_targets(large, targets, row, scale, classes, lines)
        pictures.append(large)
        text = "" if targets.label is None else _names(targets.label[row], classes)
        captions.append(text if lam is None else f"{text} λ={float(lam[row]):.2f}")
    return pictures, captions, SIDE if with_places else 128


def _labels_seen(batch: Batch, row: int, shape: tuple[int, int]) -> np.ndarray:
    """Returns labels on the network's input; those of the original by their nearest pixels."""
    labels = np.asarray(batch.targets.segmentation[row])
    if labels.shape == shape:
        return labels
    seen, places = np.full(shape, VOID, labels.dtype), []
    for side, scale in zip(batch.size[row], batch.scale[row], strict=True):
        pixels = np.arange(max(1, round(float(side * scale))))
        places.append(np.minimum((pixels + 0.5) / scale, side - 1).astype(int))
    seen[: len(places[0]), : len(places[1])] = labels[np.ix_(*places)]
    return seen


def match_pictures(
    task: Detection, seen: np.ndarray, batch: Batch, classes: tuple[str, ...] = ()
) -> tuple[list, list, int]:
    """Draws which anchors answer for which object, and says how many they are.

    Args:
      task: its model has anchors.
      seen: (b, h, w, 3) in 0..1, as the network is fed them.
      batch: holds the objects.
      classes: names.

    Returns:
      The pictures, their captions, and the side of a panel's cell.
    """
    size = seen.shape[1:3]
    targets = task.targets(batch)
    anchors = np.asarray(task.model.anchors(*size))
    matches = jax.jit(task.model.matches, static_argnums=(1, 2))
    matched_idxs = np.asarray(matches(targets, *size))
    pictures, captions = [], []
    for row, picture in enumerate(seen):
        large = visualize.enlarge(picture, SIDE)
        scale = np.array(picture.shape[:2]) / large.shape[:2]
        count = int(np.flatnonzero(np.asarray(targets.valid[row])).max(initial=-1)) + 1
        boxes, labels = (np.asarray(x[row])[:count] for x in (targets.boxes, targets.labels))
        objects, idxs = (boxes, scale, OTHERS, labels, classes), matched_idxs[row]
        pictures.append(visualize.draw_matches(large, anchors, idxs, *objects))
        captions.append(f"{(idxs >= 0).sum()} of {len(anchors)} anchors")
    return pictures, captions, SIDE


def _save(
    file: pathlib.Path, pictures: list, captions: list, side: int, entries: tuple = ()
) -> None:
    Image.fromarray(visualize.panel(pictures, captions, side=side, entries=entries)).save(file)
    print(f"written: {file}")


def _names(label: np.ndarray, classes: tuple[str, ...]) -> str:
    """Names a label, or all labels of a vector: 'cat', 'cat, dog'."""
    named = [int(label)] if np.ndim(label) == 0 else np.flatnonzero(label).tolist()
    return ", ".join(class_caption(i, classes) for i in named)
