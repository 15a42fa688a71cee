"""DETR on ResNet-50 (float32): inference, norms folded, to boxes; and the full training step.

Weights and truth are the peer's. There is no dropout, so that losses can be compared.
"""

import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours
from benchmarks.work.inputs import DETECTION_RATE, LABELS, normalisation, scene

TRAINED = ("(?!backbone/conv1/|backbone/conv2_|backbone/.*/norm/).*",)


def infer(shared: pathlib.Path, batch_size: int, height: int, width: int, steps: int) -> Work:
    import jax

    from vision_jax.export import fold_norms
    from vision_jax.ops.set_prediction import decode_set

    task, batch, variables = _setting(shared, batch_size, height, width)
    sizes = task.sizes(batch)
    image = task.normalize(jax.numpy.asarray(batch.image))
    variables = fold_norms(task.model, variables, image, sizes)

    def run(variables: Any, batch: Any) -> dict[str, Any]:
        outputs = task.predict(variables, batch)
        logits, boxes = outputs["class_logits"], outputs["relative_boxes"]
        found = jax.vmap(decode_set)(logits, boxes, task.sizes(batch))
        return {"boxes": found.boxes, "scores": found.scores}

    return ours.inference(run, variables, batch, steps)


def train(shared: pathlib.Path, batch_size: int, height: int, width: int, steps: int) -> Work:
    task, batch, variables = _setting(shared, batch_size, height, width)
    return ours.training(task, variables, batch, steps, DETECTION_RATE, TRAINED)


def _setting(
    shared: pathlib.Path | None, batch_size: int, height: int, width: int
) -> tuple[Any, Any, Any]:
    """Makes task, batch and variables, which are the peer's if it left any in `shared`."""
    task, batch = posed(batch_size, height, width)
    return task, batch, ours.weights_of(shared, task.model, task, batch)


def posed(batch_size: int, height: int, width: int) -> tuple[Any, Any]:
    """Makes task and batch."""
    from vision_jax import models, tasks
    from vision_jax.structs import Batch, Targets

    settings = models.TransformerSettings(dropout=0.0, attention_dropout=0.0)
    model = models.DETRResNet50(LABELS).clone(
        encoder=models.Encoder(settings=settings), decoder=models.Decoder(settings=settings)
    )
    task = tasks.Detection(model, *normalisation("faster_rcnn"))
    given = scene("faster_rcnn", batch_size, height, width)
    valid = np.ones(given["labels"].shape, bool)
    labels = given["labels"].astype(np.int32)
    targets = Targets(boxes=given["boxes"], labels=labels, valid=valid)
    index = np.arange(batch_size, dtype=np.int32)
    there = np.ones(batch_size, bool)
    return task, Batch(image=given["image"], valid=there, index=index, targets=targets)
