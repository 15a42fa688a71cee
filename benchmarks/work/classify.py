"""Classifiers and segmenters: inference with norms folded, and the full training step.

Dropout is off, so that losses can be compared: of these networks only the fully connected layers
of VGG and FCN, and Inception's last layer have any, and it costs next to nothing.
"""

import functools
import pathlib
from typing import Any

import numpy as np

from benchmarks.work import Work, ours
from benchmarks.work.inputs import AUX_WEIGHT, RATE, SEGMENTERS, images, normalisation

WITH_DROPOUT = ("vgg16", "inception_v3", "fcn8s")  # in their heads


def infer(
    shared: pathlib.Path,
    network: str,
    batch_size: int,
    size: int,
    steps: int,
    dtype: str = "float32",
) -> Work:
    import jax

    from vision_jax.export import fold_norms

    task, batch, variables = setting(shared, network, batch_size, size, dtype)
    variables = fold_norms(task.model, variables, task.normalize(jax.numpy.asarray(batch.image)))
    # Convolutions' kernels are rounded once, not for each batch.
    variables = jax.tree.map(lambda v: v.astype(dtype) if v.ndim == 4 else v, variables)
    return ours.inference(
        lambda v, b: {"logits": task.predict(v, b)["logits"].astype("float32")},
        *(variables, batch, steps),
    )


def train(shared: pathlib.Path, network: str, batch_size: int, size: int, steps: int) -> Work:
    task, batch, variables = setting(shared, network, batch_size, size)
    return ours.training(task, variables, batch, steps, RATE)


def setting(
    shared: pathlib.Path | None, network: str, batch_size: int, size: int, dtype: str = "float32"
) -> tuple[Any, Any, Any]:
    """Task, batch and variables, which are the peer's if it left any in `shared`."""
    from vision_jax import tasks
    from vision_jax.structs import Batch, Targets

    model = make(network, dtype)
    mean, std = normalisation(network)
    image, label = images(network, batch_size, size)
    if network in SEGMENTERS:
        task, targets = tasks.Segmentation(model, mean, std), Targets(segmentation=label)
    else:
        task = tasks.Classification(model, mean, std, aux_weight=AUX_WEIGHT)
        targets = Targets(label=label)
    index, valid = np.arange(batch_size, dtype=np.int32), np.ones(batch_size, bool)
    batch = Batch(image=image, valid=valid, index=index, targets=targets)
    table = lenet_table() if network == "lenet" else None
    return task, batch, ours.weights_of(shared, model, task, batch, table)


def make(network: str, dtype: str = "float32") -> Any:
    """The network, without dropout."""
    from vision_jax import models
    from vision_jax.models.layers import NO_NORM

    makers = {
        "lenet": functools.partial(models.LeNet5, act="relu", pool="max", padding=2),
        "resnet20": functools.partial(models.CifarResNet, 20),
        "resnet50": models.ResNet50,
        "vgg16": models.VGG16,
        "mobilenet_v1": models.MobileNetV1,
        "inception_v3": models.InceptionV3,
        "fcn8s": functools.partial(models.fcn, "vgg16", 8, learn="all", layers=NO_NORM),
    }
    model = ours.in_precision(makers[network], dtype)
    if network in WITH_DROPOUT:
        model = model.clone(head=model.head.clone(dropout=0.0))
    return model


def lenet_table() -> Any:
    """The names of `networks_torch.LeNet`, since no well-known file has LeNet's weights."""
    from vision_jax.weights.engine import Row, Table

    rows = (
        Row("conv1", "backbone/C1", "conv_bias"),
        Row("conv2", "backbone/C3", "conv_bias"),
        Row("fc1", "head/C5", "dense_bias", (16, 5, 5)),
        Row("fc2", "head/F6", "dense_bias"),
        Row("fc3", "head/out", "dense_bias"),
    )
    return Table("benchmarks", lambda model: iter(rows))
