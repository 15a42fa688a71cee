"""Classification of your own images; no file needs to be written.

data     train=KIND:… and perhaps val=KIND:…, in the doctor's own syntax: folder:photos/train, a
         folder of images for each class. Without val a fifth of the images is held out
model    `small`, for a laptop; for a GPU resnet18, resnet34, resnet50, resnet101 or resnet152
expect   no number is cited: the data are yours
cost     the first lines say how many steps it takes
run      python launch.py --config experiments/own_classification.py:train=folder:photos
         python launch.py --config experiments/own_classification.py:model=resnet50,train=folder:a
smoke    python launch.py --config experiments/own_classification.py:smoke

The number of classes, the images' size and the number of epochs come from the data, and are told.
Options: `size` of the square input, `batch`, `epochs`, `lr`, `holdout`, the share of images that
are held out; `weights`, a file or a run folder to start from, and with it `tune=head`, a linear
classifier on frozen features, or `tune=all`, the default, where the backbone learns at a tenth of
the rate; `flip=False`, where left and right matter; `augment=False`. A value may stand in double
quotes, as paths with commas have to: 'train=folder:"a,b"'.
"""

import numpy as np

from experiments.shared import own_data, transfer
from experiments.transfer_pets import STAGES
from vision_jax import data, models, tasks
from vision_jax.config import UserError, node
from vision_jax.evaluation import Confusion, Loss, TopK
from vision_jax.models.classifiers.resnet import DEPTHS

SMALL_IMAGES = 48  # sides up to which a network without a stem's strides is taken
RESNETS = {f"resnet{depth}": depth for depth in DEPTHS}


def get_config(arg=""):
    given = own_data.read(arg, "shapes/cls32", 32, tune="all")
    own_data.choose("model", given.model, (own_data.LAPTOP, *RESNETS))
    if given.tune != "all" and not given.weights:
        raise UserError(f"tune={given.tune} is for networks that start from weights=FILE")
    hint = "a {kind} source has no class for each image; take folder:FOLDER, with a folder a class"
    sources = own_data.source_nodes(given, ("folder", "tfds"), (), hint)
    looked = own_data.look(*sources)
    if len(looked.classes) < 2:
        raise UserError(f"train={given.train}: a classifier needs two classes or more")
    given.size = given.size or side(looked, 128 if given.model == own_data.LAPTOP else 224)
    print(f"input: {given.size}×{given.size} pixels")
    given.batch = own_data.batch_size(given, looked, 32 if given.model == own_data.LAPTOP else 64)
    config = own_data.assemble(
        given,
        looked,
        task=node(
            tasks.Classification,
            model=network(given.model, given.size),
            augment=(node(tasks.augment.Flip),) if given.flip and given.augment else (),
        ),
        pipelines=own_data.pipelines(given, sources, transforms(given)),
        metrics={
            "top": node(TopK),
            "loss": node(Loss),
            "confusion": node(Confusion, num_classes=None),
        },
        best="eval/top1",
        rate=2e-3,
        seen=30_000,
    )
    return transfer.tune(config, given.tune, STAGES) if given.weights else config


def side(looked, most):
    """Chooses the input's side: no larger than `most`, nor than the images' usual short side."""
    short = float(np.median(looked.sizes.min(1)))
    return int(min(most, max(32, short // 8 * 8)))


def transforms(given):
    """Makes crops of random size and shape to train on, central ones to evaluate on."""
    whole = (node(data.Resize, size=round(given.size * 8 / 7)),)
    whole += (node(data.CenterCrop, size=given.size),)
    if not given.augment:
        return whole, whole
    return (node(data.RandomResizedCrop, size=given.size, area=(0.25, 1.0)),), whole


def network(name, size):
    """Makes a ResNet; the small ones have a block a stage."""
    if name in RESNETS:
        blocks, block = DEPTHS[RESNETS[name]]
        backbone = node(models.ResNet, stages=blocks, block=block)
    elif size <= SMALL_IMAGES:
        backbone = node(models.ResNetCifar, blocks=1)
    else:
        backbone = node(models.ResNet, stages=(1, 1, 1, 1), block="basic", width=32, stem="deep")
    return node(models.Classifier, backbone=backbone, head=node(models.PoolHead, num_classes=None))
