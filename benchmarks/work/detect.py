"""Detectors (float32): inference, norms folded, to final boxes; and the full training step.

Weights and truth are the peer's; thresholds and numbers of candidates are torchvision's defaults.
Backbones of the R-CNNs and of RetinaNet are frozen up to conv2_x, as when they start from a
classifier.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.work import Work, ours, rfcn
from benchmarks.work.inputs import (
    DETECTION_RATE,
    OBJECTS,
    SLOTS,
    YOLO_CLASSES,
    detector_labels,
    normalisation,
    scene,
)

# Their losses are of regions that are drawn.
TWO_STAGES = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn", "rfcn")
# What else than boxes some detectors find, as targets name it.
FURTHER = {"mask_rcnn": "masks", "keypoint_rcnn": "keypoints"}
_ON_RESNET = ("retinanet", *TWO_STAGES)
_TRAINED = ("(?!backbone/conv1/|backbone/conv2_|.*/norm/).*",)


def infer(
    shared: pathlib.Path, network: str, batch_size: int, height: int, width: int, steps: int
) -> Work:
    import jax

    from vision_jax.export import fold_norms
    from vision_jax.ops.masks import paste_masks

    task, batch, variables = setting(shared, network, batch_size, height, width)
    image = task.normalize(jax.numpy.asarray(batch.image))
    variables = fold_norms(task.model, variables, image, task.sizes(batch))

    def run(variables: Any, batch: Any) -> dict[str, Any]:
        outputs = task.predict(variables, batch)
        found = outputs["detections"]
        answer = {
            **heads(network, outputs),
            # Sorted, since detections whose scores all but tie come in either order.
            "boxes": found.boxes.sort(1),
            "scores": found.scores.sort(1),
        }
        if found.masks is not None:
            pasted = jax.vmap(lambda m, b: paste_masks(m, b, height, width))
            answer["masks"] = pasted(found.masks, found.boxes).sum((2, 3)).sort(1)
        if found.keypoints is not None:
            answer["places"] = found.keypoints[..., :2].sum((1, 2))
            answer["peaks"] = found.keypoints[..., 2].sort(1)
        return answer

    return ours.inference(run, variables, batch, steps)


def train(
    shared: pathlib.Path, network: str, batch_size: int, height: int, width: int, steps: int
) -> Work:
    task, batch, variables = setting(shared, network, batch_size, height, width)
    outputs = compared(network, task)
    return ours.training(task, variables, batch, steps, DETECTION_RATE, trained(network), outputs)


def trained(network: str) -> tuple[str, ...]:
    """Returns patterns of the parameters that are trained."""
    return _TRAINED if network in _ON_RESNET else (".*",)


def compared(network: str, task: Any) -> Callable[[Any, Any], dict[str, Any]] | None:
    """Returns the outputs to compare where losses are random; None: the losses are compared."""
    if network not in TWO_STAGES:
        return None
    return lambda variables, batch: heads(network, task.predict(variables, batch))


def setting(
    shared: pathlib.Path | None,
    network: str,
    batch_size: int,
    height: int,
    width: int,
    dtype: str = "float32",
    deterministic: bool = False,
) -> tuple[Any, Any, Any]:
    """Makes task, batch and variables, which are the peer's if it left any in `shared`."""
    task, batch = posed(network, batch_size, height, width, dtype, deterministic)
    table = rfcn.table() if network == "rfcn" else None
    return task, batch, ours.weights_of(shared, task.model, task, batch, table)


def posed(
    network: str,
    batch_size: int,
    height: int,
    width: int,
    dtype: str = "float32",
    deterministic: bool = False,
) -> tuple[Any, Any]:
    """Makes task and batch."""
    from vision_jax import tasks
    from vision_jax.structs import Batch, Targets

    model = make(network, dtype, deterministic)
    task = tasks.Detection(model, *normalisation(network))
    given = scene(network, batch_size, height, width)
    boxes = _padded(given["boxes"], 0)
    # Of a head with 91 outputs RetinaNet leaves the first one idle; the others' 0 is background.
    labels = _padded(given["labels"] - (network != "retinanet"), -1)
    present = np.broadcast_to(np.arange(SLOTS) < OBJECTS, labels.shape)
    targets = Targets(boxes=boxes, labels=labels, valid=present)
    if network in FURTHER:
        name = FURTHER[network]
        targets = targets.replace(**{name: _padded(given[name], 0)})
    index, valid = np.arange(batch_size, dtype=np.int32), np.ones(batch_size, bool)
    return task, Batch(image=given["image"], valid=valid, index=index, targets=targets)


def make(network: str, dtype: str = "float32", deterministic: bool = False) -> Any:
    """Makes the network with torchvision's fields.

    `deterministic` takes Faster R-CNN's regions in the form whose gradient does not depend on the
    order of sums; the others' are as they are.
    """
    from vision_jax import models
    from vision_jax.models.detectors.faster_rcnn import FROZEN
    from vision_jax.models.detectors.ssd_boxes import COCO_300
    from vision_jax.models.layers import Layers

    def yolo_v3(layers: Layers = Layers()) -> models.YOLOv3:
        return models.YOLOv3(models.ResidualDarknet(layers=layers), YOLO_CLASSES, layers=layers)

    def r_fcn(layers: Layers = FROZEN) -> models.RFCN:
        return rfcn.network(classes, layers)

    labels = detector_labels(network)
    classes = labels - 1
    makers = {
        "faster_rcnn": functools.partial(models.FasterRCNNResNet50FPN, classes),
        "mask_rcnn": functools.partial(models.MaskRCNNResNet50FPN, classes),
        "keypoint_rcnn": functools.partial(models.KeypointRCNNResNet50FPN, classes),
        "rfcn": r_fcn,
        "retinanet": functools.partial(models.retinanet_resnet_fpn, 50, labels),
        "ssd300": functools.partial(
            models.SSD300, classes, models.DefaultBoxes(COCO_300, clip="sides")
        ),
        "yolov3": yolo_v3,
    }
    model = ours.in_precision(makers[network], dtype)
    if network == "retinanet":
        model = model.clone(max_detections=300)
    if deterministic and network == "faster_rcnn":
        pool = dataclasses.replace(model.head.pool, deterministic=True)
        model = model.clone(head=model.head.clone(pool=pool))
    return model


def heads(network: str, outputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the outputs for every anchor, of the head or of the region proposal network."""
    names = ["class_logits", "box_deltas"]
    if network in TWO_STAGES:
        return {name: outputs[f"rpn_{name}"] for name in names}
    if network == "yolov3":
        names.append("objectness_logits")
    return {name: outputs[name] for name in names}


def _padded(objects: np.ndarray, fill: float) -> np.ndarray:
    """Fills lists of objects up to `SLOTS`."""
    rest = SLOTS - objects.shape[1]
    pads = [(0, 0), (0, rest), *[(0, 0)] * (objects.ndim - 2)]
    return np.pad(objects, pads, constant_values=fill)
