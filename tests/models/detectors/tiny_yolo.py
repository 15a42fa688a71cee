"""YOLO v1, v2 and v3 for `tiny_detectors`: 64×64 images with eight classes."""

from typing import Any

from vision_jax import models
from vision_jax.models.layers import NO_NORM, Layers

CLASSES = 8


def darknet(stages: int = 4, layers: Layers = Layers()) -> models.Darknet:
    """Makes a backbone of strides 1, 2, 4, 8."""
    every = (((3, 8),), ((3, 16),), ((3, 32),), ((3, 48),))
    return models.Darknet(every[:stages], layers=layers)


def v1(**fields: Any) -> models.YOLOv1:
    """Makes YOLO v1 with cells of 4 pixels, since no two objects of a cell can be learned."""
    small = {"side": 16, "convs": ((4, 1),), "hidden": (), "dropout": 0.0, "max_detections": 20}
    return models.YOLOv1(darknet(3, NO_NORM), CLASSES, "stage3", **small, **fields)


def v1_lecture() -> models.YOLOv1:
    return v1(formulation="lecture", boxes_per_cell=3)


def v2() -> models.YOLOv2:
    priors = ((1.2, 1.2), (1.9, 2.5), (2.6, 2.1), (3.5, 3.5))
    fields = {"convs": (32,), "passthrough": "stage3", "reduced": 8, "merged": 32}
    fields |= {"warm_up": 100, "max_detections": 20}
    return models.YOLOv2(darknet(), CLASSES, "stage4", priors, **fields)


def v3() -> models.YOLOv3:
    fields = {"neck": ((32,), ()), "out": (32, 32), "lateral": (16,), "max_detections": 20}
    sides = (8, 12, 16, 20, 26, 34)
    fields |= {"priors": tuple((side, side) for side in sides), "masks": ((3, 4, 5), (0, 1, 2))}
    return models.YOLOv3(darknet(), CLASSES, ("stage4", "stage3"), **fields)
