"""YOLO v1, v2 and v3 for `tiny_detectors`: 64×64 images with eight classes."""

from vision_jax import models

CLASSES = 8


def darknet(norm: str = "sync", stages: int = 4) -> models.Darknet:
    """Strides 1, 2, 4, 8."""
    return models.Darknet((((3, 8),), ((3, 16),), ((3, 32),), ((3, 48),))[:stages], norm=norm)


def v1(form: str = "paper", boxes: int = 2) -> models.YOLOv1:
    """Cells of 4 pixels, since no two objects of a cell can be learned."""
    fields = {"side": 16, "convs": ((4, 1),), "hidden": (), "dropout": 0.0, "top": 20}
    backbone = darknet("none", stages=3)
    return models.YOLOv1(backbone, CLASSES, "stage3", form=form, boxes=boxes, **fields)


def v1_lecture() -> models.YOLOv1:
    return v1("lecture", boxes=3)


def v2() -> models.YOLOv2:
    priors = ((1.2, 1.2), (1.9, 2.5), (2.6, 2.1), (3.5, 3.5))
    fields = {"convs": (32,), "passthrough": "stage3", "reduced": 8, "merged": 32}
    return models.YOLOv2(darknet(), CLASSES, "stage4", priors, warm_up=100, top=20, **fields)


def v3() -> models.YOLOv3:
    fields = {"neck": ((32,), ()), "out": (32, 32), "lateral": (16,), "top": 20}
    sides = (8, 12, 16, 20, 26, 34)
    fields |= {"priors": tuple((side, side) for side in sides), "masks": ((3, 4, 5), (0, 1, 2))}
    return models.YOLOv3(darknet(), CLASSES, ("stage4", "stage3"), **fields)
