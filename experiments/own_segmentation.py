"""Semantic segmentation of your own images; no file needs to be written.

data     train=KIND:… and perhaps val=KIND:…, in the doctor's own syntax: images and masks of the
         same names, masks:images,masks,background;road;car, or objects with outlines, which are
         painted on a background: coco:train.json,photos, labelme:FOLDER or yolo:data.yaml,train.
         Without val a fifth of the images is held out
model    `small`, an FCN for a laptop; for a GPU fcn_resnet50 or deeplabv3_resnet50
expect   no number is cited: the data are yours
cost     the first lines say how many steps it takes
run      python launch.py --config "experiments/own_segmentation.py:train=masks:a,b,background;road"
         python launch.py --config experiments/own_segmentation.py:train=labelme:photos
smoke    python launch.py --config experiments/own_segmentation.py:smoke

Classes, the input's shape and epochs come from the data, and are told. Options: `size`, the input's
long side, `batch`, `epochs`, `lr`, `holdout`, the share of images that are held out; `weights`, a
file or a run folder to start from; `balance=True`, where rare classes count more, by the median of
their frequencies; `flip=False`, where left and right matter; `augment=False`. A value may stand in
double quotes, as paths with commas have to: 'train=masks:"a,b",masks,background;road'.
"""

import numpy as np

from experiments.shared import own_data
from vision_jax import data, models, tasks
from vision_jax.config import UserError, node
from vision_jax.evaluation import BoundaryF, Segmentation
from vision_jax.tasks.segmentation import median_frequency

NETWORKS = {
    "fcn_resnet50": models.FCNResNet50,
    "deeplabv3_resnet50": models.DeepLabV3ResNet50,
}
PAINTED = ("coco", "labelme", "yolo")  # kinds of sources of objects with outlines
HINT = "a {kind} source has no masks; take masks:IMAGES,MASKS,NAMES, or polygons of coco or labelme"
SCALES = (0.75, 0.875, 1.0, 1.125, 1.25, 1.375, 1.5)  # of the images that are trained on


def get_config(arg=""):
    given = own_data.read(arg, "shapes/seg64", 64, balance=False)
    own_data.choose("model", given.model, (own_data.LAPTOP, *NETWORKS))
    paint = given.train.partition(":")[0] in PAINTED
    fields = ("objects", "rle") if paint else ("segmentation",)
    sources = own_data.source_nodes(given, ("masks", "tfds", *PAINTED), fields, HINT, paint)
    looked = own_data.look(*sources, masks=given.balance)
    height, width = own_data.canvas(looked, side(given, looked))
    print(f"input: {width}×{height} pixels")
    given.batch = own_data.batch_size(given, looked, 8 if given.model == own_data.LAPTOP else 16)
    weights = ()
    if given.balance:
        weights = tuple(round(w, 3) for w in median_frequency(looked.masks, len(looked.classes)))
        print(f"class weights: {', '.join(f'{w:g}' for w in weights)}")
    return own_data.assemble(
        given,
        looked,
        task=node(
            tasks.Segmentation, model=network(given.model, given.smoke), class_weights=weights
        ),
        pipelines=own_data.pipelines(given, sources, transforms(given, looked, height, width)),
        metrics={
            "segmentation": node(Segmentation, num_classes=None),
            "boundary": node(BoundaryF, num_classes=None),
        },
        best="eval/miou",
        rate=2e-4 if given.weights else 2e-3,
        seen=15_000 if given.model == own_data.LAPTOP else 40_000,
    )


def side(given, looked):
    """Chooses the input's long side."""
    if given.size % own_data.STRIDE:
        raise UserError(f"size={given.size}: it must be a multiple of {own_data.STRIDE}")
    most = 256 if given.model == own_data.LAPTOP else 512
    return given.size or own_data.long_side(looked, most, most)


def transforms(given, looked, height, width):
    """Makes crops of images at random scales to train on, whole images to evaluate on."""
    whole = (node(data.Letterbox, size=height, width=width),)
    if not given.augment:
        return whole, whole
    crop = min(height, width)
    # The short side of the usual image, once it is fitted into the input.
    scale = np.minimum(height / looked.sizes[:, 0], width / looked.sizes[:, 1])
    short = float(np.median(looked.sizes.min(1) * scale))
    sides = tuple(max(16, round(short * factor)) for factor in SCALES)
    moves = (
        node(data.ResizeShortestEdge, short=sides, max_long=100_000),
        node(data.PhotometricDistortion),
        node(data.RandomCrop, size=crop),
    )
    return (*moves, node(data.RandomFlip)) if given.flip else moves, whole


def network(name, smoke):
    """Makes the network; the small one is a ResNet with a block a stage, scored at four strides.

    A smoke has two stages less.
    """
    if name in NETWORKS:
        return node(NETWORKS[name], num_classes=None)
    stages, width = (2, 8) if smoke else (4, 32)
    return node(
        models.FCN,
        backbone=node(models.ResNet, stages=(1,) * stages, block="basic", width=width, stem="deep"),
        head=node(
            models.FCNHead,
            num_classes=None,
            hidden=(),
            skips=("conv4_x", "conv3_x", "conv2_x")[4 - stages :],
            learn="none",
        ),
    )
